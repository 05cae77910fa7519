"""Runs side by side as a table: a row for each figure, a column for each run."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from electra.errors import escape_controls
from electra.progress import format_amount, format_clock
from electra.report.tables import format_table
from electra.workflows.watching.run_status import ALIVE, RunStatus

SHOWN = ("loss", "generator/accuracy", "discriminator/skill", "discriminator/auc", "probe/best")
NONE = "-"
LEGEND = "-: not there, or not yet"


def format_statuses(statuses: Sequence[RunStatus], width: int) -> str:
    """The table, in as many parts as fit into ``width`` characters, and below it what takes a sentence."""
    names = shorten_names([status.run for status in statuses])
    rows = list_rows(statuses)
    parts: list[str] = []
    first = 0
    while first < len(names):
        last = first + 1
        part = format_part(names, rows, first, last)
        while last < len(names) and len((wider := format_part(names, rows, first, last + 1)).splitlines()[1]) <= width:
            part, last = wider, last + 1
        parts, first = [*parts, part], last
    notes = [LEGEND] if any(NONE in part.split() for part in parts) else []
    notes += [line for name, status in zip(names, statuses, strict=True) for line in list_notes(name, status)]
    return "\n\n".join([*parts, "\n".join(notes)] if notes else parts)


def format_part(names: Sequence[str], rows: Mapping[str, Sequence[str]], first: int, last: int) -> str:
    """The table of the runs from ``first`` to before ``last``, with the rows in which one of them has something."""
    cells = [[label, *texts[first:last]] for label, texts in rows.items() if set(texts[first:last]) != {NONE}]
    return format_table(["", *names[first:last]], cells)


def list_rows(statuses: Sequence[RunStatus]) -> dict[str, list[str]]:
    """The rows by their labels: a text for each run."""
    everywhere = [(name, split) for status in statuses for split, part in status.figures.items() for name in part]
    names = list(dict.fromkeys(name for name, _ in everywhere))
    figures = sorted(filter(is_shown, dict.fromkeys(everywhere)), key=lambda figure: names.index(figure[0]))
    return {
        "state": [each.state for each in statuses],
        "step": [f"{each.step:,} of {each.steps:,}" if each.steps else f"{each.step:,}" for each in statuses],
        "stage": [f"{each.stage} of {each.stages}" if (each.stages or 0) > 1 else NONE for each in statuses],
        "tokens": [format_value(each.tokens) for each in statuses],
        "tokens/s": [format_value(each.tokens_per_second) for each in statuses],
        "time left": [NONE if each.seconds_left is None else format_clock(each.seconds_left) for each in statuses],
        **{
            f"{name}, {split}": [format_value(each.figures.get(split, {}).get(name)) for each in statuses]
            for name, split in figures
        },
        "health": [describe_health(each) for each in statuses],
        "last figures": [describe_age(each.last_line) for each in statuses],
        "last checkpoint": [NONE if each.checkpoint is None else f"step {each.checkpoint:,}" for each in statuses],
        "… written": [describe_age(each.checkpoint_time) for each in statuses],
        "process": [str(each.process or NONE) if each.state in ALIVE else NONE for each in statuses],
        "starts": [format_value(each.starts) for each in statuses],
    }


def is_shown(figure: tuple[str, str]) -> bool:
    """Whether a figure, given by name and split, has a row: all losses, and what says how good the encoder is. The
    figures of a fine-tuned task, which have plain names, all do."""
    name, split = figure
    return name in SHOWN or name.endswith("/loss") or (split != "train" and "/" not in name)


def list_notes(name: str, status: RunStatus) -> list[str]:
    """What takes a sentence: how the run ended, what is wrong with it, what is damaged."""
    faults = [f"at step {fault['step']:,}: {fault['message']}" for fault in status.health]
    return [
        escape_controls(f"{name}: {note}") for note in ([status.note] * bool(status.note) + faults + status.damages)
    ]


def describe_health(status: RunStatus) -> str:
    """How many warnings the run gave of itself."""
    if not status.last_line:
        return NONE
    count = len(status.health)
    return "good" if not count else f"{count} warning{'s' * (count > 1)}"


def describe_age(time: str | None) -> str:
    """How long ago a time was."""
    if time is None:
        return NONE
    return f"{format_clock(max(0.0, (datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds()))} ago"


def format_value(value: float | None) -> str:
    """A number as a cell: three digits behind the point below 100."""
    if value is None:
        return NONE
    return f"{value:.3f}" if isinstance(value, float) and abs(value) < 100 else format_amount(value)


def shorten_names(runs: Sequence[str]) -> list[str]:
    """The last parts of the runs' paths, as many as tell all of them apart."""
    paths = [Path(run).absolute().parts for run in runs]
    depths = range(1, max(map(len, paths)) + 1)
    tails = (["/".join(path[-depth:]) for path in paths] for depth in depths)
    return next((names for names in tails if len(set(names)) == len(names)), list(runs))
