"""Curves with fewer points: of each stretch its lowest and its highest one stay, so no spike is lost."""

import math
from collections.abc import Sequence

import numpy as np

from electra.report.html.content import CurveLine

DIGITS = 5  # of a value


def thin_line(line: CurveLine, most: int) -> CurveLine:
    """At most about ``most`` points of a line, its first and last among them, values to five digits.

    Half of the stretches are of equal length, half of rising length, since a logarithmic axis shows the beginning.
    """
    count = len(line.steps)
    if count <= most:
        return round_values(line, range(count))
    values = np.array([math.nan if value is None else value for value in line.values])
    parts = max(1, most // 4)
    edges = np.unique(np.concatenate([np.linspace(0, count, parts + 1), np.geomspace(1, count, parts + 1)]).astype(int))
    kept = {0, count - 1}
    missing = np.isnan(values)
    low, high = np.where(missing, np.inf, values), np.where(missing, -np.inf, values)
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        part = slice(start, stop)
        kept |= {start + int(each.argmax()) for each in (-low[part], high[part], missing[part])}  # a gap stays a gap
    return round_values(line, sorted(kept))


def round_values(line: CurveLine, indices: Sequence[int]) -> CurveLine:
    """The points of a line at ``indices``, values rounded."""
    values = (line.values[index] for index in indices)
    rounded = [None if value is None else float(f"{value:.{DIGITS}g}") for value in values]
    return CurveLine([line.steps[index] for index in indices], rounded)
