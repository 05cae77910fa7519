"""Sequence contrast: a row and a crop of it should be closer to each other than to other rows (COCO-LM, section 3.2).

The loss depends on the whole micro-batch: a row is compared with the rows that go through the model with it, so another
number of micro-batches or processes gives another loss. The losses of all other terms add up.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from electra import flops
from electra.kernels.random import fold, uniform
from electra.model.config import EncoderConfig
from electra.model.encoder import Tower
from electra.objectives.metrics import ratio
from electra.objectives.terms import Term, TermResult
from electra.objectives.view import CROP, CROPPED, View

CROP_SHARE = 0.9  # the part of a text's tokens that is in its crop (COCO-LM, appendix)


class SequenceContrast(Term):
    """−log(exp(cos(s, s⁺) / τ) / Σ exp(cos(s, ·) / τ)) over all rows and crops of the micro-batch except s itself,
    where s is the state of a row's first token, [CLS], and s⁺ that of its crop; and the same with s and s⁺ exchanged.

    The crop is of the row's first text before the corruption (``crop_rows``).
    """

    def __init__(self, weight: float = 1.0, temperature: float = 1.0):
        super().__init__(weight, "rows")
        self.temperature = temperature

    def forward(self, tower: Tower, hidden: Float[Tensor, "rows length dim"], view: View) -> TermResult:
        cropped = tower.hidden(*crop_rows(view), view.dropout_keys(tower.config, tower.embeddings, CROPPED))
        both = F.normalize(torch.cat([hidden[:, 0], cropped[:, 0]]).float(), dim=1)
        rows = len(hidden)
        itself = torch.eye(2 * rows, dtype=torch.bool, device=both.device)
        scores = (both @ both.T / self.temperature).masked_fill(itself, float("-inf"))
        partner = torch.arange(2 * rows, device=both.device).roll(rows)
        losses = F.cross_entropy(scores, partner, reduction="sum") / 2
        right = (scores.argmax(1) == partner).sum() / 2
        return TermResult(losses, torch.stack([losses.detach(), right, torch.full_like(right, rows)]))

    def figures(self, statistics: Float[Tensor, " 3"]) -> dict[str, float]:
        """loss (nats), and accuracy: how often the nearest of all is the row's crop, or the crop's row."""
        loss, right, rows = statistics.tolist()
        return {"loss": ratio(loss, rows), "accuracy": ratio(right, rows)}

    def flops(self, config: EncoderConfig, length: int, slots: int) -> int:
        """Another forward pass of the encoder, which reads the crops."""
        return flops.encoder_flops(config, length)


class Cropped(NamedTuple):
    """What the encoder reads of crops; ``documents``: 1 is the crop, 0 the padding after it."""

    ids: Int[Tensor, "rows length"]
    positions: Int[Tensor, "rows length"]
    segments: Int[Tensor, "rows length"]
    documents: Int[Tensor, "rows length"]


def crop_rows(view: View) -> Cropped:
    """For each row a text: the first token, and after it a random stretch, not corrupted, of ``CROP_SHARE`` of the
    other tokens of the row's first text. Its positions count from 0, as in any text."""
    batch = view.batch
    documents = batch.documents
    inner = ((documents == documents[:, :1]) & (documents > 0)).sum(1, keepdim=True) - 1
    kept = (inner * CROP_SHARE).ceil().long()
    start = (uniform(fold(view.keys, CROP), 1) * (inner - kept + 1)).long() + 1
    positions = torch.arange(documents.shape[1], device=documents.device).expand_as(documents)
    in_crop = ((positions <= kept) & (documents[:, :1] > 0)).long()
    source = (positions + (start - 1) * (positions > 0)).clamp(max=documents.shape[1] - 1)
    return Cropped(view.original.gather(1, source), positions * in_crop, batch.segments.gather(1, source), in_crop)
