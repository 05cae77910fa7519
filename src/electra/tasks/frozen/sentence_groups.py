"""Sentences as rows that a model reads: those of one length together, so that nothing is padded, equal rows once."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int, Int64
from torch import Tensor
from torch.nn import functional as F

from electra.errors import UserError
from electra.tokenization import Tokenizer

HELD = 1 << 22  # ids of masked rows that are held at once: 32 MB


class UnreadableSentence(UserError):
    """A sentence that has no score; ``index`` is its place among those that were given."""

    def __init__(self, index: int, problem: str):
        super().__init__(problem)
        self.index = index


class SentenceGroup(NamedTuple):
    """Sentences of one length.

    ``indices``: their places among all sentences. ``ids``: with [CLS] and [SEP]. ``words``: the number of the word that
    each token is a piece of.
    """

    indices: Int64[np.ndarray, " sentences"]
    ids: Int[Tensor, "sentences length"]
    words: Int[Tensor, "sentences inner"]


def group_sentences(sentences: Sequence[str], tokenizer: Tokenizer, most: int, words: bool) -> Iterator[SentenceGroup]:
    """The sentences by their number of tokens, a few at a time if they are long.

    ``most``: tokens of a sentence that the model reads. ``words``: tell which tokens are one word; else each token is a
    word of its own.

    Raises:
        UnreadableSentence: a sentence without tokens, or with more than ``most``.
    """
    special, backend = tokenizer.ids, tokenizer.backend
    encode = backend.encode_batch if words else backend.encode_batch_fast  # the fast one forgets the words
    encodings = encode(list(sentences), add_special_tokens=False)
    lengths = np.array([len(encoding.ids) for encoding in encodings], np.int64)
    for index in np.flatnonzero((lengths == 0) | (lengths > most))[:1].tolist():
        problem = f"{lengths[index]:,} tokens, but the model reads {most:,}" if lengths[index] else "no token"
        raise UnreadableSentence(index, f"{problem}: {sentences[index][:60]!r}")
    for length in np.unique(lengths).tolist():
        same = np.flatnonzero(lengths == length)
        for indices in np.split(same, range(0, len(same), max(1, HELD // (length * (length + 2))))[1:]):
            inner = torch.tensor([encodings[index].ids for index in indices])
            ids = F.pad(F.pad(inner, (1, 0), value=special["cls"]), (0, 1), value=special["sep"])
            numbers = [encodings[index].word_ids if words else list(range(length)) for index in indices]
            yield SentenceGroup(indices, ids, torch.tensor(numbers))


def mask_each_token(
    group: SentenceGroup, mask: int
) -> tuple[Int[Tensor, "rows length"], Int[Tensor, " rows"], Int[Tensor, " tokens"]]:
    """Each different row with a token of the group masked; the position to predict in it; and each token's row.

    ``mask``: the id of [MASK]. The later tokens of the same word are masked too. The position is the first that is
    masked, so a row has one position, whatever sentences it comes from.
    """
    inner = torch.arange(group.words.shape[1])
    later = inner[None, :] >= inner[:, None]
    covered = (group.words[:, :, None] == group.words[:, None, :]) & later
    rows = torch.where(F.pad(covered, (1, 1)), mask, group.ids[:, None, :]).flatten(0, 1)
    rows, first, row_of_token = unique_rows(rows)
    return rows, first % len(inner) + 1, row_of_token


def unique_rows(
    rows: Int[Tensor, "all length"],
) -> tuple[Int[Tensor, "rows length"], Int[Tensor, " rows"], Int[Tensor, " all"]]:
    """The different rows, where each of them stands first, and for every row which of them it is."""
    as_bytes = np.ascontiguousarray(rows.numpy().astype(">u4")).view(f"V{4 * rows.shape[1]}").reshape(-1)
    _, first, which = np.unique(as_bytes, return_index=True, return_inverse=True)
    return rows[torch.from_numpy(first)], torch.from_numpy(first), torch.from_numpy(which)
