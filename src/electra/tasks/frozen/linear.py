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

STRENGTHS = (1.0, 0.1, 0.01, 1e-3, 1e-4)  # of L2 beside the mean loss of a sample, tried in this order
CHANGE = 1e-6  # of the loss: a fit ends with a step that changes less

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


class PrincipalAxes(NamedTuple):
    """Where samples differ most: (features − mean) / deviation · axes are uncorrelated, with these variances.

    A model's L2 is the same over standardized features as over these coordinates. There are as many as features, or
    as samples where these are fewer.
    """

    mean: Float[Tensor, " width"]
    deviation: Float[Tensor, " width"]
    axes: Float[Tensor, "width coordinates"]
    variances: Float[Tensor, " coordinates"]

    @classmethod
    def of(cls, features: Float[np.ndarray, "samples width"]) -> "PrincipalAxes":
        """The axes of samples, from the eigenvectors of the smaller of their two matrices of products."""
        x = torch.from_numpy(features).double()
        mean, deviation = x.mean(0), x.std(0, correction=0)
        deviation = torch.where(deviation > 1e-6 * deviation.max(), deviation, torch.inf)  # a constant is worth nothing
        x = (x - mean) / deviation
        if len(x) >= x.shape[1]:
            variances, axes = torch.linalg.eigh(x.T @ x / len(x))
            return cls(mean, deviation, axes, variances.clamp_min(0))
        variances, vectors = torch.linalg.eigh(x @ x.T / len(x))
        kept = variances > 1e-12 * variances.max()
        variances, vectors = variances[kept], vectors[:, kept]
        return cls(mean, deviation, x.T @ vectors / (len(x) * variances).sqrt(), variances)

    def project(self, features: Float[np.ndarray, "samples width"]) -> Float[Tensor, "samples coordinates"]:
        """The samples' coordinates."""
        return (torch.from_numpy(features).double() - self.mean) / self.deviation @ self.axes

    def express(self, fit: "Fit") -> LinearModel:
        """A fit to coordinates as a model of the features."""
        weights = self.axes @ fit.weights / self.deviation[:, None]
        return LinearModel(weights.numpy(), (fit.bias - self.mean @ weights).numpy())


class Fit(NamedTuple):
    """A linear model of coordinates."""

    weights: Float[Tensor, "coordinates outputs"]
    bias: Float[Tensor, " outputs"]


def fit_coordinates(
    coordinates: Float[Tensor, "samples coordinates"],
    variances: Float[Tensor, " coordinates"],
    targets: Float[Tensor, "samples outputs"],
    criterion: Criterion,
    strength: float,
    start: Fit | None = None,
    change: float = CHANGE,
) -> Fit:
    """argmin of mean loss + strength / 2 · |W|²; the bias is not regularised. By L-BFGS, from ``start`` on.

    Where outputs are constant, the loss has the curvature σ²_j · v_k at weight w_jk, with σ² the variance of the
    coordinate and v that of the output's targets. So w_jk = u_jk / √(σ²_j · v_k + strength), and L-BFGS fits u: to it
    all coordinates are alike, and rare classes as frequent ones.
    """
    spread = targets.var(0, correction=0).clamp_min(1 / len(targets) ** 2)  # of a class that does not occur
    scale, bias_scale = (variances[:, None] * spread + strength).rsqrt(), spread.rsqrt()
    begin = start or Fit(torch.zeros_like(scale), torch.zeros_like(bias_scale))
    u, c = ((part / by).requires_grad_() for part, by in zip(begin, (scale, bias_scale), strict=True))
    optimizer = torch.optim.LBFGS(
        [u, c], max_iter=200, tolerance_grad=1e-7, tolerance_change=change, line_search_fn="strong_wolfe"
    )

    def compute_loss() -> Tensor:
        optimizer.zero_grad()
        weights = u * scale
        outputs = coordinates @ weights + c * bias_scale
        loss = criterion.loss(outputs, targets) / len(targets) + strength / 2 * weights.square().sum()
        loss.backward()
        return loss

    optimizer.step(compute_loss)
    return Fit(u.detach() * scale, c.detach() * bias_scale)


@torch.inference_mode(False)
@torch.enable_grad()
def fit_with_best_strength(
    features: Float[np.ndarray, "samples width"],
    targets: Outputs,
    held_out: Bool[np.ndarray, " samples"],
    criterion: Criterion,
) -> LinearModel:
    """A fit to all samples, with the strength of L2 whose fit to the others has the least loss on those held out.

    ``STRENGTHS`` are tried in their order, each beginning with the fit before, until that loss rises.
    """
    axes, gold, held = PrincipalAxes.of(features), torch.from_numpy(targets), torch.from_numpy(held_out)
    coordinates = axes.project(features)
    best, strength, least = None, STRENGTHS[0], np.inf
    for weaker in STRENGTHS:
        fit = fit_coordinates(coordinates[~held], axes.variances, gold[~held], criterion, weaker, best)
        loss = float(criterion.loss(coordinates[held] @ fit.weights + fit.bias, gold[held]))
        if loss >= least:
            break
        best, strength, least = fit, weaker, loss
    return axes.express(fit_coordinates(coordinates, axes.variances, gold, criterion, strength, best))
