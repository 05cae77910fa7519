"""Several runs of one task: median, mean, spread and best of each figure, and which of them learned nothing."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from electra.report.tables import format_table

Runs = Mapping[str, Mapping[str, Mapping[str, float]]]  # run → split → metric → value


def summarize_seeds(runs: Runs) -> dict[str, dict[str, Any]]:
    """``split/metric`` → its median, mean, spread (standard deviation), best and values by run."""
    first = next(iter(runs.values()))
    return {
        f"{split}/{metric}": summarize_values({name: run[split][metric] for name, run in runs.items()})
        for split, figures in first.items()
        for metric in figures
    }


def summarize_values(values: Mapping[str, float]) -> dict[str, Any]:
    """What is said of one figure over runs."""
    numbers = list(values.values())
    return {
        "median": statistics.median(numbers),
        "mean": statistics.mean(numbers),
        "spread": statistics.stdev(numbers) if len(numbers) > 1 else 0.0,
        "best": max(numbers),
        "values": dict(values),
    }


def format_seed_summary(title: str, found: Mapping[str, Mapping[str, Any]], failed: Sequence[str]) -> str:
    """A table of the figures, and a line for the runs that failed."""
    rows = [
        [name, each["median"], f"{each['mean']:.3f} ± {each['spread']:.3f}", each["best"]]
        for name, each in found.items()
    ]
    said = format_table([title, "median", "mean ± spread", "best"], rows)
    return said + (f"\nlearned nothing (one prediction for all): {', '.join(failed)}" if failed else "")
