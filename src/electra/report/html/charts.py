"""Curves as small pictures that need no script, and as the data that the page's script draws from."""

import math
from collections.abc import Iterator, Sequence

from electra.report.html.content import CurveLine, ReportedRun
from electra.report.html.elements import Html, element, join_html
from electra.report.html.figures import ChartFigure, FigureLine, LineStyle
from electra.report.html.thinning import thin_line

POINTS, FEWEST, MOST = 80_000, 40, 1000  # points of all lines together, and of one
SMALL_POINTS, SMALL_MOST = 24_000, 120  # in the small pictures
SMALL_FEWEST = 16
AXIS_POINTS = 64  # at which tokens, operations and hours are known
WIDTH, HEIGHT = 320, 180
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 8, 22  # margins
DOTTED = 40  # points of a held-out line that are dots; more would hide each other


def draw_small_figure(figure: ChartFigure, styles: Sequence[LineStyle], number: int, points: int) -> Html:
    """A figure as a small picture with ``points`` a line; ``number`` is that of the figure in the page's data."""
    lines = [each._replace(line=thin_line(each.line, points)) for each in figure.lines]
    drawn = [each for each in lines if any(value is not None for value in each.line.values)]
    if not drawn:
        return Html("")
    values = [value for each in drawn for value in each.line.values if value is not None]
    low, high = widen_range(min(values), max(values))
    last = max(each.line.steps[-1] for each in drawn)
    parts = [*draw_grid(low, high, last)]
    for each in drawn:
        points_of_line = place_points(each.line, low, high, last)
        style = styles[each.run]
        held_out = each.split != "train"
        parts.append(draw_path(points_of_line, style, held_out))
        if held_out or len(each.line.steps) == 1:
            parts += draw_dots(points_of_line, style)
    picture = element(
        "svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=describe_figure(figure, low, high)
    )
    return element("figure", element("figcaption", figure.title), picture, class_="small", data_figure=number)


def describe_figure(figure: ChartFigure, low: float, high: float) -> str:
    """What a picture shows, for those who do not see it."""
    count = len({each.run for each in figure.lines})
    return f"{figure.title}: curves of {count} run{'s' * (count > 1)}, between {low:.4g} and {high:.4g}"


def widen_range(low: float, high: float) -> tuple[float, float]:
    """A range with some room; of a constant too."""
    room = (high - low) * 0.04 or abs(high) * 0.1 or 1.0
    return low - room, high + room


def draw_grid(low: float, high: float, last: int) -> Iterator[Html]:
    """The lines across, with their values, and the steps at the left and the right end."""
    for tick in list_ticks(low, high):
        y = round(place_value(tick, low, high), 1)
        yield element("path", d=f"M{LEFT} {y}H{WIDTH - RIGHT}", class_="grid")
        yield element("text", f"{tick:.6g}", x=LEFT - 5, y=round(y + 3.5, 1), text_anchor="end")
    yield element("text", "0", x=LEFT, y=HEIGHT - 6)
    yield element("text", f"step {last:,}", x=WIDTH - RIGHT, y=HEIGHT - 6, text_anchor="end")


def list_ticks(low: float, high: float) -> list[float]:
    """Two to five round numbers within a range."""
    step = 10.0 ** math.floor(math.log10(high - low))
    step = next(step * factor for factor in (0.2, 0.5, 1.0, 2.0) if (high - low) / (step * factor) <= 5.5)
    return [round(index * step, 12) for index in range(math.ceil(low / step), math.floor(high / step) + 1)]


def place_value(value: float, low: float, high: float) -> float:
    """How far down a value stands in a small picture."""
    return TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)


def place_points(line: CurveLine, low: float, high: float, last: int) -> list[tuple[float, float] | None]:
    """The points of a line in a small picture, None where it has a gap."""
    width = (WIDTH - LEFT - RIGHT) / max(last, 1)
    return [
        None if value is None else (round(LEFT + step * width, 1), round(place_value(value, low, high), 1))
        for step, value in zip(line.steps, line.values, strict=True)
    ]


def draw_path(points: Sequence[tuple[float, float] | None], style: LineStyle, held_out: bool) -> Html:
    """A line through the points, parted at its gaps."""
    words, joined = list[str](), False
    for point in points:
        if point:
            words.append(f"{'L' if joined else 'M'}{point[0]:g} {point[1]:g}")
        joined = point is not None
    dash = "held" if held_out else f"d{style.dash}"
    return element("path", d="".join(words), class_=f"line c{style.colour} {dash}")


def draw_dots(points: Sequence[tuple[float, float] | None], style: LineStyle) -> Iterator[Html]:
    """A dot at each of not too many points."""
    if len(points) <= DOTTED:
        for point in filter(None, points):
            yield element("circle", cx=f"{point[0]:g}", cy=f"{point[1]:g}", r=2.2, class_=f"dot c{style.colour}")


def draw_swatch(style: LineStyle) -> Html:
    """A piece of a run's line, for legends."""
    path = element("path", d="M1 5H31", class_=f"line c{style.colour} d{style.dash}")
    return element("svg", path, viewBox="0 0 32 10", class_="swatch", aria_hidden="true")


def draw_small_figures(figures: Sequence[ChartFigure], styles: Sequence[LineStyle]) -> Html:
    """All main figures in small."""
    main = [(number, figure) for number, figure in enumerate(figures) if figure.main]
    count = sum(len(figure.lines) for _, figure in main)
    points = min(SMALL_MOST, max(SMALL_FEWEST, SMALL_POINTS // max(count, 1)))
    return join_html(draw_small_figure(figure, styles, number, points) for number, figure in main)


def gather_chart_data(
    runs: Sequence[ReportedRun], figures: Sequence[ChartFigure], styles: Sequence[LineStyle]
) -> dict[str, object]:
    """What the page's script draws from: runs with their axes, and figures with their lines, thinned."""
    count = sum(len(figure.lines) for figure in figures)
    most = min(MOST, max(FEWEST, POINTS // max(count, 1)))
    return {
        "runs": [
            {"name": run.name, "colour": style.colour, "dash": style.dash}
            | {"axes": {name: thin_line(line, AXIS_POINTS) for name, line in run.axes.items()}}
            for run, style in zip(runs, styles, strict=True)
        ],
        "figures": [
            {"title": figure.title, "name": figure.name, "lines": [gather_line(each, most) for each in figure.lines]}
            for figure in figures
        ],
    }


def gather_line(line: FigureLine, most: int) -> dict[str, object]:
    """A line as the script has it."""
    steps, values = thin_line(line.line, most)
    return {"run": line.run, "split": line.split, "steps": steps, "values": values}
