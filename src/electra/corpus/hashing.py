"""Hashes of texts and of their words, the same in every process: what copies and evaluation text are found by."""

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import UInt

RUN_WORDS = 5  # words of a run by which texts are compared
WORD = re.compile(r"[^\W_]+")
NON_SPACE, SPACE = re.compile(r"\S+"), re.compile(r"\s")
LONG_TEXT = 1 << 20  # characters from which no list of the words is made
HASH_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2⁶⁴ / golden ratio


def hash_text(text: str) -> int:
    """A hash of a text, 64 bits."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def hash_words(text: str) -> int:
    """A hash, 64 bits, of the words between white space: the same however a file breaks and ends its lines."""
    digest, start = hashlib.blake2b(digest_size=8), 0
    while start < len(text):  # a piece at a time: a list of all words of 50 MB would take 0.7 GB
        space = SPACE.search(text, start + LONG_TEXT)
        stop = space.start() if space else len(text)
        digest.update("".join(f" {word}" for word in text[start:stop].split()).encode())
        start = stop
    return int.from_bytes(digest.digest(), "big")


hash_word = lru_cache(1 << 20)(hash_text)


def hash_runs(words: Sequence[str], length: int = RUN_WORDS) -> UInt[np.ndarray, " runs"]:
    """A hash, uint64, of every ``length`` words in a row; none if there are fewer words."""
    numbers = np.fromiter(map(hash_word, words), np.uint64, len(words))
    hashes = np.zeros(max(0, len(words) - length + 1), dtype=np.uint64)
    for offset in range(length):
        hashes = (hashes ^ numbers[offset : offset + len(hashes)]) * HASH_MULTIPLIER
        hashes ^= hashes >> np.uint64(32)
    return hashes


def pad_to_run(words: Sequence[str]) -> list[str]:
    """The words, with empty ones behind them if they are too few for a run: a short text is one run."""
    return [*words, *[""] * (RUN_WORDS - len(words))]


def split_words(text: str) -> list[str]:
    """The words of a text in lower case, without what is neither letter nor digit."""
    return WORD.findall(text.lower())


def count_words(text: str) -> int:
    """The number of words between white space. A list of the words of 50 MB would take 0.7 GB."""
    return len(text.split()) if len(text) < LONG_TEXT else sum(1 for _ in NON_SPACE.finditer(text))
