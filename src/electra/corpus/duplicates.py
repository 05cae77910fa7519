"""Copies of what occurs earlier in the corpus: documents and lines word for word, documents nearly so.

Each text has keys: one for equality, several for likeness. A first pass over the corpus writes every part's keys; then
a text is left out if a key of it occurs before it, in an earlier part or earlier in its own. Memory does not grow with
the corpus: keys are compared a share of their values at a time.
"""

import importlib.util
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, UInt

from electra.corpus.documents import Document, Skipped
from electra.corpus.hashing import hash_runs, hash_text, pad_to_run, split_words
from electra.errors import UserError
from electra.files import write_whole

CopyKind = Literal["documents", "lines", "near"]
Keys = UInt[np.ndarray, "_"]
Marks = Bool[np.ndarray, "_"]  # of each key whether it occurs before

SHORTEST_LINE = 40  # characters from which an equal line is a copy and no heading or bracket
KEYS_AT_ONCE = 1 << 24  # keys compared together
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

    def compute_keys(self, documents: Iterable[Document]) -> dict[CopyKind, Keys]:
        """Kind → the keys, uint64, of all documents in order."""
        numbers: dict[CopyKind, list[int]] = {kind: [] for kind in self.kinds}
        near: list[Keys] = []
        for document in documents:
            if "documents" in numbers:
                numbers["documents"].append(hash_text(document.text))
            if "lines" in numbers:
                numbers["lines"] += [hash_text(line) for line in select_keyed_lines(document.text)]
            if "near" in numbers:
                near.append(self.compute_near_keys(document.text))
        keys: dict[CopyKind, Keys] = {kind: np.array(hashes, dtype=np.uint64) for kind, hashes in numbers.items()}
        if near:
            keys["near"] = np.concatenate(near)
        return keys

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
    """For each file of keys write one of bool: which of them occur before, in it or in a file before it."""
    sizes = [file.stat().st_size // 8 for file in key_files]
    with ExitStack() as stack:
        marks = [
            create_marks(stack.enter_context(write_whole(file)), size)
            for file, size in zip(mark_files, sizes, strict=True)
        ]
        mark_repeated_keys(key_files, sizes, marks)


def create_marks(file: Path, size: int) -> Marks:
    """A new file of ``size`` bool, all false, by memory map. Takes its room on the disk now, or raises ``OSError``."""
    with file.open("wb") as new:
        if not size:
            return np.zeros(0, dtype=bool)
        os.posix_fallocate(new.fileno(), 0, size)
    return np.memmap(file, bool, "r+")


def mark_repeated_keys(key_files: Sequence[Path], sizes: Sequence[int], marks: Sequence[Marks]) -> None:
    """Set in ``marks``, for each file, which of its keys occur before."""
    shares = np.uint64(-(-sum(sizes) // KEYS_AT_ONCE) or 1)
    for share in range(int(shares)):
        places, values = [], []
        for file, size in zip(key_files, sizes, strict=True):
            if size:
                keys = np.fromfile(file, "<u8")
                places.append(np.flatnonzero(keys % shares == np.uint64(share)))
                values.append(keys[places[-1]])
        if not places:
            break
        together = np.concatenate(values)
        order = np.argsort(together, kind="stable")
        repeated = np.zeros(len(together), dtype=bool)
        repeated[order[1:]] = together[order[1:]] == together[order[:-1]]
        by_file = np.split(repeated, np.cumsum([len(place) for place in places])[:-1])
        for file_marks, place, is_repeated in zip((m for m in marks if len(m)), places, by_file, strict=True):
            file_marks[place] = is_repeated
