"""What is left out on request: texts too short, too long or hardly text, and those that hold evaluation text."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt

from electra.corpus.documents import Document, Skipped, Span
from electra.corpus.hashing import count_words, hash_runs, split_words
from electra.corpus.lines import read_plain_lines
from electra.corpus.opening import find_compression
from electra.corpus.readers import COLUMNAR
from electra.errors import UserError

SYMBOL = re.compile(r"[^\w\s]|_")
ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)")  # in JSON


@dataclass(frozen=True)
class Filters:
    """Bounds on a document. The defaults leave nothing out."""

    fewest_words: int = 0
    most_words: int = 0
    most_symbols: float = 1.0
    """Share of the characters that are neither letter, digit nor white space."""
    overlap_words: int = 13
    overlap: UInt[np.ndarray, " runs"] = field(default_factory=lambda: np.empty(0, dtype=np.uint64))
    """Hashes, sorted, of the evaluation texts' runs of ``overlap_words`` words."""

    def find_objection(self, text: str) -> str | None:
        """Why the text is left out; None if it is not."""
        if self.fewest_words or self.most_words:
            words = count_words(text)
            if words < self.fewest_words:
                return f"document of fewer than {self.fewest_words:,} words"
            if self.most_words and words > self.most_words:
                return f"document of more than {self.most_words:,} words"
        if self.most_symbols < 1 and count_symbols(text) > self.most_symbols * len(text):
            return f"document with more than {self.most_symbols:.0%} symbols"
        if len(self.overlap) and has_known_run(text, self.overlap, self.overlap_words):
            return f"document with {self.overlap_words} words in a row of evaluation text"
        return None

    def filter_documents(self, documents: Iterable[Document], skipped: Skipped) -> Iterator[Document]:
        """The documents that are not left out."""
        for document in documents:
            if reason := self.find_objection(document.text):
                skipped.note(reason, f"{document.source}, at {document.index:,}")
            else:
                yield document


def count_symbols(text: str) -> int:
    """How many characters are neither letter, digit nor white space. Vowel signs and accents belong to letters."""
    return sum(not unicodedata.category(character).startswith("M") for character in SYMBOL.findall(text))


def has_known_run(text: str, known: UInt[np.ndarray, " runs"], length: int) -> bool:
    """Whether one of the text's runs of ``length`` words has a hash among ``known``, which are sorted."""
    runs = hash_runs(split_words(text), length)
    places = np.searchsorted(known, runs).clip(max=len(known) - 1)
    return bool((known[places] == runs).any())


def hash_evaluation_runs(paths: Sequence[str], length: int) -> tuple[UInt[np.ndarray, " runs"], int, int]:
    """Sorted hashes of the runs of words in evaluation files; the number of lines; how many lines are too short.

    The files are read as lines, whatever their format: quotes, braces and tabs are no words. A line of fewer than
    ``length`` words has no run.

    Raises:
        UserError: a file that cannot be read, or not as lines.
    """
    hashes, lines, short_lines = [np.empty(0, dtype=np.uint64)], 0, 0
    for path in paths:
        name, _ = find_compression(Span(path).name)
        if name.endswith(COLUMNAR):
            raise UserError(f"{path}: evaluation text is read as lines; give .txt, .tsv, .csv, .json or .jsonl")
        is_json = name.endswith((".json", ".jsonl"))
        for line in read_plain_lines(path):
            runs = hash_runs(split_words(unescape_json(line) if is_json else line), length)
            hashes.append(runs)
            lines += 1
            short_lines += not len(runs)
    return np.unique(np.concatenate(hashes)), lines, short_lines


def unescape_json(line: str) -> str:
    """A line of JSON with the characters that its ``\\u`` escapes stand for, and a space for every other escape."""
    return ESCAPE.sub(lambda escape: chr(int(escape[1], 16)) if escape[1] else " ", line)
