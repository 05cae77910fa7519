"""Near copies among texts in memory: a text most of whose runs of five words occur in the texts before it."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Int, UInt

from electra.corpus.hashing import hash_runs, pad_to_run, split_words


def find_near_copies(texts: Iterable[str], share: float = 0.5) -> Bool[np.ndarray, " texts"]:
    """Which texts have more than ``share`` of their runs of words in texts before them, in any case and punctuation.

    A run counts as seen even if the text that it was seen in is itself a copy. A text shorter than a run is one run.
    The time is that of sorting all runs; the memory is some 40 bytes a word.
    """
    runs, owners = hash_runs_of_texts(texts)
    count = int(owners[-1]) + 1 if len(owners) else 0
    _, first, which = np.unique(runs, return_index=True, return_inverse=True)
    seen = owners[first][which] < owners
    return np.bincount(owners, seen, count) > share * np.bincount(owners, minlength=count)


def hash_runs_of_texts(texts: Iterable[str]) -> tuple[UInt[np.ndarray, " runs"], Int[np.ndarray, " runs"]]:
    """The hash of every run of words, and the index of the text that it occurs in, both in order."""
    runs_of_texts = [np.empty(0, dtype=np.uint64)]
    runs_of_texts += [hash_runs(pad_to_run(split_words(text))) for text in texts]
    counts = [len(runs) for runs in runs_of_texts[1:]]
    return np.concatenate(runs_of_texts), np.repeat(np.arange(len(counts)), counts)
