"""The paired bootstrap: a real difference is told from none, and what both sides share does not blur it."""

import numpy as np
import pytest

from electra.tasks.bootstrap import Interval, bootstrap_difference
from electra.tasks.metrics import accuracy

DRAW = np.random.default_rng(1)
GOLD = DRAW.integers(4, size=600)


def spoil(predictions: np.ndarray, share: float) -> np.ndarray:
    """Predictions of which a share is wrong."""
    return np.where(DRAW.random(len(predictions)) < share, (predictions + 1) % 4, predictions)


def test_a_real_difference_lies_above_zero() -> None:
    ones, others = ([spoil(GOLD, share) for _ in range(5)] for share in (0.2, 0.3))
    interval = bootstrap_difference(accuracy, GOLD, ones, others)
    assert interval.low > 0 and interval.low < interval.mean < interval.high
    assert interval.mean == pytest.approx(0.1, abs=0.03)
    assert bootstrap_difference(accuracy, GOLD, ones, others) == interval, "repeats"


def test_no_difference_holds_zero() -> None:
    ones, others = ([spoil(GOLD, 0.3) for _ in range(5)] for _ in range(2))
    interval = bootstrap_difference(accuracy, GOLD, ones, others)
    assert interval.low < 0 < interval.high


def test_errors_that_both_make_do_not_widen_the_interval() -> None:
    shared = spoil(GOLD, 0.4)
    better = np.where(np.arange(600) < 30, GOLD, shared)
    paired = bootstrap_difference(accuracy, GOLD, [better], [shared])
    apart = bootstrap_difference(accuracy, GOLD, [better], [spoil(GOLD, 0.4)])
    assert paired.high - paired.low < (apart.high - apart.low) / 2
    assert bootstrap_difference(accuracy, GOLD, [shared], [shared]) == Interval(0.0, 0.0, 0.0)
