"""Near copies of a text: a document most of whose runs of five words stand in the documents before it."""

import re
from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Int, UInt

RUN = 5  # words
WORD = re.compile(r"[^\W_]+")
MULTIPLY = np.uint64(0x9E3779B97F4A7C15)  # 2⁶⁴ / golden ratio


def near_copies(texts: Iterable[str], share: float = 0.5) -> Bool[np.ndarray, " texts"]:
    """Which texts have more than ``share`` of their runs of words in texts before them, in any case and punctuation.

    A run counts as seen though the text that it was seen in is itself a copy. A text shorter than a run is one run.
    The cost is that of sorting all runs; memory is some 40 bytes a word.
    """
    runs, owners = numbered_runs(texts)
    count = int(owners[-1]) + 1 if len(owners) else 0
    _, first, which = np.unique(runs, return_index=True, return_inverse=True)
    seen = owners[first][which] < owners
    return np.bincount(owners, seen, count) > share * np.bincount(owners, minlength=count)


def numbered_runs(texts: Iterable[str]) -> tuple[UInt[np.ndarray, " runs"], Int[np.ndarray, " runs"]]:
    """Every run of words as a 64-bit hash, and the index of the text that it stands in, both in order."""
    numbers: dict[str, int] = {}
    words, lengths = [], []
    for text in texts:
        found = [numbers.setdefault(word, len(numbers) + 1) for word in words_of(text)]
        found += [0] * (RUN - len(found))
        words.append(np.array(found, dtype=np.uint64))
        lengths.append(len(found))
    flat = np.concatenate([*words, np.zeros(RUN, dtype=np.uint64)])
    hashes = np.zeros(len(flat) - RUN, dtype=np.uint64)
    for offset in range(RUN):
        hashes = (hashes ^ flat[offset : offset + len(hashes)]) * MULTIPLY
        hashes ^= hashes >> np.uint64(32)
    owners = np.repeat(np.arange(len(lengths)), lengths)
    ends = np.repeat(np.cumsum(lengths), lengths)
    whole = np.arange(len(owners)) + RUN <= ends  # runs do not reach into the next text
    return hashes[whole], owners[whole]


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without what is neither letter nor digit."""
    return WORD.findall(text.lower())
