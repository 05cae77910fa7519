"""Precision against recall as a PNG."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

SIGN = b"electra, precision and recall, format 1"  # by which a picture of ours is known
POINTS = 2_000  # of a curve that are drawn


@runtime_checkable
class Curve(Protocol):
    """Precision and recall over rising thresholds, the average precision, and ``chance``: the precision of guessing."""

    @property
    def precision(self) -> Float[np.ndarray, " points"]: ...

    @property
    def recall(self) -> Float[np.ndarray, " points"]: ...

    @property
    def average(self) -> float: ...

    @property
    def chance(self) -> float: ...


def draw_precision_recall(curves: Mapping[str, Curve], path: Path) -> None:
    """Draw all curves (by name) as one picture, each with its level of chance as a dotted line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for name, curve in curves.items():
        points = np.unique(np.linspace(0, len(curve.recall) - 1, POINTS).round().astype(int))
        label = f"{name}: average precision {curve.average:.3f}"
        (line,) = axes.step(curve.recall[points], curve.precision[points], where="post", linewidth=1.2, label=label)
        axes.axhline(curve.chance, color=line.get_color(), linewidth=0.8, linestyle=":")
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.set_xlabel("recall: share of the replaced tokens that are found (dotted: guessing)", fontsize=8)
    axes.set_ylabel("precision: share of what is found that was replaced", fontsize=8)
    axes.set_title("replaced tokens on held-out text", fontsize=10)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110, format="png", metadata={"Software": SIGN.decode()})
