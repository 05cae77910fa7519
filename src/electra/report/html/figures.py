"""The figures of runs that a report draws: in which order, with which title, and how each run's line looks."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from electra.report.curves import PANELS
from electra.report.html.content import CurveLine, ReportedRun

COLOURS, DASHES = 8, 4  # that page.css has
TASK = ": "  # between the task and the figure of a fine-tuning


class LineStyle(NamedTuple):
    """A run's colour and dashes, by their numbers in page.css."""

    colour: int
    dash: int


class FigureLine(NamedTuple):
    """A run's line: the run's number, and which split it was measured on."""

    run: int
    split: str
    line: CurveLine


class ChartFigure(NamedTuple):
    """A figure with the lines of all runs that have it. ``main``: it is drawn in small too."""

    name: str
    title: str
    main: bool
    lines: Sequence[FigureLine]


def list_chart_figures(runs: Sequence[ReportedRun]) -> list[ChartFigure]:
    """All figures of the runs: first those that ``curves.png`` has, in its order, then the others by name."""
    titles = {name: title_figure(title, name, names) for title, names in PANELS for name in names}
    order = list(titles)
    names = {name for run in runs for name in run.curves}
    plain = {name: name.rpartition(TASK)[2] for name in names}
    ranked = sorted(names, key=lambda name: (plain[name] not in titles, rank(plain[name], order), name))
    return [
        ChartFigure(
            name,
            name.removesuffix(plain[name]) + titles.get(plain[name], plain[name]),
            plain[name] in titles,
            [
                FigureLine(number, split, line)
                for number, run in enumerate(runs)
                for split, line in run.curves.get(name, {}).items()
            ],
        )
        for name in ranked
    ]


def title_figure(panel: str, name: str, names: Sequence[str]) -> str:
    """The title of a figure that is drawn in a panel of ``curves.png`` with others, or alone."""
    return panel if len(names) == 1 else f"{panel}, {name.rpartition('/')[2].replace('_', ' ')}"


def rank(name: str, order: Sequence[str]) -> int:
    """Where a name stands in an order; behind all others if it does not."""
    return order.index(name) if name in order else len(order)


def choose_line_styles(runs: Sequence[ReportedRun]) -> list[LineStyle]:
    """A style for each run. Where there are enough, the runs that differ in their seed have a colour in common; runs
    beyond the last style have the first again."""
    groups = list(dict.fromkeys(run.group for run in runs))
    sizes = Counter(run.group for run in runs)
    if len(groups) > COLOURS or max(sizes.values(), default=0) > DASHES:
        return [LineStyle(number % COLOURS, number // COLOURS % DASHES) for number in range(len(runs))]
    seen: Counter[str] = Counter()
    styles = []
    for run in runs:
        styles.append(LineStyle(groups.index(run.group), seen[run.group]))
        seen[run.group] += 1
    return styles
