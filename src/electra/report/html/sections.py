"""The sections of a report, each from its part of the content; what is not there is told in a line in its place."""

from collections.abc import Sequence

from electra.report.html.charts import draw_small_figures, draw_swatch
from electra.report.html.content import ReportContent, ReportedRun, ReportTable
from electra.report.html.elements import Html, element, join_html
from electra.report.html.figures import ChartFigure, LineStyle
from electra.report.html.tables import render_settings, render_table
from electra.report.html.tokens import render_all_judged

ABOUT_RUNS = {
    "pre-training": "Columns with a / are the last figures on held-out text.",
    "fine-tuning": "Figures of each split at the end of the run.",
}
TITLES = {
    "runs": "Runs",
    "curves": "Curves",
    "evaluations": "Evaluations",
    "probes": "Probes",
    "pairs": "Minimal pairs",
    "tokens": "Replaced tokens, found and missed",
    "health": "Health",
    "settings": "Settings",
    "environment": "Environment",
}


def render_sections(
    content: ReportContent, figures: Sequence[ChartFigure], styles: Sequence[LineStyle]
) -> dict[str, Html]:
    """Section → what stands under its title, of those that have anything to show or to say."""
    tables = {
        name: join_html(map(render_table, content.tables.get(name, ()))) for name in ("evaluations", "probes", "pairs")
    }
    parts = {
        "runs": render_overview(content.runs, styles) if content.runs else Html(""),
        "curves": render_curves(content.runs, figures, styles) if figures else Html(""),
        **tables,
        "tokens": render_all_judged(content.judged) if content.judged else Html(""),
        "health": join_html(map(render_health, content.runs)),
        "settings": render_by_kind(content.runs, "settings"),
        "environment": render_by_kind(content.runs, "environment"),
    }
    notes = {name: render_notes(content.missing.get(name, ())) for name in parts}
    return {name: join_html((part, notes[name])) for name, part in parts.items() if part or notes[name]}


def render_notes(lines: Sequence[str]) -> Html:
    """Lines about what is not there."""
    return join_html(element("p", *mark_code(line), class_="note") for line in lines)


def mark_code(line: str) -> list[object]:
    """The parts of a line; what stands between backticks is set as code."""
    return [element("code", part) if number % 2 else part for number, part in enumerate(line.split("`"))]


def render_overview(runs: Sequence[ReportedRun], styles: Sequence[LineStyle]) -> Html:
    """A table for each kind of run, with a row for each: its line's look, and what is said of it first."""
    tables = []
    for kind in dict.fromkeys(run.kind for run in runs):
        of_kind = [(run, style) for run, style in zip(runs, styles, strict=True) if run.kind == kind]
        facts = list(dict.fromkeys(name for run, _ in of_kind for name in run.facts))
        rows = [
            [join_html((draw_swatch(style), " ", run.name)), *(run.facts.get(name) for name in facts)]
            for run, style in of_kind
        ]
        tables.append(render_table(ReportTable(capitalize(kind), ("run", *facts), rows, ABOUT_RUNS[kind])))
    return join_html(tables)


def capitalize(text: str) -> str:
    """A text with a large first letter."""
    return text[:1].upper() + text[1:]


def render_curves(runs: Sequence[ReportedRun], figures: Sequence[ChartFigure], styles: Sequence[LineStyle]) -> Html:
    """A legend, the place in which the script draws, and the main figures in small, which need no script."""
    items = [
        element("li", draw_swatch(style), " ", element("span", run.name), data_run=number)
        for number, (run, style) in enumerate(zip(runs, styles, strict=True))
        if run.curves
    ]
    return join_html((
        element("div", id="chart"),
        element("ul", *items, class_="legend", id="legend"),
        element("div", draw_small_figures(figures, styles), class_="smalls"),
        element("p", "Lines are measured on training text, dots on held-out text.", class_="note"),
    ))  # fmt: skip


def render_health(run: ReportedRun) -> Html:
    """What went wrong with a run, or that nothing did."""
    health = run.health
    lines = [
        *(f"step {step:,}: {message}" for step, message in health.warnings),
        *(
            f"{name}: not finite in {count:,} lines, first at step {step:,}"
            for name, (count, step) in health.not_finite.items()
        ),
    ]
    notes = [*health.starts, *([] if health.finished else ["not finished: the same command goes on"])]
    state = "bad" if lines else "open" if notes else "good"
    mark = {"bad": "warning", "open": "look", "good": "nothing recorded"}[state]
    head = element("h3", run.name, " ", element("span", mark, class_=f"mark {state}"))
    items = [element("li", line) for line in (*lines, *notes)]
    return element("section", head, element("ul", *items) if items else None, class_="health")


def render_by_kind(runs: Sequence[ReportedRun], part: str) -> Html:
    """Settings or environments, of the runs of each kind side by side."""
    kinds = list(dict.fromkeys(run.kind for run in runs))
    shown = []
    for kind in kinds:
        of_kind = [run for run in runs if run.kind == kind]
        trees = [getattr(run, part) for run in of_kind]
        shown += [element("h3", capitalize(kind))] if len(kinds) > 1 else []
        shown.append(render_settings(of_kind, trees, part))
    return join_html(shown)
