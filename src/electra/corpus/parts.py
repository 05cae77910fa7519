"""One part of the work: its spans → documents → shards and a count. Parts run in any order, on any number of cores."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, get_args

import numpy as np

from electra.corpus.builtin import is_in_held_out_file
from electra.corpus.documents import Document, ReportProgress, Skipped, TextFormat
from electra.corpus.duplicates import CopyDetector, CopyRemover
from electra.corpus.filters import Filters
from electra.corpus.hashing import count_words, hash_words
from electra.corpus.origins import fingerprint_part
from electra.corpus.readers import BUILTIN, read_documents
from electra.corpus.sources import Part
from electra.corpus.words import CHARACTERS_AT_ONCE, UNIT_OVERHEAD, CachingTokenizer, group_by_size
from electra.dataset.shards import ShardWriter, Split
from electra.errors import UserError
from electra.files import write_whole
from electra.run_folder import read_json, write_json
from electra.tokenization.tokenizer import parse_tokenizer

READ = "read"  # ending of a note of what was read for a part
COUNTS = ("documents", "tokens", "words", "bytes", "unknown")

PartEntry = dict[str, Any]  # JSON: source, counts and shards of each split, what was skipped
PartFunction = Callable[["Job", Part, ReportProgress], None]


@dataclass(frozen=True)
class Job:
    """What is done to every part. It is sent to the workers."""

    out: str
    tokenizer: str  # the content of tokenizer.json
    special: tuple[tuple[str, str], ...]  # pad, unk, cls, sep, mask → the token
    text_format: TextFormat
    filters: Filters
    detector: CopyDetector
    held_out: float  # share of the documents

    def file(self, part: Part, ending: str) -> Path:
        """A file of a part, which is removed when all parts are done."""
        return Path(self.out, "parts", f"{part.number:05d}.{ending}")

    def documents(self, part: Part, skipped: Skipped, report_progress: ReportProgress) -> Iterator[Document]:
        """The part's documents that the filters keep. ``report_progress`` gets the bytes of the part read so far."""
        done = 0
        for span in part.spans:
            report_span = partial(report_progress_from, report_progress, done)
            documents = read_documents(span, self.text_format, skipped, report_span)
            yield from self.filters.filter_documents(documents, skipped)
            done += span.size
        report_progress(done)

    def is_held_out(self, document: Document, part: Part) -> bool:
        """Whether a document is kept out of training: by a hash of its words, so that equal texts fall on one side.

        The built-in corpus is split by file, for the labelled task in it.
        """
        if part.spans[0].path == BUILTIN:
            return is_in_held_out_file(document)
        return hash_words(document.text) < self.held_out * 2**64


def report_progress_from(report_progress: ReportProgress, before: int, read: int) -> None:
    """Report the bytes read of a span together with those ``before`` it."""
    report_progress(before + read)


def write_copy_keys(job: Job, part: Part, report_progress: ReportProgress) -> None:
    """Write the keys of the part's documents, by which copies are found: the first pass, if copies are left out."""
    with ExitStack() as stack:
        files = {}
        for kind in job.detector.kinds:
            path = stack.enter_context(write_whole(job.file(part, f"{kind}.keys")))
            files[kind] = stack.enter_context(path.open("wb"))
        job.detector.write_keys(job.documents(part, Skipped(), report_progress), files)
        note_contents(job, part)


def write_part(job: Job, part: Part, report_progress: ReportProgress) -> None:
    """Write the part's shards, and then their entry for the manifest as ``parts/NUMBER.json``: the part is done."""
    skipped = Skipped()
    marks = {kind: np.fromfile(job.file(part, f"{kind}.marks"), bool) for kind in job.detector.kinds}
    documents = job.documents(part, skipped, report_progress)
    entry = write_shards(
        Path(job.out),
        part,
        CopyRemover(job.detector, marks).filter_documents(documents, skipped),
        load_caching_tokenizer(job.tokenizer, job.special),
        lambda document: job.is_held_out(document, part),
        skipped,
    )
    note_contents(job, part)
    write_json(job.file(part, "json"), entry)


def note_contents(job: Job, part: Part) -> None:
    """Write the fingerprints of a part's files as ``parts/NUMBER.read``, or compare them with those that are there.

    Raises:
        UserError: as ``verify_contents``.
    """
    if not verify_contents(job, part):
        write_json(job.file(part, READ), fingerprint_part(part))


def verify_contents(job: Job, part: Part) -> bool:
    """Compare a part's files with the fingerprints of an earlier reading. Whether there was one.

    Raises:
        UserError: a file changed since then, or the fingerprints are damaged.
    """
    path = job.file(part, READ)
    if not path.exists():
        return False
    before = read_json(path, f"remove {job.out} and begin anew", list)
    for span, old, new in zip(part.spans, before, fingerprint_part(part), strict=True):
        if old != new:
            raise UserError(f"{span.shown}: changed since {job.out} was begun; remove that folder, and begin anew")
    return True


@lru_cache(1)
def load_caching_tokenizer(tokenizer_json: str, special: tuple[tuple[str, str], ...]) -> CachingTokenizer:
    """The tokenizer of a tokenizer.json's content, kept from part to part with the words that it knows."""
    return CachingTokenizer(parse_tokenizer(tokenizer_json, dict(special)))


def weigh_document(document: Document) -> int:
    """What a document adds to a group: its characters, and what it takes beside them."""
    return len(document.text) + UNIT_OVERHEAD


def write_shards(
    folder: Path,
    part: Part,
    documents: Iterable[Document],
    tokenizer: CachingTokenizer,
    is_held_out: Callable[[Document], bool],
    skipped: Skipped,
) -> PartEntry:
    """Tokenize documents into shards; returns the part's entry, of which ``build_manifest`` makes the manifest.

    Documents without a token are left out and counted in ``skipped``, which the entry holds too.
    """
    fingerprint, unknown = tokenizer.tokenizer.fingerprint, tokenizer.tokenizer.ids["unk"]
    writers = {
        split: ShardWriter(folder, f"{split}-{part.number:05d}", fingerprint, tokenizer.dtype)
        for split in get_args(Split)
    }
    counts_by_split = {split: dict.fromkeys(COUNTS, 0) for split in writers}
    for group in group_by_size(documents, weigh_document, CHARACTERS_AT_ONCE):
        units_of_documents = tokenizer.encode_documents([document.text for document in group])
        for document, units in zip(group, units_of_documents, strict=True):
            if not units:
                skipped.note("document without a token", f"{document.source}, at {document.index:,}")
                continue
            split: Split = "held-out" if is_held_out(document) else "train"
            writers[split].add_document(units)
            counts = counts_by_split[split]
            counts["documents"] += 1
            counts["tokens"] += len(units.tokens)
            counts["words"] += count_words(document.text)
            counts["bytes"] += len(document.text.encode())
            counts["unknown"] += int((units.tokens == unknown).sum())
    splits = {split: counts_by_split[split] | {"shards": writer.finish()} for split, writer in writers.items()}
    return {"source": part.source, "splits": splits, "skipped": skipped.to_json()}
