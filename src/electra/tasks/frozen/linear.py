"""A regularised linear model of frozen features, fitted in float64 by L-BFGS, and how it is judged: numpy and torch."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from electra.tasks.datasets.samples import Kind

STRENGTHS = (1.0, 0.1, 0.01, 0.001)  # of L2 beside the mean loss of a sample, of which the first best is taken

Answers = Float[np.ndarray, "samples outputs"]


def accuracy(gold: Answers, found: Answers) -> float:
    """The share of samples whose class gets the largest output; ``gold`` has a 1 in its place."""
    return float((gold.argmax(1) == found.argmax(1)).mean())


def micro_f1(gold: Answers, found: Answers) -> float:
    """F1 over all labels of all samples; a positive output stands for a label."""
    both = ((gold > 0) & (found > 0)).sum()
    return float(2 * both / max((gold > 0).sum() + (found > 0).sum(), 1))


def spearman(gold: Answers, found: Answers) -> float:
    """Spearman's rank correlation of the first outputs, ties at their mean rank; 0 where one side is constant."""
    x, y = ranks(gold[:, 0]), ranks(found[:, 0])
    return float(np.corrcoef(x, y)[0, 1]) if np.ptp(x) and np.ptp(y) else 0.0


def ranks(values: Float[np.ndarray, " samples"]) -> Float[np.ndarray, " samples"]:
    """Ranks from 1, equal values at their mean rank."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts - 1) / 2)[which]


class Criterion(NamedTuple):
    """How a kind of task is fitted, by the sum of its losses, and judged: a metric's name and its function."""

    loss: Callable[[Tensor, Tensor], Tensor]
    metric: str
    judge: Callable[[Answers, Answers], float]


CRITERIA: dict[Kind, Criterion] = {
    "class": Criterion(lambda found, gold: F.cross_entropy(found, gold, reduction="sum"), "accuracy", accuracy),
    "score": Criterion(lambda found, gold: F.mse_loss(found, gold, reduction="sum") / 2, "spearman", spearman),
    "labels": Criterion(
        lambda found, gold: F.binary_cross_entropy_with_logits(found, gold, reduction="sum"), "micro-f1", micro_f1
    ),
}


class LinearModel(NamedTuple):
    """features · weights + bias, float64."""

    weights: Float[np.ndarray, "width outputs"]
    bias: Float[np.ndarray, " outputs"]

    def __call__(self, features: Float[np.ndarray, "samples width"]) -> Answers:
        return features.astype(np.float64) @ self.weights + self.bias


def fit_linear(
    features: Float[np.ndarray, "samples width"], targets: Answers, way: Criterion, strength: float
) -> LinearModel:
    """argmin of mean loss + strength / 2 · |W|² over the features less their mean, over their deviation; b is free.

    W = C⁻ᵀV, where CCᵀ is the features' correlation + strength · 1: in V the curvature is that of the loss alone, so
    that L-BFGS needs tens of steps.
    """
    with torch.inference_mode(False), torch.enable_grad():
        x, gold = torch.from_numpy(features).double(), torch.from_numpy(targets)
        middle, scale = x.mean(0), x.std(0, correction=0)
        scale = torch.where(scale > 1e-6 * scale.max(), scale, torch.inf)  # a constant is worth nothing
        x = (x - middle) / scale
        unit = torch.eye(x.shape[1], dtype=x.dtype)
        root = torch.linalg.cholesky(x.T @ x / len(x) + strength * unit)
        back = torch.linalg.solve_triangular(root.T, unit, upper=True)
        free = torch.zeros(x.shape[1], gold.shape[1], dtype=x.dtype, requires_grad=True)
        bias = torch.zeros(gold.shape[1], dtype=x.dtype, requires_grad=True)
        search = torch.optim.LBFGS(
            [free, bias], max_iter=200, tolerance_grad=1e-7, tolerance_change=1e-12, line_search_fn="strong_wolfe"
        )

        def loss() -> Tensor:
            search.zero_grad()
            weights = back @ free
            value = way.loss(x @ weights + bias, gold) / len(x) + strength / 2 * weights.square().sum()
            value.backward()
            return value

        search.step(loss)
        weights = (back @ free.detach()) / scale[:, None]
        return LinearModel(weights.numpy(), (bias.detach() - middle @ weights).numpy())


def fit_with_best_strength(
    features: Float[np.ndarray, "samples width"], targets: Answers, held: Bool[np.ndarray, " samples"], way: Criterion
) -> LinearModel:
    """The fit to all samples with the strength of L2 that, fitted to the others, has the least loss on those held."""
    losses = []
    for strength in STRENGTHS:
        found = fit_linear(features[~held], targets[~held], way, strength)(features[held])
        losses.append(float(way.loss(torch.from_numpy(found), torch.from_numpy(targets[held]))))
    return fit_linear(features, targets, way, STRENGTHS[int(np.argmin(losses))])
