"""Metrics by hand, and where they are hardest: one class, ties, constants."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from electra.tasks import metrics
from electra.tasks.metrics import METRICS, compute_metrics

binary = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=40)


@settings(max_examples=200, deadline=None)
@given(binary)
def test_binary_figures_are_their_definitions(pairs: list[tuple[int, int]]) -> None:
    gold, predicted = (np.array(side) for side in zip(*pairs, strict=True))
    both = [int(np.sum((gold == g) & (predicted == f))) for g in (0, 1) for f in (0, 1)]
    tn, fp, fn, tp = both
    bottom = ((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)) ** 0.5
    values = compute_metrics(("accuracy", "f1", "matthews"), gold, predicted)
    assert values["accuracy"] == pytest.approx((tp + tn) / len(gold))
    assert values["f1"] == pytest.approx(2 * tp / (2 * tp + fp + fn) if 2 * tp + fp + fn else 0.0)
    assert values["matthews"] == pytest.approx((tp * tn - fp * fn) / bottom if bottom else 0.0)


def ranks(values: np.ndarray) -> np.ndarray:
    """Mean ranks, ties shared."""
    return np.array([np.mean(np.flatnonzero(np.sort(values) == value)) for value in values])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=2, max_size=30))
def test_correlations_are_their_definitions(pairs: list[tuple[int, int]]) -> None:
    gold, predicted = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
    for name, (x, y) in {"pearson": (gold, predicted), "spearman": (ranks(gold), ranks(predicted))}.items():
        constant = np.ptp(x) == 0 or np.ptp(y) == 0
        assert METRICS[name](gold, predicted) == pytest.approx(0.0 if constant else np.corrcoef(x, y)[0, 1], abs=1e-12)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3), st.lists(st.tuples(*[st.integers(0, 1)] * 6), min_size=1, max_size=20))
def test_micro_f1_and_accuracy_of_labels_are_their_definitions(count: int, rows: list[tuple[int, ...]]) -> None:
    values = np.array(rows)
    gold, predicted = values[:, :count], values[:, 3 : 3 + count]
    both = int((gold * predicted).sum())
    computed = compute_metrics(("accuracy", "micro-f1"), gold, predicted)
    assert computed["accuracy"] == pytest.approx(
        np.mean([list(a) == list(b) for a, b in zip(gold, predicted, strict=True)])
    )
    assert computed["micro-f1"] == pytest.approx(2 * both / max(gold.sum() + predicted.sum(), 1))


scored = st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=1, max_size=60)


@settings(max_examples=200, deadline=None)
@given(scored)
def test_precision_and_recall_are_counted_at_each_threshold(drawn: list[tuple[int, bool]]) -> None:
    scores, labels = np.array([score / 3 for score, _ in drawn]), np.array([label for _, label in drawn])
    labels[0] = True
    precision, recall, thresholds = metrics.precision_recall(labels, scores)
    assert thresholds.tolist() == sorted(set(scores.tolist()))
    for at, threshold in enumerate(thresholds):
        assert precision[at] == pytest.approx(labels[scores >= threshold].mean())
        assert recall[at] == pytest.approx((labels & (scores >= threshold)).sum() / labels.sum())
    assert (precision[-1], recall[-1]) == (1.0, 0.0)
    steps = sum((recall[at] - recall[at + 1]) * precision[at] for at in range(len(thresholds)))
    assert metrics.average_precision(labels, scores) == pytest.approx(steps)


@settings(max_examples=200, deadline=None)
@given(scored)
def test_auc_is_the_share_of_pairs_in_order(drawn: list[tuple[int, bool]]) -> None:
    scores, labels = (
        np.array([0.0, 1.0, *(s for s, _ in drawn)]),
        np.array([True, False, *(label for _, label in drawn)]),
    )
    pairs = [np.sign(good - bad) for good in scores[labels] for bad in scores[~labels]]
    assert metrics.roc_auc(labels, scores) == pytest.approx(np.mean(pairs) / 2 + 0.5)


def test_several_labels_a_sample() -> None:
    gold, predicted = np.array([[1, 0, 1], [0, 1, 0]]), np.array([[1, 0, 0], [0, 1, 0]])
    values = compute_metrics(("accuracy", "micro-f1", "macro-f1"), gold, predicted)
    assert values == pytest.approx({"accuracy": 0.5, "micro-f1": 4 / 5, "macro-f1": 2 / 3})


def test_a_class_that_is_never_found_counts_as_nothing() -> None:
    assert METRICS["macro-f1"](np.array([0, 0, 1, 2]), np.array([0, 0, 0, 0])) == pytest.approx(2 * 2 / (2 * 2 + 2) / 3)


def test_one_label_is_judged_by_its_own_f1() -> None:
    gold, nothing = np.array([[1.0], [0.0], [0.0], [0.0]]), np.zeros((4, 1))
    assert compute_metrics(["micro-f1", "macro-f1"], gold, nothing) == {"micro-f1": 0.0, "macro-f1": 0.0}
    assert compute_metrics(["micro-f1", "macro-f1"], gold, gold) == {"micro-f1": 1.0, "macro-f1": 1.0}
    two = np.concatenate([gold, nothing], 1)
    assert compute_metrics(["micro-f1", "macro-f1"], two, two) == {"micro-f1": 1.0, "macro-f1": 0.5}
