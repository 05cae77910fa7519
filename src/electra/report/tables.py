"""Tables in plain text."""

from collections.abc import Sequence

from electra.errors import escape_controls


def format_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns as wide as they need to be: the first to the left, the others to the right; floats to three digits."""
    first, *rest = align_cells([header, *rows])
    rule = ["-" * len(text) for text in first]
    return "\n".join("  ".join(row).rstrip() for row in (first, rule, *rest))


def format_markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """The same in Markdown, which reads as a table as it stands too."""
    first, *rest = align_cells([[format_cell(value).replace("|", "\\|") for value in row] for row in (header, *rows)])
    rule = ["-" * len(first[0]), *("-" * (len(text) - 1) + ":" for text in first[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in (first, rule, *rest))


def align_cells(rows: Sequence[Sequence[object]]) -> list[list[str]]:
    """The cells of all rows, filled up to the widths of their columns."""
    cells = [[format_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in cells]


def format_cell(value: object) -> str:
    """A value as a table shows it."""
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else escape_controls(str(value))
