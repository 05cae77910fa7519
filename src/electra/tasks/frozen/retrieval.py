"""Replaced tokens as what a detector is to find: how many of them it finds, and how much of what it finds is right."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from electra.dataset.rows import Rows
from electra.engine.parallel import Precision, autocast
from electra.errors import UserError
from electra.objectives.pretrainer import Pretrainer, derive_row_keys
from electra.objectives.terms import Detection
from electra.objectives.view import ENCODER, View, read_view
from electra.tasks.frozen.held_out import SEED, read_batches
from electra.tasks.metrics import average_precision, precision_recall


@dataclass(frozen=True)
class Retrieval:
    """A detector's precision and recall over rising thresholds: scores at or above one are taken for replaced tokens.

    ``precision`` and ``recall`` have a last point, (1, 0), that belongs to no threshold. ``average``: the average
    precision, Σ (Rₙ − Rₙ₋₁) Pₙ. ``chance``: the share of tokens that were replaced, which is guessing's precision.
    """

    precision: Float[np.ndarray, " points"]
    recall: Float[np.ndarray, " points"]
    thresholds: Float[np.ndarray, " points-1"]
    average: float
    chance: float

    def recall_at(self, precision: float) -> float:
        """The highest recall at a threshold with at least this precision; 0 if there is none."""
        return float(self.recall[self.precision >= precision].max(initial=0.0))

    def figures(self) -> dict[str, float]:
        """Average precision, chance, and the recall at two precisions, by name."""
        return {
            "average_precision": self.average,
            "chance": self.chance,
            "recall_at_precision_0.5": self.recall_at(0.5),
            "recall_at_precision_0.9": self.recall_at(0.9),
        }


class JudgedBatch(NamedTuple):
    """What a detector says of a batch: its ``logits``, which tokens it was asked about, and which were replaced."""

    view: View
    logits: Float[Tensor, "rows length"]
    counted: Bool[Tensor, "rows length"]
    replaced: Bool[Tensor, "rows length"]


@torch.no_grad()
def judge_batches(
    pretrainer: Pretrainer,
    rows: Rows,
    count: int,
    batch_rows: int,
    device: torch.device,
    precision: Precision = "float32",
) -> Iterator[JudgedBatch]:
    """Corrupt the first ``count`` rows as ``evaluate_held_out`` does, and have the detector judge them.

    Raises:
        UserError: a model that does not detect.
    """
    term = next((term for term in pretrainer.terms.values() if isinstance(term, Detection)), None)
    if term is None:
        raise UserError("a masked language model: it detects nothing")
    pretrainer.to(device)
    for batch in read_batches(rows, count, batch_rows, device):
        with autocast(precision, device):
            view, _ = pretrainer.corrupt(batch, derive_row_keys(SEED, batch), False)
            logits = term.logits(pretrainer.encoder, read_view(pretrainer.encoder, view, ENCODER), view)
        yield JudgedBatch(view, logits, term.counted(view) > 0, term.labels(view) > 0)


def score_tokens(batches: Iterable[JudgedBatch]) -> tuple[Float[np.ndarray, " tokens"], Bool[np.ndarray, " tokens"]]:
    """The detector's logit of each token that was counted, float32, and whether the token was replaced.

    Raises:
        UserError: no token was replaced; or as ``judge_batches``.
    """
    scores, labels = [], []
    for judged in batches:
        scores.append(judged.logits[judged.counted].nan_to_num().cpu().numpy())
        labels.append(judged.replaced[judged.counted].cpu().numpy())
    if not any(part.any() for part in labels):
        raise UserError("no token was replaced in the rows that were read: nothing to find")
    return np.concatenate(scores), np.concatenate(labels)


def compute_retrieval(scores: Float[np.ndarray, " tokens"], labels: Bool[np.ndarray, " tokens"]) -> Retrieval:
    """Precision and recall at every threshold, average precision, and the share of true labels.

    Equal scores are one threshold. At least one label must be true.
    """
    precision, recall, thresholds = precision_recall(labels, scores)
    return Retrieval(precision, recall, thresholds, average_precision(labels, scores), float(labels.mean()))
