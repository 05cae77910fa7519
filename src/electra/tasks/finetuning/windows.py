"""Windows of texts that are longer than a model reads: they overlap, and each token or word belongs to one of them."""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

STRIDE = 128  # tokens from one window's start to the next's: original code
LONGEST_ANSWER = 30  # tokens: original code


@lru_cache(1 << 12)
def cut_context(count: int, room: int) -> list[tuple[int, int, int, int]]:
    """(first, after the last, own first, after the own last) of each window's tokens, out of ``count``.

    A window starts ``STRIDE`` after the one before, or less, so that both have ``LONGEST_ANSWER`` tokens, or half a
    window. A token belongs to the window where the nearer end is farthest, as in BERT's code: min(left, right) +
    tokens / 100.
    """
    step = min(STRIDE, max(room - LONGEST_ANSWER, room // 2, 1))
    first = step * np.arange(1 - min(room - count, 0) // step)
    last = np.minimum(first + room, count)
    token = np.arange(count)
    inside = np.minimum(token - first[:, None], (last - 1)[:, None] - token)
    best = np.where(inside >= 0, inside + 0.01 * (last - first)[:, None], -np.inf).argmax(0)
    own = np.searchsorted(best, np.arange(len(first) + 1))
    return list(zip(first.tolist(), last.tolist(), own[:-1].tolist(), own[1:].tolist(), strict=True))


def cut_sentence(before: Sequence[int], room: int) -> list[tuple[int, int, list[int]]]:
    """(first word, after the last, the words that are predicted in it) of each window; half of a window is new.

    ``before``: how many pieces stand before each word, and in all; no word has more than ``room`` of them. A word is
    predicted in the window whose cuts are farthest from it, in pieces; the sentence's own ends are no cuts.
    """
    words, windows = len(before) - 1, list[tuple[int, int]]()
    first = last = 0
    while last < words:
        last = int(np.searchsorted(before, before[first] + room, side="right")) - 1
        if last == words:
            first = int(np.searchsorted(before, before[-1] - room))
        windows.append((first, last))
        first = min(last, int(np.searchsorted(before, before[first] + max(room // 2, 1))))
    best = [(-1.0, 0)] * words  # (pieces to the nearest cut, −number of the window)
    for number, (first, last) in enumerate(windows):
        for word in range(first, last):
            left = before[word] - before[first] if first else math.inf
            right = before[last] - before[word + 1] if last < words else math.inf
            best[word] = max(best[word], (min(left, right), -number))
    predicted: list[list[int]] = [[] for _ in windows]
    for word, (_, number) in enumerate(best):
        predicted[-number].append(word)
    return [(first, last, own) for (first, last), own in zip(windows, predicted, strict=True) if own]
