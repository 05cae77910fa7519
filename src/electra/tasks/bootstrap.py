"""Whether one model is better than another on the same texts: a paired bootstrap."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from electra.tasks.metrics import Values

RESAMPLINGS = 200


@dataclass(frozen=True)
class Interval:
    """A mean difference, and the middle 95 % of what it is when texts and trainings are drawn anew."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.3f} (95 %: {self.low:+.3f} to {self.high:+.3f})"


def bootstrap_difference(
    metric: Callable[[Values, Values], float],
    gold: Values,
    ones: Sequence[Values],
    others: Sequence[Values],
    seed: int = 0,
) -> Interval:
    """How much better the predictions ``ones`` are than ``others``, by the metric.

    Both have the predictions of one training after another for the samples of ``gold``; those of one place belong
    together. Each resampling draws trainings and samples with replacement, the same for both sides.
    """
    draw = np.random.default_rng(seed)

    def measure(trainings: np.ndarray, samples: np.ndarray) -> float:
        differences = [
            metric(gold[samples], ones[training][samples]) - metric(gold[samples], others[training][samples])
            for training in trainings
        ]
        return float(np.mean(differences))

    mean = measure(np.arange(len(ones)), np.arange(len(gold)))
    resampled = [
        measure(draw.integers(len(ones), size=len(ones)), draw.integers(len(gold), size=len(gold)))
        for _ in range(RESAMPLINGS)
    ]
    low, high = np.quantile(resampled, (0.025, 0.975)).tolist()
    return Interval(mean, low, high)
