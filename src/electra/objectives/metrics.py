"""Figures of a detector, from statistics that add up over micro-batches and processes.

The statistics are float [4 + 2 · BINS]: summed loss, positions, positions predicted as replaced, how many of these are;
then a histogram of the logits of replaced positions, and one of the others.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

BINS = 512
REACH = 16.0  # logits beyond ± this are in the outermost bins


def detection_statistics(
    losses: Float[Tensor, "rows length"],
    logits: Float[Tensor, "rows length"],
    labels: Float[Tensor, "rows length"],
    counted: Float[Tensor, "rows length"],
) -> Float[Tensor, " statistics"]:
    """The statistics of the positions where ``counted`` is 1; ``labels`` 1 = replaced, ``losses`` in nats."""
    predicted = (logits > 0).float() * counted
    sums = [(losses * counted).sum(), counted.sum(), predicted.sum(), (predicted * labels).sum()]
    bins = ((logits.nan_to_num().clamp(-REACH, REACH) + REACH) * ((BINS - 1) / (2 * REACH))).round().long()
    index = (bins + BINS * (1 - labels).long()).flatten()
    histograms = torch.zeros(2 * BINS, device=logits.device).scatter_add(0, index, counted.flatten())
    return torch.cat([torch.stack(sums), histograms])


def detection_figures(statistics: Float[Tensor, " statistics"]) -> dict[str, float]:
    """loss (nats), replaced_rate, skill, auc, precision, recall; NaN for a figure that is not defined.

    Skill is 1 − loss / H(replaced_rate): 0 for a detector that knows only the rate, 1 for a perfect one.
    """
    loss, count, predicted, right = statistics[:4].tolist()
    replaced, others = statistics[4:].double().cpu().view(2, BINS)
    positives = float(replaced.sum())
    rate, mean = ratio(positives, count), ratio(loss, count)
    return {
        "loss": mean,
        "replaced_rate": rate,
        "skill": 1 - ratio(mean, binary_entropy(rate)),
        "auc": histogram_auc(replaced, others),
        "precision": ratio(right, predicted),
        "recall": ratio(right, positives),
    }


def histogram_auc(replaced: Float[Tensor, " bins"], others: Float[Tensor, " bins"]) -> float:
    """P(a replaced position scores above another one), ties counting half, from histograms over rising scores."""
    below = others.cumsum(0) - others
    return ratio(float((replaced * (below + others / 2)).sum()), float(replaced.sum() * others.sum()))


def binary_entropy(rate: float) -> float:
    """H(rate) in nats: the loss of a detector that always answers with the rate."""
    return -sum(p * math.log(p) for p in (rate, 1 - rate) if p > 0)


def ratio(part: float, whole: float) -> float:
    """part / whole; NaN if the whole is 0."""
    return part / whole if whole else math.nan
