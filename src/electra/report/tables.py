"""Tables in plain text."""

from collections.abc import Sequence

from electra.errors import escape_controls


def format_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table with a rule under its header: the first column to the left, the others to the right."""
    first, *rest = align_cells([header, *rows])
    rule = ["-" * len(text) for text in first]
    return "\n".join("  ".join(row).rstrip() for row in (first, rule, *rest))


def format_markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown, its columns aligned so that it reads as a table as it stands."""
    first, *rest = align_cells([[format_cell(value).replace("|", "\\|") for value in row] for row in (header, *rows)])
    rule = ["-" * len(first[0]), *("-" * (len(text) - 1) + ":" for text in first[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in (first, rule, *rest))


def align_cells(rows: Sequence[Sequence[object]]) -> list[list[str]]:
    """The texts of all cells, padded to the widths of their columns."""
    cells = [[format_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in cells]


def format_cell(value: object) -> str:
    """A cell's text: floats to three digits, whole numbers with commas, control characters escaped."""
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else escape_controls(str(value))
