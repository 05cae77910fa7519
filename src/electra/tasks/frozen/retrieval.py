"""Replaced tokens as what is looked for: how many are found, and how much of what is found is one of them."""

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float

from electra.dataset.batches import Rows
from electra.engine.parallel import Precision, autocast
from electra.errors import UserError
from electra.objectives.pretrainer import Pretrainer, derive_row_keys
from electra.objectives.terms import Detection
from electra.objectives.view import ENCODER, read_view
from electra.tasks.frozen.held_out import SEED, split_into_runs
from electra.tasks.metrics import average_precision, precision_recall


@dataclass(frozen=True)
class Retrieval:
    """The curve of a detector over its rising thresholds: what is at or above one is taken for replaced.

    ``precision`` and ``recall`` have a last point, (1, 0), that belongs to no threshold. ``average``: the average
    precision, Σ (Rₙ − Rₙ₋₁) Pₙ. ``chance``: the share that was replaced, which is what guessing comes to.
    """

    precision: Float[np.ndarray, " points"]
    recall: Float[np.ndarray, " points"]
    thresholds: Float[np.ndarray, " points-1"]
    average: float
    chance: float

    def recall_at(self, precision: float) -> float:
        """The most that is found where at least so much of it is right; 0 where that is never so."""
        return float(self.recall[self.precision >= precision].max(initial=0.0))

    def figures(self) -> dict[str, float]:
        """What is said of it in a line."""
        return {
            "average_precision": self.average,
            "chance": self.chance,
            "recall_at_precision_0.5": self.recall_at(0.5),
            "recall_at_precision_0.9": self.recall_at(0.9),
        }


def measure_retrieval(
    pretrainer: Pretrainer,
    rows: Rows,
    count: int,
    batch_rows: int,
    device: torch.device,
    precision: Precision = "float32",
) -> Retrieval:
    """The curve on the rows, masks and samples that ``held_out`` reads, of the positions that its figures count.

    Raises:
        UserError: a model that does not detect, or no replaced token in the rows.
    """
    scores, labels = score_tokens(pretrainer, rows, count, batch_rows, device, precision)
    if not labels.any():
        raise UserError(f"no token was replaced in {count:,} rows: nothing to find")
    return compute_retrieval(scores, labels)


@torch.no_grad()
def score_tokens(
    pretrainer: Pretrainer,
    rows: Rows,
    count: int,
    batch_rows: int,
    device: torch.device,
    precision: Precision = "float32",
) -> tuple[Float[np.ndarray, " tokens"], Bool[np.ndarray, " tokens"]]:
    """Of each counted position the detector's logit, float32, and whether it was replaced. See
    ``measure_retrieval``."""
    term = next((term for term in pretrainer.terms.values() if isinstance(term, Detection)), None)
    if term is None:
        raise UserError("a masked language model: it detects nothing")
    pretrainer.to(device)
    scores, labels = [], []
    for part in split_into_runs(list(itertools.islice(rows.epoch_refs(0), count)), batch_rows):
        batch = rows.batch(part).to(device)
        with autocast(precision, device):
            view, _ = pretrainer.corrupt(batch, derive_row_keys(SEED, batch), False)
            logits = term.logits(pretrainer.encoder, read_view(pretrainer.encoder, view, ENCODER), view)
        counted = term.counted(view) > 0
        scores.append(logits[counted].nan_to_num().cpu().numpy())
        labels.append((term.labels(view) > 0)[counted].cpu().numpy())
    return np.concatenate(scores), np.concatenate(labels)


def compute_retrieval(scores: Float[np.ndarray, " tokens"], labels: Bool[np.ndarray, " tokens"]) -> Retrieval:
    """The curve of scores; equal ones are found together. At least one label is true."""
    precision, recall, thresholds = precision_recall(labels, scores)
    return Retrieval(precision, recall, thresholds, average_precision(labels, scores), float(labels.mean()))
