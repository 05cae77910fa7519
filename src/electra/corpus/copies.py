"""Near copies of a text: a document most of whose runs of five words stand in the documents before it."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Int, UInt

RUN_WORDS = 5  # words
WORD = re.compile(r"[^\W_]+")
NON_SPACE = re.compile(r"\S+")
LONG_TEXT = 1 << 20  # characters
HASH_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2⁶⁴ / golden ratio


def find_near_copies(texts: Iterable[str], share: float = 0.5) -> Bool[np.ndarray, " texts"]:
    """Which texts have more than ``share`` of their runs of words in texts before them, in any case and punctuation.

    A run counts as seen though the text that it was seen in is itself a copy. A text shorter than a run is one run.
    The cost is that of sorting all runs; memory is some 40 bytes a word.
    """
    runs, owners = hash_runs_of_texts(texts)
    count = int(owners[-1]) + 1 if len(owners) else 0
    _, first, which = np.unique(runs, return_index=True, return_inverse=True)
    seen = owners[first][which] < owners
    return np.bincount(owners, seen, count) > share * np.bincount(owners, minlength=count)


def hash_runs_of_texts(texts: Iterable[str]) -> tuple[UInt[np.ndarray, " runs"], Int[np.ndarray, " runs"]]:
    """The hash of every run of words, and the index of the text that it stands in, both in order."""
    found = [np.empty(0, dtype=np.uint64)]
    for text in texts:
        words = split_words(text)
        found.append(hash_runs(words + [""] * (RUN_WORDS - len(words))))
    return np.concatenate(found), np.repeat(np.arange(len(found) - 1), [len(runs) for runs in found[1:]])


def hash_runs(words: Sequence[str], length: int = RUN_WORDS) -> UInt[np.ndarray, " runs"]:
    """A hash of 64 bits, the same in every process, of each ``length`` words in a row."""
    numbers = np.fromiter(map(hash_word, words), np.uint64, len(words))
    hashes = np.zeros(max(0, len(words) - length + 1), dtype=np.uint64)
    for offset in range(length):
        hashes = (hashes ^ numbers[offset : offset + len(hashes)]) * HASH_MULTIPLIER
        hashes ^= hashes >> np.uint64(32)
    return hashes


def hash_text(text: str) -> int:
    """64 bits that stand for a text, the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


hash_word = lru_cache(1 << 20)(hash_text)


def split_words(text: str) -> list[str]:
    """The words of a text in lower case, without what is neither letter nor digit."""
    return WORD.findall(text.lower())


def count_words(text: str) -> int:
    """How many stretches of a text white space parts. A list of those of 50 MB would take 0.7 GB."""
    return len(text.split()) if len(text) < LONG_TEXT else sum(1 for _ in NON_SPACE.finditer(text))
