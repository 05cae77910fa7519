"""A regularised linear model of frozen features, fitted in float64 by L-BFGS, and how it is judged."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from electra.tasks.datasets.samples import Kind
from electra.tasks.metrics import METRICS, Values

STRENGTHS = (1.0, 0.1, 0.01, 0.001)  # of L2 beside the mean loss of a sample, of which the first best is taken

Outputs = Float[np.ndarray, "samples outputs"]


class Criterion(NamedTuple):
    """How a kind of task is fitted and judged.

    ``loss``: (outputs, targets) → the sum of the samples' losses. ``metric``: a name in ``METRICS``. ``decide``:
    outputs or targets → what the metric compares.
    """

    loss: Callable[[Tensor, Tensor], Tensor]
    metric: str
    decide: Callable[[Outputs], Values]

    def judge(self, gold: Outputs, outputs: Outputs) -> float:
        """The metric of a model's outputs."""
        return METRICS[self.metric](self.decide(gold), self.decide(outputs))


CRITERIA: dict[Kind, Criterion] = {
    "class": Criterion(
        lambda outputs, targets: F.cross_entropy(outputs, targets, reduction="sum"),
        "accuracy",
        lambda outputs: outputs.argmax(1),
    ),
    "score": Criterion(
        lambda outputs, targets: F.mse_loss(outputs, targets, reduction="sum") / 2,
        "spearman",
        lambda outputs: outputs[:, 0],
    ),
    "labels": Criterion(
        lambda outputs, targets: F.binary_cross_entropy_with_logits(outputs, targets, reduction="sum"),
        "micro-f1",
        lambda outputs: (outputs > 0).astype(np.int64),
    ),
}


class LinearModel(NamedTuple):
    """features · weights + bias, float64."""

    weights: Float[np.ndarray, "width outputs"]
    bias: Float[np.ndarray, " outputs"]

    def __call__(self, features: Float[np.ndarray, "samples width"]) -> Outputs:
        return features.astype(np.float64) @ self.weights + self.bias


def fit_linear(
    features: Float[np.ndarray, "samples width"], targets: Outputs, criterion: Criterion, strength: float
) -> LinearModel:
    """argmin of mean loss + strength / 2 · |W|² over standardized features; the bias is not regularised.

    W = C⁻ᵀV, where CCᵀ is the features' correlation + strength · 1: in V the curvature is that of the loss alone, so
    that L-BFGS needs tens of steps.
    """
    with torch.inference_mode(False), torch.enable_grad():
        x, gold = torch.from_numpy(features).double(), torch.from_numpy(targets)
        mean, deviation = x.mean(0), x.std(0, correction=0)
        deviation = torch.where(deviation > 1e-6 * deviation.max(), deviation, torch.inf)  # a constant is worth nothing
        x = (x - mean) / deviation
        identity = torch.eye(x.shape[1], dtype=x.dtype)
        root = torch.linalg.cholesky(x.T @ x / len(x) + strength * identity)
        inverse = torch.linalg.solve_triangular(root.T, identity, upper=True)
        v = torch.zeros(x.shape[1], gold.shape[1], dtype=x.dtype, requires_grad=True)
        bias = torch.zeros(gold.shape[1], dtype=x.dtype, requires_grad=True)
        optimizer = torch.optim.LBFGS(
            [v, bias], max_iter=200, tolerance_grad=1e-7, tolerance_change=1e-12, line_search_fn="strong_wolfe"
        )

        def compute_loss() -> Tensor:
            optimizer.zero_grad()
            weights = inverse @ v
            loss = criterion.loss(x @ weights + bias, gold) / len(x) + strength / 2 * weights.square().sum()
            loss.backward()
            return loss

        optimizer.step(compute_loss)
        weights = (inverse @ v.detach()) / deviation[:, None]
        return LinearModel(weights.numpy(), (bias.detach() - mean @ weights).numpy())


def fit_with_best_strength(
    features: Float[np.ndarray, "samples width"],
    targets: Outputs,
    held_out: Bool[np.ndarray, " samples"],
    criterion: Criterion,
) -> LinearModel:
    """A fit to all samples, with the strength of L2 whose fit to the others has the least loss on those held out."""
    losses = []
    for strength in STRENGTHS:
        model = fit_linear(features[~held_out], targets[~held_out], criterion, strength)
        outputs = torch.from_numpy(model(features[held_out]))
        losses.append(float(criterion.loss(outputs, torch.from_numpy(targets[held_out]))))
    return fit_linear(features, targets, criterion, STRENGTHS[int(np.argmin(losses))])
