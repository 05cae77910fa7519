"""Several runs of one task: median, mean, spread and best of each figure, and which of them learned nothing."""

import statistics
from collections.abc import Mapping, Sequence
from typing import TypedDict

from electra.report.tables import format_table

Runs = Mapping[str, Mapping[str, Mapping[str, float]]]  # run → split → metric → value


class FigureSummary(TypedDict):
    """One figure over runs. ``spread``: the standard deviation, 0 of one run. ``values``: by run."""

    median: float
    mean: float
    spread: float
    best: float
    values: dict[str, float]


def summarize_seeds(runs: Runs) -> dict[str, FigureSummary]:
    """``split/metric`` → its summary over the runs."""
    first = next(iter(runs.values()))
    return {
        f"{split}/{metric}": summarize_values({name: run[split][metric] for name, run in runs.items()})
        for split, figures in first.items()
        for metric in figures
    }


def summarize_values(values: Mapping[str, float]) -> FigureSummary:
    """The summary of one figure. ``values``: by run; the best is the largest."""
    numbers = list(values.values())
    return {
        "median": statistics.median(numbers),
        "mean": statistics.mean(numbers),
        "spread": statistics.stdev(numbers) if len(numbers) > 1 else 0.0,
        "best": max(numbers),
        "values": dict(values),
    }


def format_seed_summary(title: str, summaries: Mapping[str, FigureSummary], failed: Sequence[str]) -> str:
    """A table of the figures, and a line for the runs that failed."""
    rows = [
        [name, summary["median"], f"{summary['mean']:.3f} ± {summary['spread']:.3f}", summary["best"]]
        for name, summary in summaries.items()
    ]
    table = format_table([title, "median", "mean ± spread", "best"], rows)
    return table + (f"\nlearned nothing (one prediction for all): {', '.join(failed)}" if failed else "")
