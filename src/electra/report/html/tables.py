"""Tables of a report, and settings side by side."""

from collections.abc import Mapping, Sequence

from electra.report.html.content import ReportedRun, ReportTable, TableCell
from electra.report.html.elements import Html, element, join_html
from electra.report.tables import format_cell

SHORT = 24  # characters of a text that is not broken into lines
MANY = 8  # runs from which each has a row of settings that differ, and not a column


def render_table(table: ReportTable, heading: str = "h3") -> Html:
    """A table under its title, in a part of the page that scrolls sideways by itself."""
    head = element("tr", *(element("th", name, scope="col") for name in table.header))
    body = [
        element("tr", element("th", *cell_content(first), scope="row"), *map(render_cell, rest))
        for first, *rest in table.rows
    ]
    grid = element("table", element("thead", head), element("tbody", *body), class_="sorts")
    return join_html((
        element(heading, table.title) if table.title else None,
        element("p", table.about) if table.about else None,
        element("div", grid, class_="wide", role="region", tabindex=0, aria_label=table.title or "table"),
    ))  # fmt: skip


def render_cell(value: object) -> Html:
    """A cell, with the number that sorts it if it has one."""
    if isinstance(value, TableCell):
        shown = [value.text] if value.share is None else [draw_bar(value.share), element("span", value.text)]
        classes = "number best" if value.best else "number"
        return element("td", *shown, class_=classes, data_value=format_value(value.value))
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else None
    kind = "number" if number is not None else "short" if len(str(value or "")) < SHORT else "text"
    return element("td", *cell_content(value), class_=kind, data_value=format_value(number))


def format_value(number: float | None) -> str | None:
    """A number as the script reads it."""
    return None if number is None else f"{number:.12g}"


def cell_content(value: object) -> list[object]:
    """What stands in a cell: markup as it is, an empty cell for None."""
    return [] if value is None else [value if isinstance(value, Html) else format_cell(value)]


def draw_bar(share: float) -> Html:
    """A share as a bar. The line in it is at one half."""
    length = round(100 * min(max(share, 0.0), 1.0), 1)
    parts = element("rect", width=length, height=8, class_="bar"), element("path", d="M50 0V8", class_="half")
    return element("svg", *parts, viewBox="0 0 100 8", preserveAspectRatio="none", class_="share", aria_hidden="true")


def render_settings(runs: Sequence[ReportedRun], trees: Sequence[Mapping[str, object]], what: str) -> Html:
    """Settings of runs side by side: first those that differ, then those that all have in common."""
    keys = list_keys(trees)
    absent = object()
    differing = [key for key in keys if len({repr(tree.get(key, absent)) for tree in trees}) > 1]
    common = [[key, show_setting(trees[0][key])] for key in keys if key not in differing]
    parts = []
    if differing:
        parts.append(render_table(tabulate_differences(runs, trees, differing), "h4"))
    elif len(runs) > 1:
        parts.append(element("p", f"No difference: all {len(runs)} runs have the same {what}."))
    if common:
        title = f"the same in all {len(runs)} runs" if len(runs) > 1 else f"all of its {what}"
        shown = render_table(ReportTable("", ("setting", runs[0].name if len(runs) == 1 else "all"), common))
        summary = element("summary", f"{len(common)} {title}")
        parts.append(element("details", summary, shown, open=len(runs) == 1 and len(common) < MANY))
    return join_html(parts)


def list_keys(trees: Sequence[Mapping[str, object]]) -> list[str]:
    """The keys of all trees, those of one part (``optimizer.…``) together, else in their order."""
    keys = list(dict.fromkeys(key for tree in trees for key in tree))
    parts = list(dict.fromkeys(key.partition(".")[0] for key in keys))
    return sorted(keys, key=lambda key: parts.index(key.partition(".")[0]))


def tabulate_differences(
    runs: Sequence[ReportedRun], trees: Sequence[Mapping[str, object]], keys: Sequence[str]
) -> ReportTable:
    """The settings that differ: a column for each run, or a row where there are many runs."""
    if len(runs) <= MANY:
        rows = [[key, *(show_setting(tree.get(key)) for tree in trees)] for key in keys]
        return ReportTable("What differs", ("setting", *(run.name for run in runs)), rows)
    rows = [[run.name, *(show_setting(tree.get(key)) for key in keys)] for run, tree in zip(runs, trees, strict=True)]
    return ReportTable("What differs", ("run", *keys), rows)


def show_setting(value: object) -> object:
    """A setting as a table shows it: numbers as they are typed, nothing where there is none."""
    if value is None or value == "":
        return TableCell("–")
    if isinstance(value, bool):
        return str(value).lower()
    return (
        TableCell(f"{value:g}" if isinstance(value, float) else str(value), float(value))
        if isinstance(value, int | float)
        else str(value)
    )
