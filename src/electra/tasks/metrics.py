"""How predictions are judged, by scikit-learn and scipy. Each figure is a share or a correlation: 1 is perfect."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Num

Values = Num[np.ndarray, "samples"] | Num[np.ndarray, "samples labels"]


def accuracy(gold: Values, found: Values) -> float:
    """The share of samples that are right; of several labels a sample, all of them."""
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(gold, found))


def f1(gold: Values, found: Values) -> float:
    """F1 of class 1."""
    from sklearn.metrics import f1_score

    return float(f1_score(gold, found, zero_division=0.0))


def macro_f1(gold: Values, found: Values) -> float:
    """The mean of the F1 of each class or label."""
    from sklearn.metrics import f1_score

    return float(f1_score(gold, found, average="macro", zero_division=0.0))


def micro_f1(gold: Values, found: Values) -> float:
    """F1 over all labels of all samples."""
    from sklearn.metrics import f1_score

    return float(f1_score(gold, found, average="micro", zero_division=0.0))


def matthews(gold: Values, found: Values) -> float:
    """Matthews' correlation; 0 where one side has one class only."""
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(gold, found))


def pearson(gold: Values, found: Values) -> float:
    """Pearson's correlation; 0 where one side is constant, for which it is not defined."""
    return correlation("pearsonr", gold, found)


def spearman(gold: Values, found: Values) -> float:
    """Spearman's rank correlation, ties at their mean rank; 0 where one side is constant."""
    return correlation("spearmanr", gold, found)


def correlation(name: str, gold: Values, found: Values) -> float:
    """See above."""
    from scipy import stats

    if len(gold) < 2 or np.ptp(gold) == 0 or np.ptp(found) == 0:
        return 0.0
    value = float(getattr(stats, name)(gold, found)[0])
    return 0.0 if math.isnan(value) else value


METRICS: dict[str, Callable[[Values, Values], float]] = {
    "accuracy": accuracy,
    "f1": f1,
    "macro-f1": macro_f1,
    "micro-f1": micro_f1,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
}


def compute_metrics(names: Sequence[str], gold: Values, found: Values) -> dict[str, float]:
    """The figures by name."""
    return {name: METRICS[name](gold, found) for name in names}
