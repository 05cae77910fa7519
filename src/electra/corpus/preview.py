"""Rows as a model will see them, in a terminal: which text stands where, segments and boundaries visible."""

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from electra.corpus.documents import Document, Skipped
from electra.corpus.folder import build_manifest
from electra.corpus.parts import Job, write_shards
from electra.corpus.sources import Part
from electra.corpus.words import CachingTokenizer
from electra.dataset.batches import Batch, Rows
from electra.dataset.layout import Layout, Packed, Paper
from electra.dataset.shards import Shards
from electra.errors import UserError, escape_controls
from electra.tokenization import Tokenizer

ROW_LENGTH = 128
CHARACTERS_PER_ROW = 4096  # characters read for each row that is to be shown


def print_preview(job: Job, parts: Sequence[Part], tokenizer: Tokenizer, count: int) -> None:
    """Print ``count`` rows of each layout from the first documents of every source, which are told too."""
    skipped = Skipped()
    said = []
    with tempfile.TemporaryDirectory() as folder:
        first: dict[str, Part] = {}
        for part in parts:
            first.setdefault(part.source, part)
        encoder = CachingTokenizer(tokenizer)
        for part in first.values():
            documents = list(read_first_documents(job, part, skipped, CHARACTERS_PER_ROW * count // len(first) + 1))
            print_first_documents(part.source, documents)
            said.append(write_shards(Path(folder), part, documents, encoder, lambda document: False, skipped))
        shards = Shards(Path(folder), "train", build_manifest(tokenizer, said, {}, skipped))
        if not shards.tokens:
            raise UserError(f"no text to show; {', '.join(skipped.lines())}")
        for layout in (Paper(), Packed()):
            print(f"\nrows of {ROW_LENGTH}, {layout.kind}:")
            print_first_rows(shards, layout, ROW_LENGTH, count, tokenizer)
    for line in skipped.lines():
        print(line)


def read_first_documents(job: Job, part: Part, skipped: Skipped, characters: int) -> Iterator[Document]:
    """The first documents of a part."""
    for document in job.documents(part, skipped, int):
        yield document
        characters -= len(document.text)
        if characters < 0:
            return


def print_first_documents(source: str, documents: Sequence[Document]) -> None:
    """Say what was taken for a document."""
    print(f"{source}: the first documents")
    for document in documents[:3]:
        lines = document.text.strip().split("\n")
        print(f"  {escape_controls(document.source)}, at {document.index:,}: {len(lines)} lines, {lines[0][:80]!r} …")


def print_first_rows(shards: Shards, layout: Layout, length: int, count: int, tokenizer: Tokenizer) -> None:
    """Print the first rows of an epoch."""
    rows = Rows(shards, layout, length, seed=1)
    refs = list(itertools.islice(rows.epoch_refs(0), count))
    batch = rows.batch(refs)
    for at, ref in enumerate(refs):
        print(f"row {at}, from {shards.sources[ref.shard]}")
        for line in format_row(batch, at, tokenizer):
            print(f"  {line}")


def format_row(batch: Batch, at: int, tokenizer: Tokenizer) -> Iterator[str]:
    """A line for each stretch of one document and segment in a row, and one for its padding."""
    fields = zip(batch.documents[at].tolist(), batch.segments[at].tolist(), batch.ids[at].tolist(), strict=True)
    for (document, segment), stretch in itertools.groupby(fields, key=lambda field: field[:2]):
        ids = [token for *_, token in stretch]
        if document:
            text = escape_controls(tokenizer.backend.decode(ids, skip_special_tokens=False))
            yield f"document {document} segment {'AB'[segment]} {len(ids):>4} │ {text}"
        else:
            yield f"padding              {len(ids):>4} │"
