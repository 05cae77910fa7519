"""Rows as a model will see them, printed: their text, segments, documents and padding."""

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from electra.corpus.documents import Document, Skipped, ignore_progress
from electra.corpus.manifest import build_manifest
from electra.corpus.parts import Job, write_shards
from electra.corpus.sources import Part
from electra.corpus.words import CachingTokenizer
from electra.dataset.batches import Batch
from electra.dataset.layout import Layout, Packed, Paper
from electra.dataset.rows import Rows
from electra.dataset.shards import Shards
from electra.errors import UserError, escape_controls
from electra.tokenization.tokenizer import Tokenizer

ROW_LENGTH = 128
CHARACTERS_PER_ROW = 4096  # read for each row that is to be printed


def print_preview(job: Job, parts: Sequence[Part], tokenizer: Tokenizer, count: int) -> None:
    """Print the first documents of every source, and ``count`` rows of each layout that are made of them.

    Raises:
        UserError: no text.
    """
    parts_by_source: dict[str, list[Part]] = {}
    for part in parts:
        parts_by_source.setdefault(part.source, []).append(part)
    skipped, encoder = Skipped(), CachingTokenizer(tokenizer)
    entries = []
    with tempfile.TemporaryDirectory() as folder:
        for source, of_source in parts_by_source.items():
            characters = CHARACTERS_PER_ROW * count // len(parts_by_source) + 1
            documents = list(read_first_documents(job, of_source, skipped, characters))
            print_first_documents(source, documents)
            entries.append(
                write_shards(Path(folder), of_source[0], documents, encoder, lambda document: False, skipped)
            )
        shards = Shards(Path(folder), "train", build_manifest(tokenizer, entries, {}, skipped))
        if not shards.tokens:
            raise UserError("; ".join(["no text to show", *skipped.lines()]))
        for layout in (Paper(), Packed()):
            print(f"\nrows of {ROW_LENGTH}, {layout.kind}:")
            print_first_rows(shards, layout, ROW_LENGTH, count, tokenizer)
    for line in skipped.lines():
        print(line)


def read_first_documents(job: Job, parts: Sequence[Part], skipped: Skipped, characters: int) -> Iterator[Document]:
    """The first documents of some parts, until they have more than ``characters`` characters."""
    for document in itertools.chain.from_iterable(job.documents(part, skipped, ignore_progress) for part in parts):
        yield document
        characters -= len(document.text)
        if characters < 0:
            return


def print_first_documents(source: str, documents: Sequence[Document]) -> None:
    """Print where the first three documents of a source are, and how each begins."""
    print(f"{source}: the first documents")
    for document in documents[:3]:
        lines = document.text.strip().split("\n")
        print(f"  {escape_controls(document.source)}, at {document.index:,}: {len(lines)} lines, {lines[0][:80]!r} …")


def print_first_rows(shards: Shards, layout: Layout, length: int, count: int, tokenizer: Tokenizer) -> None:
    """Print the first ``count`` rows, of ``length`` tokens, of an epoch."""
    rows = Rows(shards, layout, length, seed=1)
    first_rows = list(itertools.islice(rows.iterate_epoch(0), count))
    batch = rows.batch(first_rows)
    for index, row in enumerate(first_rows):
        print(f"row {index}, from {shards.sources[row.shard]}")
        for line in format_row(batch, index, tokenizer):
            print(f"  {line}")


def format_row(batch: Batch, index: int, tokenizer: Tokenizer) -> Iterator[str]:
    """A line for each stretch of one document and segment in a row, and one for its padding."""
    columns = (batch.documents[index].tolist(), batch.segments[index].tolist(), batch.ids[index].tolist())
    tokens = zip(*columns, strict=True)
    for (document, segment), stretch in itertools.groupby(tokens, key=lambda token: token[:2]):
        ids = [token_id for *_, token_id in stretch]
        if document:
            text = escape_controls(tokenizer.backend.decode(ids, skip_special_tokens=False))
            yield f"document {document} segment {'AB'[segment]} {len(ids):>4} │ {text}"
        else:
            yield f"padding              {len(ids):>4} │"
