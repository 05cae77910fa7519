"""Downstream scores against what training took, and against the generator's size, as PNGs that a person looks at."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from electra.report.compare import RANDOM, Comparison, Spread, format_budget, format_number

Line = Sequence[tuple[float, Spread | None]]  # points from left to right


def draw_against_budget(found: Comparison, path: Path) -> None:
    """A panel for each score, in it a line with its band for each objective."""
    lines = {
        score: {name: [(each, found.spread(name, each, score)) for each in found.budgets] for name in found.objectives}
        for score in found.scores
    }
    what = "training FLOPs" if found.unit == "FLOPs" else "minutes of training"
    draw_panels(found, lines, what, {each: format_number(each) for each in found.budgets}, path)


def draw_against_size(found: Comparison, sizes: Sequence[float], path: Path) -> None:
    """A panel for each score, in it a line over the generator's sizes; each is one of the comparison's objectives, at
    its one budget.
    """
    (budget,) = found.budgets
    named = list(zip(sizes, found.objectives, strict=True))
    lines = {
        score: {format_budget(budget, found.unit): [(size, found.spread(name, budget, score)) for size, name in named]}
        for score in found.scores
    }
    ticks = {size: str(Fraction(size).limit_denominator(64)) for size in sizes}
    draw_panels(found, lines, "the generator's width over the discriminator's", ticks, path)


def draw_panels(
    found: Comparison, lines: Mapping[str, Mapping[str, Line]], what: str, ticks: Mapping[float, str], path: Path
) -> None:
    """One picture of ``lines`` (score → name → line) with the level of random weights; x, ``what`` it is, logarithmic.

    ``ticks``: every x and how it is written.
    """
    from matplotlib.figure import Figure

    columns = min(len(lines), 3)
    height = -(-len(lines) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.3 * height), layout="constrained")
    for index, (score, named) in enumerate(lines.items(), 1):
        axes = figure.add_subplot(height, columns, index)
        axes.set(title=score, xscale="log", xlim=(min(ticks) / 1.3, max(ticks) * 1.3))
        axes.set_xticks(list(ticks), list(ticks.values()))
        axes.minorticks_off()
        for name, line in named.items():
            draw_line(axes, line, name)
        if level := found.spread(RANDOM, 0.0, score):
            axes.axhline(level.mean, color="gray", linewidth=1, linestyle="--", label=RANDOM)
            axes.axhspan(level.mean - level.deviation, level.mean + level.deviation, color="gray", alpha=0.15, lw=0)
        axes.legend(fontsize=7)
        axes.grid(alpha=0.3)
    figure.supxlabel(f"{what} (bands: ± a standard deviation over seeds)", fontsize=9)
    figure.savefig(path, dpi=110, format="png")


def draw_line(axes: Any, line: Line, name: str) -> None:
    """Means as points that are joined, each with its spread, and the band between."""
    points = [(x, spread.mean, spread.deviation) for x, spread in line if spread]
    if points:
        xs, means, deviations = (list(each) for each in zip(*points, strict=True))
        drawn = axes.errorbar(xs, means, deviations, marker="o", markersize=4, linewidth=1.4, capsize=2, label=name)
        low, high = ([mean + sign * d for _, mean, d in points] for sign in (-1, 1))
        axes.fill_between(xs, low, high, color=drawn[0].get_color(), alpha=0.15, linewidth=0)
