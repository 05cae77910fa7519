"""Heads that point at an answer's first and last token in a window of its context, and the spans that they find."""

from collections.abc import Sequence
from dataclasses import dataclass

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
from electra.tasks.finetuning.windows import LONGEST_ANSWER

BEAM = 20  # starts of which ends are looked for [this and what follows: original code]
KEPT = 60  # spans of a window: three times the texts of a question, for some have the same
INNER = 512  # width of the layer that joins two states
ANSWERABILITY_WEIGHT = 0.5  # of its loss
NEVER = -1e9  # logit of what is not context


@dataclass(frozen=True, eq=False)
class Window:
    """The part of a context that an example holds.

    ``first``: position of its first token. ``offsets``: the characters [from, to) of each token in the context.
    ``own``: positions [from, to) of the tokens that no other window has more context around. ``start``, ``end``:
    positions of the answer's first and last token; 0 if the window holds no whole answer.
    """

    first: int
    offsets: Int[np.ndarray, "tokens 2"]
    own: tuple[int, int]
    start: int = 0
    end: int = 0


@dataclass(frozen=True, eq=False)
class FoundSpans:
    """The spans that a head finds in a window: positions of first and last token, and scores, the best first.

    ``null``: the score of there being no answer; ``rival``: the score that it competes with.
    """

    starts: Int[np.ndarray, " spans"]
    ends: Int[np.ndarray, " spans"]
    scores: Float[np.ndarray, " spans"]
    null: float
    rival: float

    def locate(self, window: Window) -> list[tuple[float, int, int]]:
        """(score, start, end) of each span, in characters of the context."""
        start = window.offsets[self.starts - window.first, 0]
        end = window.offsets[self.ends - window.first, 1]
        return list(zip(self.scores.tolist(), start.tolist(), end.tolist(), strict=True))


def stack_targets(windows: Sequence[Window], length: int) -> dict[str, Tensor]:
    """What the heads read of windows, by name.

    start, end: int64 [rows], as in ``Window``. answerable: float32 [rows]. context, own: bool [rows, length], whether
    a position is of the context, and of the window's own tokens.
    """
    start, end, first, tokens, own, after = torch.tensor(
        [(window.start, window.end, window.first, len(window.offsets), *window.own) for window in windows]
    ).T[:, :, None]
    position = torch.arange(length)
    return {
        "start": start[:, 0], "end": end[:, 0], "answerable": (start[:, 0] > 0).float(),
        "context": (position >= first) & (position < first + tokens),
        "own": (position >= own) & (position < after),
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
        """The logits of all tokens. ``tokens``: U h_token of each; ``start``: h_start of each row."""
        return linear_float32(self.out, F.gelu(tokens + self.of_start(start)[:, None]))[:, :, 0]


class Answerability(nn.Module):
    """The logit that a window holds an answer: w · gelu(W [h_CLS; Σ p_start(j) h_j] + b)."""

    def __init__(self, width: int):
        super().__init__()
        self.dense, self.out = build_linear(2 * width, INNER), build_linear(INNER, 1)

    def forward(self, states: States, start: Float[Tensor, "rows length"]) -> Float[Tensor, " rows"]:
        """The logit of each window. ``start``: log p_start(j)."""
        mean = (start.exp().to(states.dtype)[:, None] @ states)[:, 0]
        return linear_float32(self.out, F.gelu(self.dense(torch.cat([states[:, 0], mean], dim=1))))[:, 0]


class ConditionedSpans(nn.Module):
    """The paper's head, as in the original code: an end is looked for given its start, the gold one in training."""

    def __init__(self, width: int, rate: float, answerability: Answerability | None):
        super().__init__()
        self.rate = rate
        self.start, self.end, self.answerability = build_linear(width, 1), EndPointer(width), answerability

    def starts(self, states: States, batch: ExampleBatch) -> Float[Tensor, "rows length"]:
        """The log-probability of each token of the context to be the start."""
        logits = linear_float32(self.start, states)[:, :, 0]
        return logits.masked_fill(~batch.targets["context"], NEVER).log_softmax(1)

    def ends(self, tokens: Tensor, start: Tensor, batch: ExampleBatch) -> Float[Tensor, "rows length"]:
        """The log-probability of each token of the context to be the end of an answer that begins at a given start.

        ``tokens``: what ``EndPointer.of_token`` makes of the states; ``start``: the state of each row's start.
        """
        return self.end(tokens, start).masked_fill(~batch.targets["context"], NEVER).log_softmax(1)

    def loss(self, states: Sequence[Tensor], batch: ExampleBatch, keys: Keys) -> Float[Tensor, ""]:
        """Half the cross-entropy of start and end of each answer, and ``ANSWERABILITY_WEIGHT`` times that of whether
        there is one."""
        hidden = dropout(states[-1], keys, SITE, self.rate)
        first, last, answerable = (batch.targets[name] for name in ("start", "end", "answerable"))
        starts = self.starts(hidden, batch)
        row = torch.arange(len(hidden), device=hidden.device)
        ends = self.ends(self.end.of_token(hidden), hidden[row, first], batch)
        total = -(answerable * (starts[row, first] + ends[row, last])).sum() / 2
        if self.answerability is not None:
            logits = self.answerability(hidden, starts)
            total = total + ANSWERABILITY_WEIGHT * F.binary_cross_entropy_with_logits(
                logits, answerable, reduction="sum"
            )
        return total

    @torch.no_grad()
    def answers(self, states: Sequence[Tensor], batch: ExampleBatch) -> list[FoundSpans]:
        """The spans of each window, scored by log p(start) + log p(end | start).

        Where answerability is learned, log p(answerable) is added, which only tells windows of one question apart;
        ``null`` is then its negative logit, which competes with nothing.
        """
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
        spans = pick_best_spans(starts, top, ends, batch)
        return [FoundSpans(*columns, -logit, 0.0) for columns, logit in zip(spans, logits.tolist(), strict=True)]


class PlainSpans(nn.Module):
    """Two logits for each token, start's and end's, as transformers' classes have it; [CLS] is both for no answer."""

    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body

    def logits(self, states: Sequence[Tensor], batch: ExampleBatch, keys: Keys) -> Float[Tensor, "rows length 2"]:
        """The logits of start and end; those of padding are ``NEVER``."""
        return self.body(states, batch, keys).float().masked_fill((batch.documents == 0)[:, :, None], NEVER)

    def loss(self, states: Sequence[Tensor], batch: ExampleBatch, keys: Keys) -> Float[Tensor, ""]:
        """Half the cross-entropy of start and end."""
        gold = torch.stack([batch.targets["start"], batch.targets["end"]], dim=1)
        return F.cross_entropy(self.logits(states, batch, keys), gold, reduction="sum") / 2

    @torch.no_grad()
    def answers(self, states: Sequence[Tensor], batch: ExampleBatch) -> list[FoundSpans]:
        """The spans of each window, scored by the sum of two logits; ``null`` is [CLS]'s, ``rival`` the best span's."""
        starts, ends = self.logits(states, batch, None).unbind(2)
        top = pick_best_starts(starts, batch)
        spans = pick_best_spans(starts, top, ends[:, None].expand(-1, top.shape[1], -1), batch)
        nulls = (starts[:, 0] + ends[:, 0]).tolist()
        return [
            FoundSpans(first, last, scores, null, max(scores.tolist(), default=-np.inf))
            for (first, last, scores), null in zip(spans, nulls, strict=True)
        ]


def pick_best_starts(starts: Float[Tensor, "rows length"], batch: ExampleBatch) -> Int[Tensor, "rows beam"]:
    """The positions of the best ``BEAM`` starts of each window: its own tokens first, others if these are fewer."""
    return starts.masked_fill(~batch.targets["own"], -torch.inf).topk(min(BEAM, starts.shape[1]), dim=1).indices


def pick_best_spans(
    starts: Float[Tensor, "rows length"],
    top: Int[Tensor, "rows beam"],
    ends: Float[Tensor, "rows beam length"],
    batch: ExampleBatch,
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(starts, ends, scores) of the best spans of each row, ``KEPT`` at most, the best first.

    ``top``: the starts to try, each with all ends in the context that make an answer of ``LONGEST_ANSWER`` at most.
    """
    length = starts.shape[1]
    last = top[:, :, None] + torch.arange(min(LONGEST_ANSWER, length), device=top.device)
    inside = batch.targets["context"].gather(1, last.clamp(max=length - 1).flatten(1)).view_as(last)
    legal = inside & (last < length) & batch.targets["own"].gather(1, top)[:, :, None]
    scores = starts.gather(1, top)[:, :, None] + ends.gather(2, last.clamp(max=length - 1))
    best, index = scores.masked_fill(~legal, -torch.inf).flatten(1).topk(min(KEPT, legal[0].numel()), dim=1)
    columns = (top.gather(1, index // last.shape[2]), last.flatten(1).gather(1, index), best)
    counts = (best > -torch.inf).sum(1).tolist()
    rows = zip(counts, *(column.cpu().numpy() for column in columns), strict=True)
    return [(first[:count], end[:count], score[:count]) for count, first, end, score in rows]
