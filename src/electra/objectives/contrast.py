"""Sequence contrast: a row and a crop of it should be closer to each other than to other rows (COCO-LM, section 3.2).

It depends on the whole micro-batch: the rows that it is compared with are those that go through the model together, so
another number of micro-batches or processes gives another loss. All other terms add up.
"""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from electra import flops
from electra.kernels.random import fold, uniform
from electra.model.config import EncoderConfig
from electra.model.encoder import Tower
from electra.objectives.metrics import ratio
from electra.objectives.terms import Result, Term
from electra.objectives.view import CROP, CROPPED, View, read

KEPT = 0.9  # of a text's tokens are in its crop (COCO-LM, appendix)


class SequenceContrast(Term):
    """−log(exp(cos(s, s⁺) / τ) / Σ exp(cos(s, ·) / τ)) over all rows and crops of the micro-batch but s itself, where s
    is the state of a row's first token, [CLS], and s⁺ that of the crop; and the same with the two exchanged.

    The crop is of the row's first text: a stretch of it, at random; the rest is padding to it.
    """

    def __init__(self, weight: float = 1.0, temperature: float = 1.0):
        super().__init__(weight, "rows")
        self.temperature = temperature

    def forward(self, tower: Tower, hidden: Float[Tensor, "rows length dim"], view: View) -> Result:
        documents = torch.where(crop(view), view.batch.documents, 0)
        cropped = read(tower, replace(view, batch=replace(view.batch, documents=documents)), CROPPED)
        both = F.normalize(torch.cat([hidden[:, 0], cropped[:, 0]]).float(), dim=1)
        rows = len(hidden)
        others = torch.eye(2 * rows, dtype=torch.bool, device=both.device)
        scores = (both @ both.T / self.temperature).masked_fill(others, float("-inf"))
        partner = torch.arange(2 * rows, device=both.device).roll(rows)
        losses = F.cross_entropy(scores, partner, reduction="sum") / 2
        right = (scores.argmax(1) == partner).sum() / 2
        return Result(losses, torch.stack([losses.detach(), right, torch.full_like(right, rows)]))

    def figures(self, statistics: Float[Tensor, " 3"]) -> dict[str, float]:
        """loss (nats), and how often a row's crop is the nearest of all."""
        loss, right, rows = statistics.tolist()
        return {"loss": ratio(loss, rows), "accuracy": ratio(right, rows)}

    def flops(self, config: EncoderConfig, length: int, slots: int) -> int:
        """See ``Term``: the encoder reads everything once more."""
        return flops.encoder(config, length)


def crop(view: View) -> Bool[Tensor, "rows length"]:
    """Which tokens are seen: the row's first one, and of its text a stretch of ``KEPT`` of the others."""
    documents = view.batch.documents
    first = (documents == documents[:, :1]) & (documents > 0)
    inner = first.sum(1, keepdim=True) - 1
    kept = (inner * KEPT).ceil().long()
    number = uniform(fold(view.keys, CROP), 1)
    start = (number * (inner - kept + 1)).long() + 1
    at = torch.arange(documents.shape[1], device=documents.device)
    return first & ((at == 0) | ((at >= start) & (at < start + kept)))
