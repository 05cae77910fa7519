"""Downstream scores against what training cost, and against the generator's size, as PNGs."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from electra.report.compare import Comparison, Spread, format_budget, format_number

LEVEL_STYLES = ("--", ":")

Line = Sequence[tuple[float, Spread | None]]  # points from left to right


def draw_against_budget(comparison: Comparison, path: Path) -> None:
    """Draw a panel for each score: a line over the budgets, with its band, for each objective."""
    budgets = comparison.budgets
    lines = {
        score: {
            name: [(budget, comparison.spread(name, budget, score)) for budget in budgets]
            for name in comparison.objectives
        }
        for score in comparison.scores
    }
    label = "training FLOPs" if comparison.unit == "FLOPs" else "minutes of training"
    draw_panels(comparison, lines, label, {budget: format_number(budget) for budget in budgets}, path)


def draw_against_size(comparison: Comparison, sizes: Sequence[float], path: Path) -> None:
    """Draw a panel for each score: a line over the generator's sizes.

    ``sizes[i]`` is that of the generator of ``comparison.objectives[i]``. The comparison has one budget.
    """
    (budget,) = comparison.budgets
    by_size = list(zip(sizes, comparison.objectives, strict=True))
    name = format_budget(budget, comparison.unit)
    lines = {
        score: {name: [(size, comparison.spread(objective, budget, score)) for size, objective in by_size]}
        for score in comparison.scores
    }
    ticks = {size: str(Fraction(size).limit_denominator(64)) for size in sizes}
    draw_panels(comparison, lines, "the generator's width over the discriminator's", ticks, path)


def draw_panels(
    comparison: Comparison,
    lines: Mapping[str, Mapping[str, Line]],
    label: str,
    ticks: Mapping[float, str],
    path: Path,
) -> None:
    """Draw ``lines`` (score → name → line) as one picture, with the levels of untrained encoders; x is logarithmic.

    ``label``: of the x axis. ``ticks``: every x and its text.
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
        for number, name in enumerate(comparison.untrained):
            style = LEVEL_STYLES[number % len(LEVEL_STYLES)]
            if level := comparison.spread(name, 0.0, score):
                axes.axhline(level.mean, color="gray", linewidth=1, linestyle=style, label=name)
                axes.axhspan(level.mean - level.deviation, level.mean + level.deviation, color="gray", alpha=0.15, lw=0)
        axes.legend(fontsize=7)
        axes.grid(alpha=0.3)
    figure.supxlabel(f"{label} (bands: ± a standard deviation over seeds)", fontsize=9)
    figure.savefig(path, dpi=110, format="png")


def draw_line(axes: Any, line: Line, name: str) -> None:
    """Draw means as joined points, each with its spread, and the band between the spreads."""
    points = [(x, spread.mean, spread.deviation) for x, spread in line if spread]
    if points:
        xs, means, deviations = (list(column) for column in zip(*points, strict=True))
        bars = axes.errorbar(xs, means, deviations, marker="o", markersize=4, linewidth=1.4, capsize=2, label=name)
        low, high = ([mean + sign * deviation for _, mean, deviation in points] for sign in (-1, 1))
        axes.fill_between(xs, low, high, color=bars[0].get_color(), alpha=0.15, linewidth=0)
