"""Sentences as rows that a model reads: those of one length together, so that nothing is padded, equal rows once."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int, Int64
from torch import Tensor
from torch.nn import functional as F

from electra.errors import UserError
from electra.tasks.frozen.sentence_windows import SentenceWindow, cut_windows, encode_pieces
from electra.tokenization.tokenizer import Tokenizer

HELD = 1 << 22  # ids of masked rows that are held at once: 32 MB


class UnreadableSentence(UserError):
    """A sentence that has no score; ``index`` is its place among those that were given."""

    def __init__(self, index: int, problem: str):
        super().__init__(problem)
        self.index = index


class SentenceGroup(NamedTuple):
    """Windows of one length.

    ``indices``: their sentences' places among all. ``ids``: with [CLS] and [SEP]. ``words``: the number of the word
    that each token is a piece of. ``own``: the tokens that are judged in this window.
    """

    indices: Int64[np.ndarray, " windows"]
    ids: Int[Tensor, "windows length"]
    words: Int[Tensor, "windows inner"]
    own: Bool[Tensor, "windows inner"]


def encode_sentences(sentences: Sequence[str], tokenizer: Tokenizer, most: int, words: bool) -> list[SentenceWindow]:
    """Each sentence as one window. ``words`` as in ``encode_pieces``.

    Raises:
        UnreadableSentence: a sentence without tokens, or with more than ``most``.
    """
    encoded = encode_pieces(sentences, tokenizer, words)
    for index, (ids, _) in enumerate(encoded):
        if not 0 < len(ids) <= most:
            problem = f"{len(ids):,} tokens, but the model reads {most:,}" if ids else "no token"
            raise UnreadableSentence(index, f"{problem}: {sentences[index][:60]!r}")
    return list(cut_windows(encoded, most))


def group_windows(windows: Sequence[SentenceWindow], tokenizer: Tokenizer) -> Iterator[SentenceGroup]:
    """The windows by their number of tokens, a few at a time if they are long."""
    special = tokenizer.ids
    lengths = np.array([len(window.pieces.ids) for window in windows], np.int64)
    for length in np.unique(lengths).tolist():
        same = np.flatnonzero(lengths == length)
        for places in np.split(same, range(0, len(same), max(1, HELD // (length * (length + 2))))[1:]):
            part = [windows[place] for place in places.tolist()]
            inner = torch.tensor([window.pieces.ids for window in part])
            ids = F.pad(F.pad(inner, (1, 0), value=special["cls"]), (0, 1), value=special["sep"])
            words = torch.tensor([list(window.pieces.words) for window in part])
            place = torch.arange(length)
            first, last = torch.tensor([(window.first, window.last) for window in part]).unbind(1)
            own = (first[:, None] <= place) & (place < last[:, None])
            yield SentenceGroup(np.array([window.sentence for window in part]), ids, words, own)


def mask_each_token(
    group: SentenceGroup, mask: int
) -> tuple[Int[Tensor, "rows length"], Int[Tensor, " rows"], Int[Tensor, " tokens"]]:
    """Each different row with an own token of the group masked; the position to predict in it; and each token's row.

    ``mask``: the id of [MASK]. The later tokens of the same word are masked too. The position is the first that is
    masked, so a row has one position, whatever sentences it comes from.
    """
    inner = torch.arange(group.words.shape[1])
    later = inner[None, :] >= inner[:, None]
    covered = (group.words[:, :, None] == group.words[:, None, :]) & later
    rows = torch.where(F.pad(covered, (1, 1)), mask, group.ids[:, None, :])[group.own]
    rows, first, row_of_token = unique_rows(rows)
    return rows, inner.expand_as(group.own)[group.own][first] + 1, row_of_token


def unique_rows(
    rows: Int[Tensor, "all length"],
) -> tuple[Int[Tensor, "rows length"], Int[Tensor, " rows"], Int[Tensor, " all"]]:
    """The different rows, where each of them stands first, and for every row which of them it is."""
    as_bytes = np.ascontiguousarray(rows.numpy().astype(">u4")).view(f"V{4 * rows.shape[1]}").reshape(-1)
    _, first, which = np.unique(as_bytes, return_index=True, return_inverse=True)
    return rows[torch.from_numpy(first)], torch.from_numpy(first), torch.from_numpy(which)
