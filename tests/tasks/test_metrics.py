"""Metrics by hand, and where they are hardest: one class, ties, constants."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from electra.tasks.metrics import METRICS, compute_metrics

binary = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=40)


@settings(max_examples=200, deadline=None)
@given(binary)
def test_binary_figures_are_their_definitions(pairs: list[tuple[int, int]]) -> None:
    gold, found = (np.array(side) for side in zip(*pairs, strict=True))
    both = [int(np.sum((gold == g) & (found == f))) for g in (0, 1) for f in (0, 1)]
    tn, fp, fn, tp = both
    bottom = ((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)) ** 0.5
    said = compute_metrics(("accuracy", "f1", "matthews"), gold, found)
    assert said["accuracy"] == pytest.approx((tp + tn) / len(gold))
    assert said["f1"] == pytest.approx(2 * tp / (2 * tp + fp + fn) if 2 * tp + fp + fn else 0.0)
    assert said["matthews"] == pytest.approx((tp * tn - fp * fn) / bottom if bottom else 0.0)


def ranks(values: np.ndarray) -> np.ndarray:
    """Mean ranks, ties shared."""
    return np.array([np.mean(np.flatnonzero(np.sort(values) == value)) for value in values])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=2, max_size=30))
def test_correlations_are_their_definitions(pairs: list[tuple[int, int]]) -> None:
    gold, found = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
    for name, (x, y) in {"pearson": (gold, found), "spearman": (ranks(gold), ranks(found))}.items():
        constant = np.ptp(x) == 0 or np.ptp(y) == 0
        assert METRICS[name](gold, found) == pytest.approx(0.0 if constant else np.corrcoef(x, y)[0, 1], abs=1e-12)


def test_several_labels_a_sample() -> None:
    gold, found = np.array([[1, 0, 1], [0, 1, 0]]), np.array([[1, 0, 0], [0, 1, 0]])
    said = compute_metrics(("accuracy", "micro-f1", "macro-f1"), gold, found)
    assert said == pytest.approx({"accuracy": 0.5, "micro-f1": 4 / 5, "macro-f1": 2 / 3})


def test_a_class_that_is_never_found_counts_as_nothing() -> None:
    assert METRICS["macro-f1"](np.array([0, 0, 1, 2]), np.array([0, 0, 0, 0])) == pytest.approx(2 * 2 / (2 * 2 + 2) / 3)
