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
from electra.corpus.copies import count_words, hash_text
from electra.corpus.documents import Document, Skipped, TextFormat
from electra.corpus.duplicates import CopyDetector, CopyRemover
from electra.corpus.filters import Filters
from electra.corpus.sources import Part, fingerprint_part
from electra.corpus.words import CHARACTERS_AT_ONCE, CachingTokenizer, group_by_size
from electra.dataset.shards import ShardWriter, Split
from electra.errors import UserError, convert_errors
from electra.files import write_whole

READ = "read"  # ending of a note of what was read for a part
COUNTS = ("documents", "tokens", "words", "bytes", "unknown")

ReportProgress = Callable[[int], object]
PartFunction = Callable[["Job", Part, ReportProgress], None]


@dataclass(frozen=True)
class Job:
    """What is done to every part; it travels to the workers."""

    out: str
    tokenizer: str  # tokenizer.json
    special: tuple[tuple[str, str], ...]
    form: TextFormat
    filters: Filters
    duplicates: CopyDetector
    held_out: float

    def file(self, part: Part, ending: str) -> Path:
        """A file beside the shards that is there until all parts are."""
        return Path(self.out, "parts", f"{part.number:05d}.{ending}")

    def documents(self, part: Part, skipped: Skipped, told: ReportProgress) -> Iterator[Document]:
        """The part's documents to which no filter objects."""
        done = 0
        for span in part.spans:
            found = readers.read_documents(span, self.form, skipped, partial(report_progress_from, told, done))
            yield from self.filters.kept(found, skipped)
            done += span.size
        told(done)

    def is_held_out(self, document: Document, part: Part) -> bool:
        """Whether a document is kept out of training: by its text, so that equal texts fall on one side.

        The built-in corpus is split by file, for the labelled task in it.
        """
        if part.spans[0].path == readers.BUILTIN:
            return builtin.is_in_held_out_file(document)
        return hash_text(document.text) < self.held_out * 2**64


def report_progress_from(told: ReportProgress, before: int, read: int) -> None:
    """Tell what is read of a span, and before it."""
    told(before + read)


def write_copy_keys(job: Job, part: Part, told: ReportProgress) -> None:
    """The first pass, where copies are to be left out: the keys of the part's documents."""
    found = job.duplicates.keys(job.documents(part, Skipped(), told))
    note_contents(job, part)
    for kind, keys in found.items():
        with write_whole(job.file(part, f"{kind}.keys")) as file:
            keys.astype("<u8").tofile(file)


def write_part(job: Job, part: Part, told: ReportProgress) -> None:
    """The part's shards, and then what they hold as ``parts/NUMBER.json``, which says that the part is done."""
    skipped = Skipped()
    marked = {kind: np.fromfile(job.file(part, f"{kind}.marks"), bool) for kind in job.duplicates.kinds}
    documents = CopyRemover(job.duplicates, marked).kept(job.documents(part, skipped, told), skipped)
    said = write_shards(
        Path(job.out), part, documents, load_caching_tokenizer(job.tokenizer, job.special),
        lambda document: job.is_held_out(document, part), skipped,
    )  # fmt: skip
    note_contents(job, part)
    with write_whole(job.file(part, "json")) as file:
        file.write_text(json.dumps(said))


def note_contents(job: Job, part: Part) -> None:
    """Write what was read for a part as ``parts/NUMBER.read``, or find that it is still what was read before.

    Raises:
        UserError: as ``verify_contents``.
    """
    if not verify_contents(job, part):
        with write_whole(job.file(part, READ)) as file:
            file.write_text(json.dumps(fingerprint_part(part)))


def verify_contents(job: Job, part: Part) -> bool:
    """Whether a part was read before, and its files still are what they were.

    Raises:
        UserError: one that changed, by its name; or the note of it is damaged.
    """
    path = job.file(part, READ)
    if not path.exists():
        return False
    with convert_errors(f"{path}: damaged; remove {job.out} and begin anew", ValueError):
        before = json.loads(path.read_text(encoding="utf-8"))
    for span, there, now in zip(part.spans, before, fingerprint_part(part), strict=True):
        if there != now:
            raise UserError(f"{span.shown}: changed since {job.out} was begun; remove that folder, and begin anew")
    return True


@lru_cache(1)
def load_caching_tokenizer(said: str, special: tuple[tuple[str, str], ...]) -> CachingTokenizer:
    """The encoder of a tokenizer.json, kept from part to part with the words that it knows."""
    return CachingTokenizer(tokenizers.parse_tokenizer(said, dict(special)))


def write_shards(
    folder: Path,
    part: Part,
    documents: Iterable[Document],
    encoder: CachingTokenizer,
    held_out: Callable[[Document], bool],
    skipped: Skipped,
) -> dict[str, Any]:
    """Tokenize documents into shards; returns what the manifest says of them."""
    fingerprint, unknown = encoder.tokenizer.fingerprint, encoder.tokenizer.ids["unk"]
    writers = {
        split: ShardWriter(folder, f"{split}-{part.number:05d}", fingerprint, encoder.dtype)
        for split in ("train", "held-out")
    }
    totals = {split: dict.fromkeys(COUNTS, 0) for split in writers}
    for batch in group_by_size(documents, lambda document: len(document.text), CHARACTERS_AT_ONCE):
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
