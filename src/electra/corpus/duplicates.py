"""What stands in the corpus before: documents and lines word for word, documents nearly so.

Each text has keys: one for equality, several for likeness. A first pass over the corpus writes every part's keys; then
a text is left out if a key of it stands before it, in an earlier part or earlier in its own. Memory does not grow with
the corpus: keys are compared a share of their values at a time.
"""

import importlib.util
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, UInt

from electra.corpus.copies import RUN_WORDS, hash_runs, hash_text, split_words
from electra.corpus.documents import Document, Skipped
from electra.errors import UserError
from electra.files import write_whole

CopyKind = Literal["documents", "lines", "near"]
Keys = UInt[np.ndarray, "_"]

SHORTEST_LINE = 40  # characters from which an equal line is a copy and no heading or bracket
KEYS_AT_ONCE = 1 << 24  # keys compared together
PERMUTATIONS = 128
BANDS = {0.9: (5, 25), 0.8: (9, 13), 0.7: (14, 9), 0.5: (25, 5)}  # likeness → bands, values a band: datasketch's optima


@dataclass(frozen=True)
class CopyDetector:
    """Which copies are left out. ``likeness``: the share of common runs of words from which texts are near copies."""

    kinds: tuple[CopyKind, ...] = ()
    likeness: float = 0.8

    def check(self) -> None:
        """Raises ``UserError`` if near copies cannot be found."""
        if self.likeness not in BANDS:
            raise UserError(f"--likeness {self.likeness:g}: one of {', '.join(f'{each:g}' for each in BANDS)}")
        if "near" in self.kinds and importlib.util.find_spec("datasketch") is None:
            raise UserError("near copies need the package datasketch; pip install 'electra[near]'")

    def keys(self, documents: Iterable[Document]) -> dict[CopyKind, Keys]:
        """By kind the keys of all documents, in order."""
        found: dict[CopyKind, list[int]] = {kind: [] for kind in self.kinds}
        near: list[Keys] = []
        for document in documents:
            if "documents" in found:
                found["documents"].append(hash_text(document.text))
            if "lines" in found:
                found["lines"] += [hash_text(line) for line in select_keyed_lines(document.text)]
            if "near" in found:
                near.append(self.near_keys(document.text))
        arrays: dict[CopyKind, Keys] = {kind: np.array(keys, dtype=np.uint64) for kind, keys in found.items()}
        if near:
            arrays["near"] = np.concatenate(near)
        return arrays

    def near_keys(self, text: str) -> Keys:
        """A key for each band of the text's MinHash signature (Broder, 1997; bands: Leskovec et al., chapter 3)."""
        from datasketch import MinHash

        bands, values = BANDS[self.likeness]
        words = split_words(text) or [text]  # texts without a word are like none but themselves
        runs = hash_runs(words + [""] * (RUN_WORDS - len(words))) & np.uint64(0xFFFFFFFF)
        signature = MinHash(PERMUTATIONS, hashfunc=int)
        signature.update_batch(runs)
        rows = signature.hashvalues[: bands * values].reshape(bands, values)
        return np.array([hash_text(f"{band} {row.tobytes().hex()}") for band, row in enumerate(rows)], "<u8")


@dataclass
class CopyRemover:
    """Leaves out what is marked, document by document in the order of the keys."""

    duplicates: CopyDetector
    marked: dict[CopyKind, Bool[np.ndarray, "_"]] = field(default_factory=dict)

    def kept(self, documents: Iterable[Document], skipped: Skipped) -> Iterator[Document]:
        """The documents that stay, without the lines that do not."""
        at = 0
        marks = self.marked.get("lines")
        bands = BANDS[self.duplicates.likeness][0]
        near = np.any(self.marked.get("near", np.empty(0, dtype=bool)).reshape(-1, bands), axis=1).tolist()
        for index, document in enumerate(documents):
            where = f"{document.source}, at {document.index:,}"
            if marks is not None:
                count = sum(1 for _ in select_keyed_lines(document.text))
                repeated, at = marks[at : at + count], at + count
            if "documents" in self.marked and self.marked["documents"][index]:
                skipped.note("copy of a document", where)
                continue
            if "near" in self.marked and near[index]:
                skipped.note("near copy of a document", where)
                continue
            if marks is not None and repeated.any():
                skipped.note("copy of a line", where, int(repeated.sum()))
                document = replace(document, text=remove_marked_lines(document.text, repeated))
                if not document.text.strip():
                    skipped.note("document of copied lines alone", where)
                    continue
            yield document


def select_keyed_lines(text: str) -> Iterator[str]:
    """The lines that are long enough to be copies, without white space around them."""
    return (stripped for line in text.split("\n") if len(stripped := line.strip()) >= SHORTEST_LINE)


def remove_marked_lines(text: str, repeated: Bool[np.ndarray, " lines"]) -> str:
    """The text without its keyed lines that are marked."""
    marks = iter(repeated.tolist())
    kept = [line for line in text.split("\n") if len(line.strip()) < SHORTEST_LINE or not next(marks)]
    return "\n".join(kept)


def mark_copies(files: Sequence[Path], marks: Sequence[Path]) -> None:
    """For each file of keys write, as bool, which of them stand before: in it, or in a file before it."""
    sizes = [file.stat().st_size // 8 for file in files]
    with ExitStack() as stack:
        found = [
            create_mark_array(stack.enter_context(write_whole(file)), size)
            for file, size in zip(marks, sizes, strict=True)
        ]
        mark_repeated_keys(files, sizes, found)


def create_mark_array(file: Path, size: int) -> Bool[np.ndarray, "_"]:
    """A new file of so many bool, all false, in memory's stead; room for it is taken now, or ``OSError`` raised."""
    with file.open("wb") as new:
        if not size:
            return np.zeros(0, dtype=bool)
        os.posix_fallocate(new.fileno(), 0, size)
    return np.memmap(file, bool, "r+")


def mark_repeated_keys(files: Sequence[Path], sizes: Sequence[int], found: Sequence[Any]) -> None:
    """Set in ``found``, for each file, which of its keys stand before."""
    shares = np.uint64(-(-sum(sizes) // KEYS_AT_ONCE) or 1)
    for share in range(int(shares)):
        places, values = [], []
        for file, size in zip(files, sizes, strict=True):
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
        by_part = np.split(repeated, np.cumsum([len(at) for at in places])[:-1])
        for part, at, again in zip((part for part in found if len(part)), places, by_part, strict=True):
            part[at] = again
