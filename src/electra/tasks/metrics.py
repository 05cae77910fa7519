"""Metrics of predictions: ``gold`` is what is right, ``predicted`` what a model says.

scikit-learn and scipy are imported where they are used: training needs neither.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Num, Shaped

Values = Num[np.ndarray, "samples"] | Num[np.ndarray, "samples labels"]
Labels = Shaped[np.ndarray, " samples"]  # True or 1 where the class is there
Scores = Float[np.ndarray, " samples"]  # higher: likelier that it is


def accuracy(gold: Values, predicted: Values) -> float:
    """The share of samples that are right; where a sample has several labels, all of them must be."""
    return float((gold == predicted).reshape(len(gold), -1).all(axis=1).mean())


def f1(gold: Values, predicted: Values) -> float:
    """F1 of class 1; 0 where neither side has it."""
    from sklearn.metrics import f1_score

    return float(f1_score(gold, predicted, zero_division=0.0))


def macro_f1(gold: Values, predicted: Values) -> float:
    """The mean of the F1 of each class or label; a class that only one side has counts as 0."""
    from sklearn.metrics import f1_score

    if gold.ndim == 2:  # scikit-learn takes one column of labels for the two classes 0 and 1
        return float(np.mean([f1(*label) for label in zip(gold.T, predicted.T, strict=True)]))
    return float(f1_score(gold, predicted, average="macro", zero_division=0.0))


def micro_f1(gold: Values, predicted: Values) -> float:
    """F1 over all labels of all samples, [samples, labels] of 0 and 1; 0 where neither side has any."""
    return f1(gold.ravel(), predicted.ravel())  # scikit-learn's "micro" of one label is its accuracy


def matthews(gold: Values, predicted: Values) -> float:
    """Matthews' correlation; 0 where one side has one class only."""
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(gold, predicted))


def pearson(gold: Values, predicted: Values) -> float:
    """Pearson's correlation; 0 where it is not defined."""
    from scipy.stats import pearsonr

    return correlation(pearsonr, gold, predicted)


def spearman(gold: Values, predicted: Values) -> float:
    """Spearman's rank correlation, ties at their mean rank; 0 where it is not defined."""
    from scipy.stats import spearmanr

    return correlation(spearmanr, gold, predicted)


def correlation(measure: Callable[[Values, Values], Any], gold: Values, predicted: Values) -> float:
    """One of scipy's correlations; 0 for fewer than two samples and where one side is constant."""
    if len(gold) < 2 or np.ptp(gold) == 0 or np.ptp(predicted) == 0:
        return 0.0
    value = float(measure(gold, predicted).statistic)
    return 0.0 if math.isnan(value) else value


def roc_auc(gold: Labels, scores: Scores) -> float:
    """The area under the ROC curve. Both classes must be there."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(gold, scores))


def average_precision(gold: Labels, scores: Scores) -> float:
    """Σ (Rₙ − Rₙ₋₁) Pₙ over the thresholds. At least one label must be true."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(gold, scores))


def precision_recall(
    gold: Labels, scores: Scores
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"], Float[np.ndarray, " points-1"]]:
    """(precision, recall, thresholds): all different scores in rising order, and a last point (1, 0) without one.

    At least one label must be true.
    """
    from sklearn.metrics import precision_recall_curve

    precision, recall, thresholds = precision_recall_curve(gold, scores)
    return precision, recall, thresholds


METRICS: dict[str, Callable[[Values, Values], float]] = {
    "accuracy": accuracy,
    "f1": f1,
    "macro-f1": macro_f1,
    "micro-f1": micro_f1,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
}


def compute_metrics(names: Sequence[str], gold: Values, predicted: Values) -> dict[str, float]:
    """The metrics by name."""
    return {name: METRICS[name](gold, predicted) for name in names}
