"""Copies of what occurs earlier in the corpus: documents and lines word for word, documents nearly so.

Each text has keys: one for equality, several for likeness. A first pass over the corpus writes every part's keys; then
a text is left out if a key of it occurs before it, in an earlier part or earlier in its own. Memory does not grow with
the corpus: keys are compared a share of their values at a time.
"""

import importlib.util
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Literal

import numpy as np
from jaxtyping import Bool, UInt

from electra.corpus.documents import Document, Skipped
from electra.corpus.hashing import hash_runs, hash_text, hash_words, pad_to_run, split_words
from electra.errors import UserError
from electra.files import write_whole

CopyKind = Literal["documents", "lines", "near"]
Keys = UInt[np.ndarray, "_"]
Marks = Bool[np.ndarray, "_"]  # of each key whether it occurs before

SHORTEST_LINE = 40  # characters from which an equal line is a copy and no heading or bracket
KEYS_AT_ONCE = 1 << 24  # keys compared together: 0.7 GB
KEYS_READ = 1 << 20  # … and read together
MOST_SHARES = 256  # of the keys, each an open file; with more than four thousand million keys memory grows after all
PERMUTATIONS = 128
BANDS = {0.9: (5, 25), 0.8: (9, 13), 0.7: (14, 9), 0.5: (25, 5)}  # likeness → bands, values a band: datasketch's optima


@dataclass(frozen=True)
class CopyDetector:
    """Which copies are looked for. ``likeness``: the share of common runs of words from which texts are near copies."""

    kinds: tuple[CopyKind, ...] = ()
    likeness: float = 0.8

    def validate(self) -> None:
        """Raise ``UserError`` for a likeness without bands, and for near copies without the package datasketch."""
        if self.likeness not in BANDS:
            raise UserError(f"--likeness {self.likeness:g}: one of {', '.join(f'{value:g}' for value in BANDS)}")
        if "near" in self.kinds and importlib.util.find_spec("datasketch") is None:
            raise UserError("near copies need the package datasketch; pip install 'electra[near]'")

    def write_keys(self, documents: Iterable[Document], files: Mapping[CopyKind, IO[bytes]]) -> None:
        """Write the keys, uint64, of all documents in order to the file of their kind."""
        for document in documents:
            for kind, file in files.items():
                file.write(self.compute_keys(document.text, kind).astype("<u8").tobytes())

    def compute_keys(self, text: str, kind: CopyKind) -> Keys:
        """The keys of a text by which copies of one kind are found."""
        if kind == "near":
            return self.compute_near_keys(text)
        parts = [text] if kind == "documents" else select_keyed_lines(text)
        return np.fromiter(map(hash_words, parts), np.uint64)

    def compute_near_keys(self, text: str) -> Keys:
        """A key for each band of the text's MinHash signature (Broder, 1997; bands: Leskovec et al., chapter 3)."""
        from datasketch import MinHash

        bands, values = BANDS[self.likeness]
        words = split_words(text) or [text]  # texts without a word are like none but themselves
        runs = hash_runs(pad_to_run(words)) & np.uint64(0xFFFFFFFF)
        signature = MinHash(PERMUTATIONS, hashfunc=int)
        signature.update_batch(runs)
        rows = signature.hashvalues[: bands * values].reshape(bands, values)
        return np.array([hash_text(f"{band} {row.tobytes().hex()}") for band, row in enumerate(rows)], "<u8")


@dataclass
class CopyRemover:
    """Leaves out what is marked. It must see the documents in the order of the keys."""

    detector: CopyDetector
    marks: dict[CopyKind, Marks] = field(default_factory=dict)

    def filter_documents(self, documents: Iterable[Document], skipped: Skipped) -> Iterator[Document]:
        """The documents that are not marked, without their marked lines."""
        first_line = 0
        line_marks = self.marks.get("lines")
        bands = BANDS[self.detector.likeness][0]
        near = np.any(self.marks.get("near", np.empty(0, dtype=bool)).reshape(-1, bands), axis=1).tolist()
        for index, document in enumerate(documents):
            where = f"{document.source}, at {document.index:,}"
            if line_marks is not None:
                count = sum(1 for _ in select_keyed_lines(document.text))
                repeated, first_line = line_marks[first_line : first_line + count], first_line + count
            if "documents" in self.marks and self.marks["documents"][index]:
                skipped.note("copy of a document", where)
                continue
            if "near" in self.marks and near[index]:
                skipped.note("near copy of a document", where)
                continue
            if line_marks is not None and repeated.any():
                skipped.note("copy of a line", where, int(repeated.sum()))
                document = replace(document, text=remove_marked_lines(document.text, repeated))
                if not document.text.strip():
                    skipped.note("document of copied lines alone", where)
                    continue
            yield document


def select_keyed_lines(text: str) -> Iterator[str]:
    """The lines that are long enough to be copies, without white space around them."""
    return (stripped for line in text.split("\n") if len(stripped := line.strip()) >= SHORTEST_LINE)


def remove_marked_lines(text: str, marks: Bool[np.ndarray, " lines"]) -> str:
    """The text without its keyed lines that are marked."""
    keyed = iter(marks.tolist())
    kept = [line for line in text.split("\n") if len(line.strip()) < SHORTEST_LINE or not next(keyed)]
    return "\n".join(kept)


def mark_copies(key_files: Sequence[Path], mark_files: Sequence[Path]) -> None:
    """For each file of keys write one of bool: which of them occur before, in it or in a file before it.

    Raises:
        OSError: the disk has no room, of 17 bytes a key until this is done.
    """
    sizes = [file.stat().st_size // 8 for file in key_files]
    with TemporaryFile(dir=mark_files[0].parent) as file:
        marks = create_marks(file, sum(sizes))
        mark_repeated_keys(key_files, marks)
        for mark_file, of_file in zip(mark_files, np.split(marks, np.cumsum(sizes)[:-1]), strict=True):
            with write_whole(mark_file) as path:
                of_file.tofile(path)


def create_marks(file: IO[bytes], size: int) -> Marks:
    """``size`` bool in a new file, all false, by memory map. Takes its room on the disk now, or raises ``OSError``."""
    if not size:
        return np.zeros(0, dtype=bool)
    os.posix_fallocate(file.fileno(), 0, size)
    return np.memmap(file, bool, "r+")


def mark_repeated_keys(key_files: Sequence[Path], marks: Marks) -> None:
    """Set in ``marks``, which are those of all files in a row, which keys occur before.

    The keys are read once, and laid by their values into shares that fit into memory.
    """
    count = min(-(-len(marks) // KEYS_AT_ONCE), MOST_SHARES)
    with ExitStack() as stack:
        shares = [stack.enter_context(TemporaryFile(dir=key_files[0].parent)) for _ in range(count)]
        place = 0
        for keys in chain.from_iterable(map(read_keys, key_files)):
            placed = np.stack([keys, np.arange(place, place + len(keys), dtype=np.uint64)], axis=1)
            place += len(keys)
            for number, share in enumerate(shares):
                share.write(placed[keys % np.uint64(count) == np.uint64(number)].tobytes())
        for share in shares:
            share.seek(0)
            together, places = np.frombuffer(share.read(), np.uint64).reshape(-1, 2).T
            order = np.argsort(together, kind="stable")
            repeated = together[order[1:]] == together[order[:-1]]
            marks[places[order[1:]][repeated]] = True


def read_keys(file: Path) -> Iterator[Keys]:
    """The keys of a file, some at a time."""
    with file.open("rb") as opened:
        while content := opened.read(8 * KEYS_READ):
            yield np.frombuffer(content, "<u8")
