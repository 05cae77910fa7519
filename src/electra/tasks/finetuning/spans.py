"""Heads that point at an answer's first and last token in a window of its context, and the texts of what they find."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from electra.interchange.encoders import States
from electra.kernels.random import dropout
from electra.model.heads import linear_float32
from electra.tasks.finetuning.examples import ExampleBatch
from electra.tasks.finetuning.heads import SITE, Keys, build_linear

STRIDE = 128  # tokens from one window's start to the next's [this and what follows: original code]
LONGEST = 30  # tokens of an answer
BEAM = 20  # starts of which ends are looked for
KEPT = 60  # spans of a window: three times the texts of a question, for some have the same
INNER = 512  # width of the layer that joins two states
WEIGHT = 0.5  # of the loss of answerability
NEVER = -1e9  # logit of what is not context


@dataclass(frozen=True, eq=False)
class Window:
    """The part of a context that an example has: its first token at position ``first``, the characters of each token
    in ``offsets``. ``start``, ``end``: positions of the answer's first and last token, 0 if no whole answer is here.
    ``own``: positions [from, to) of the tokens that no other window has more context of.
    """

    first: int
    offsets: Int[np.ndarray, "tokens 2"]
    own: tuple[int, int]
    start: int = 0
    end: int = 0


@dataclass(frozen=True, eq=False)
class FoundSpans:
    """What a head says of a window: positions and scores of spans, best first; the score of there being none, and of
    what that competes with."""

    starts: Int[np.ndarray, " spans"]
    ends: Int[np.ndarray, " spans"]
    scores: Float[np.ndarray, " spans"]
    null: float
    rival: float

    def scored(self, window: Window) -> list[tuple[float, int, int]]:
        """(score, start, end) in characters of the context."""
        first = window.offsets[self.starts - window.first, 0]
        last = window.offsets[self.ends - window.first, 1]
        return list(zip(self.scores.tolist(), first.tolist(), last.tolist(), strict=True))


@lru_cache(1 << 12)
def cut_context(count: int, room: int) -> list[tuple[int, int, int, int]]:
    """(first, after the last, own first, after the own last) of each window's tokens, out of ``count``.

    A window starts ``STRIDE`` after the one before, or less, so that both have ``LONGEST`` tokens, or half a window.
    A token belongs to the window where the nearer end is farthest, as in BERT's code: min(left, right) + tokens / 100.
    """
    step = min(STRIDE, max(room - LONGEST, room // 2, 1))
    first = step * np.arange(1 - min(room - count, 0) // step)
    last = np.minimum(first + room, count)
    token = np.arange(count)
    inside = np.minimum(token - first[:, None], (last - 1)[:, None] - token)
    best = np.where(inside >= 0, inside + 0.01 * (last - first)[:, None], -np.inf).argmax(0)
    own = np.searchsorted(best, np.arange(len(first) + 1))
    return list(zip(first.tolist(), last.tolist(), own[:-1].tolist(), own[1:].tolist(), strict=True))


def stack_targets(found: Sequence[Window], length: int) -> dict[str, Tensor]:
    """start, end: int64 [rows]; answerable: float32 [rows]; context, own: bool [rows, length], see ``Window``."""
    start, end, first, tokens, own, after = torch.tensor(
        [(each.start, each.end, each.first, len(each.offsets), *each.own) for each in found]
    ).T[:, :, None]
    at = torch.arange(length)
    return {
        "start": start[:, 0], "end": end[:, 0], "answerable": (start[:, 0] > 0).float(),
        "context": (at >= first) & (at < first + tokens), "own": (at >= own) & (at < after),
    }  # fmt: skip


class EndPointer(nn.Module):
    """The logit that a span ends at a token, given its start: w · gelu(W [h_token; h_start] + b).

    W is two matrices, W [x; y] = U x + V y, so that all starts share U h_token.
    """

    def __init__(self, width: int):
        super().__init__()
        self.of_token, self.of_start = build_linear(width, INNER), build_linear(width, INNER, bias=False)
        self.out = build_linear(INNER, 1)

    def forward(
        self, tokens: Float[Tensor, "rows length inner"], start: Float[Tensor, "rows hidden"]
    ) -> Float[Tensor, "rows length"]:
        """``tokens``: what ``of_token`` makes of the states."""
        return linear_float32(self.out, F.gelu(tokens + self.of_start(start)[:, None]))[:, :, 0]


class Answerability(nn.Module):
    """The logit that a window holds an answer, from [CLS] and the mean of the states by their chance to be its start:
    w · gelu(W [h_CLS; Σ p_start(j) h_j] + b)."""

    def __init__(self, width: int):
        super().__init__()
        self.dense, self.out = build_linear(2 * width, INNER), build_linear(INNER, 1)

    def forward(self, states: States, start: Float[Tensor, "rows length"]) -> Float[Tensor, " rows"]:
        """``start``: log-probabilities."""
        mean = (start.exp().to(states.dtype)[:, None] @ states)[:, 0]
        return linear_float32(self.out, F.gelu(self.dense(torch.cat([states[:, 0], mean], dim=1))))[:, 0]


class ConditionedSpans(nn.Module):
    """The paper's, as the original code has it: an end is looked for given its start, the gold one in training."""

    def __init__(self, width: int, rate: float, answerability: Answerability | None):
        super().__init__()
        self.rate = rate
        self.start, self.end, self.answerability = build_linear(width, 1), EndPointer(width), answerability

    def starts(self, states: States, batch: ExampleBatch) -> Float[Tensor, "rows length"]:
        """Log-probabilities over the context."""
        logits = linear_float32(self.start, states)[:, :, 0]
        return logits.masked_fill(~batch.targets["context"], NEVER).log_softmax(1)

    def ends(self, tokens: Tensor, start: Tensor, batch: ExampleBatch) -> Float[Tensor, "rows length"]:
        """Log-probabilities over the context; see ``EndPointer``."""
        return self.end(tokens, start).masked_fill(~batch.targets["context"], NEVER).log_softmax(1)

    def loss(self, states: Sequence[Tensor], batch: ExampleBatch, keys: Keys) -> Float[Tensor, ""]:
        """Half the cross-entropy of start and end where there is an answer, and ``WEIGHT`` times that of whether."""
        hidden = dropout(states[-1], keys, SITE, self.rate)
        first, last, answerable = (batch.targets[name] for name in ("start", "end", "answerable"))
        starts = self.starts(hidden, batch)
        row = torch.arange(len(hidden), device=hidden.device)
        ends = self.ends(self.end.of_token(hidden), hidden[row, first], batch)
        total = -(answerable * (starts[row, first] + ends[row, last])).sum() / 2
        if self.answerability is not None:
            logits = self.answerability(hidden, starts)
            total = total + WEIGHT * F.binary_cross_entropy_with_logits(logits, answerable, reduction="sum")
        return total

    @torch.no_grad()
    def answers(self, states: Sequence[Tensor], batch: ExampleBatch) -> list[Any]:
        """``FoundSpans`` of each window: log p(start) + log p(end | start), and log p(answerable) where that is
        known, which only tells windows of one question apart; null is its negative logit, which competes with
        nothing."""
        hidden = states[-1]
        starts = self.starts(hidden, batch)
        top = pick_best_starts(starts, batch)
        tokens, row = self.end.of_token(hidden), torch.arange(len(hidden), device=hidden.device)
        # One start at a time: all of them would take BEAM times the memory of the encoder's largest states.
        ends = torch.stack([self.ends(tokens, hidden[row, first], batch) for first in top.unbind(1)], dim=1)
        logits = torch.zeros_like(starts[:, 0])
        if self.answerability is not None:
            logits = self.answerability(hidden, starts)
            starts = starts + F.logsigmoid(logits)[:, None]
        return [
            FoundSpans(*each, -logit, 0.0)
            for each, logit in zip(pick_best_spans(starts, top, ends, batch), logits.tolist(), strict=True)
        ]


class PlainSpans(nn.Module):
    """Two logits for each token, start's and end's, as transformers' classes have it; [CLS] is both for no answer."""

    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body

    def logits(self, states: Sequence[Tensor], batch: ExampleBatch, keys: Keys) -> Float[Tensor, "rows length 2"]:
        """Over all of the text."""
        return self.body(states, batch, keys).float().masked_fill((batch.documents == 0)[:, :, None], NEVER)

    def loss(self, states: Sequence[Tensor], batch: ExampleBatch, keys: Keys) -> Float[Tensor, ""]:
        """Half the cross-entropy of start and end."""
        gold = torch.stack([batch.targets["start"], batch.targets["end"]], dim=1)
        return F.cross_entropy(self.logits(states, batch, keys), gold, reduction="sum") / 2

    @torch.no_grad()
    def answers(self, states: Sequence[Tensor], batch: ExampleBatch) -> list[Any]:
        """``FoundSpans`` of each window: scores are sums of two logits; null, [CLS]'s, competes with the best span."""
        starts, ends = self.logits(states, batch, None).unbind(2)
        top = pick_best_starts(starts, batch)
        found = pick_best_spans(starts, top, ends[:, None].expand(-1, top.shape[1], -1), batch)
        null = (starts[:, 0] + ends[:, 0]).tolist()
        return [
            FoundSpans(*each, none, max(each[2].tolist(), default=-np.inf))
            for each, none in zip(found, null, strict=True)
        ]


def pick_best_starts(starts: Float[Tensor, "rows length"], batch: ExampleBatch) -> Int[Tensor, "rows beam"]:
    """The positions of the best ``BEAM`` starts among a window's own tokens, and others if these are fewer."""
    return starts.masked_fill(~batch.targets["own"], -torch.inf).topk(min(BEAM, starts.shape[1]), dim=1).indices


def pick_best_spans(
    starts: Float[Tensor, "rows length"],
    top: Int[Tensor, "rows beam"],
    ends: Float[Tensor, "rows beam length"],
    batch: ExampleBatch,
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(starts, ends, scores) of the best spans in each row, at most ``KEPT``, best first.

    ``top``: the starts that are tried, each with all ends in the context that leave the answer short enough.
    """
    length = starts.shape[1]
    last = top[:, :, None] + torch.arange(min(LONGEST, length), device=top.device)
    inside = batch.targets["context"].gather(1, last.clamp(max=length - 1).flatten(1)).view_as(last)
    legal = inside & (last < length) & batch.targets["own"].gather(1, top)[:, :, None]
    scores = starts.gather(1, top)[:, :, None] + ends.gather(2, last.clamp(max=length - 1))
    values, at = scores.masked_fill(~legal, -torch.inf).flatten(1).topk(min(KEPT, legal[0].numel()), dim=1)
    columns = (top.gather(1, at // last.shape[2]), last.flatten(1).gather(1, at), values)
    counts = (values > -torch.inf).sum(1).tolist()
    rows = zip(counts, *(column.cpu().numpy() for column in columns), strict=True)
    return [(first[:count], end[:count], score[:count]) for count, first, end, score in rows]
