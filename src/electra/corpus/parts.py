"""One part of the work: its spans → documents → shards and a count. Parts run in any order, on any number of cores."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from electra import tokenization as tokenizers
from electra.corpus import builtin, readers
from electra.corpus.copies import count_words, number
from electra.corpus.documents import Document, Format, Skipped
from electra.corpus.duplicates import Dropping, Duplicates
from electra.corpus.filters import Filters
from electra.corpus.sources import Part, contents
from electra.corpus.words import AT_ONCE, Encoder, grouped
from electra.dataset.shards import Split, Writer
from electra.errors import UserError, told_as
from electra.files import whole

READ = "read"  # ending of a note of what was read for a part
COUNTS = ("documents", "tokens", "words", "bytes", "unknown")

Told = Callable[[int], object]
Do = Callable[["Job", Part, Told], None]


@dataclass(frozen=True)
class Job:
    """What is done to every part; it travels to the workers."""

    out: str
    tokenizer: str  # tokenizer.json
    special: tuple[tuple[str, str], ...]
    form: Format
    filters: Filters
    duplicates: Duplicates
    held_out: float

    def file(self, part: Part, ending: str) -> Path:
        """A file beside the shards that is there until all parts are."""
        return Path(self.out, "parts", f"{part.number:05d}.{ending}")

    def documents(self, part: Part, skipped: Skipped, told: Told) -> Iterator[Document]:
        """The part's documents to which no filter objects."""
        done = 0
        for span in part.spans:
            found = readers.documents(span, self.form, skipped, partial(further, told, done))
            yield from self.filters.kept(found, skipped)
            done += span.size
        told(done)

    def is_held_out(self, document: Document, part: Part) -> bool:
        """Whether a document is kept out of training: by its text, so that equal texts fall on one side.

        The built-in corpus is split by file, for the labelled task in it.
        """
        if part.spans[0].path == readers.BUILTIN:
            return builtin.held_out(document)
        return number(document.text) < self.held_out * 2**64


def further(told: Told, before: int, read: int) -> None:
    """Tell what is read of a span, and before it."""
    told(before + read)


def write_keys(job: Job, part: Part, told: Told) -> None:
    """The first pass, where copies are to be left out: the keys of the part's documents."""
    found = job.duplicates.keys(job.documents(part, Skipped(), told))
    note_contents(job, part)
    for kind, keys in found.items():
        with whole(job.file(part, f"{kind}.keys")) as file:
            keys.astype("<u8").tofile(file)


def write_part(job: Job, part: Part, told: Told) -> None:
    """The part's shards, and then what they hold as ``parts/NUMBER.json``, which says that the part is done."""
    skipped = Skipped()
    marked = {kind: np.fromfile(job.file(part, f"{kind}.marks"), bool) for kind in job.duplicates.kinds}
    documents = Dropping(job.duplicates, marked).kept(job.documents(part, skipped, told), skipped)
    said = write_shards(
        Path(job.out), part, documents, encoder(job.tokenizer, job.special),
        lambda document: job.is_held_out(document, part), skipped,
    )  # fmt: skip
    note_contents(job, part)
    with whole(job.file(part, "json")) as file:
        file.write_text(json.dumps(said))


def note_contents(job: Job, part: Part) -> None:
    """Write what was read for a part as ``parts/NUMBER.read``, or find that it is still what was read before.

    Raises:
        UserError: as ``same_contents``.
    """
    if not same_contents(job, part):
        with whole(job.file(part, READ)) as file:
            file.write_text(json.dumps(contents(part)))


def same_contents(job: Job, part: Part) -> bool:
    """Whether a part was read before, and its files still are what they were.

    Raises:
        UserError: one that changed, by its name; or the note of it is damaged.
    """
    path = job.file(part, READ)
    if not path.exists():
        return False
    with told_as(f"{path}: damaged; remove {job.out} and begin anew", ValueError):
        before = json.loads(path.read_text(encoding="utf-8"))
    for span, there, now in zip(part.spans, before, contents(part), strict=True):
        if there != now:
            raise UserError(f"{span.shown}: changed since {job.out} was begun; remove that folder, and begin anew")
    return True


@lru_cache(1)
def encoder(said: str, special: tuple[tuple[str, str], ...]) -> Encoder:
    """The encoder of a tokenizer.json, kept from part to part with the words that it knows."""
    return Encoder(tokenizers.from_json(said, dict(special)))


def write_shards(
    folder: Path,
    part: Part,
    documents: Iterable[Document],
    encoder: Encoder,
    held_out: Callable[[Document], bool],
    skipped: Skipped,
) -> dict[str, Any]:
    """Tokenize documents into shards; returns what the manifest says of them."""
    fingerprint, unknown = encoder.tokenizer.fingerprint, encoder.tokenizer.ids["unk"]
    writers = {
        split: Writer(folder, f"{split}-{part.number:05d}", fingerprint, encoder.dtype)
        for split in ("train", "held-out")
    }
    totals = {split: dict.fromkeys(COUNTS, 0) for split in writers}
    for batch in grouped(documents, lambda document: len(document.text), AT_ONCE):
        for document, units in zip(batch, encoder.units([document.text for document in batch]), strict=True):
            if not units:
                skipped.note("document without a token", f"{document.source}, at {document.index:,}")
                continue
            split: Split = "held-out" if held_out(document) else "train"
            tokens = writers[split].add(units)
            total = totals[split]
            total["documents"] += 1
            total["tokens"] += len(tokens)
            total["words"] += count_words(document.text)
            total["bytes"] += len(document.text.encode())
            total["unknown"] += int((tokens == unknown).sum())
    splits = {split: totals[split] | {"shards": writer.finish()} for split, writer in writers.items()}
    return {"source": part.source, "splits": splits, "skipped": skipped.said()}
