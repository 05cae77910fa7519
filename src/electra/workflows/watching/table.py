"""Runs side by side as a table: a row for each figure, a column for each run."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from electra.errors import escape_controls
from electra.progress import format_amount, format_clock
from electra.report.tables import format_table
from electra.workflows.watching.run_status import ALIVE, RunStatus

SHOWN = ("loss", "generator/accuracy", "discriminator/skill", "discriminator/auc", "probe/best")  # and all losses
NONE = "-"


def format_statuses(statuses: Sequence[RunStatus], width: int) -> str:
    """The table, in as many parts as fit into ``width`` characters, and below it what takes a sentence."""
    names = shorten_names([status.run for status in statuses])
    columns = list_cells(statuses)
    labels = [label for label, _ in columns[0]]
    used = [row for row in range(len(labels)) if any(column[row][1] != NONE for column in columns)]
    parts: list[str] = []
    left = list(range(len(statuses)))
    while left:
        table, count = "", 0
        while count < len(left):
            chosen = left[: count + 1]
            header = ["", *(names[run] for run in chosen)]
            wider = format_table(header, [[labels[row], *(columns[run][row][1] for run in chosen)] for row in used])
            if count and max(map(len, wider.splitlines())) > width:
                break
            table, count = wider, count + 1
        parts, left = [*parts, table], left[count:]
    notes = [line for name, status in zip(names, statuses, strict=True) for line in list_notes(name, status)]
    legend = ["-: not there, or not yet"] if any(column[row][1] == NONE for column in columns for row in used) else []
    return "\n\n".join([*parts, *(["\n".join([*legend, *notes])] if legend or notes else [])])


def list_cells(statuses: Sequence[RunStatus]) -> list[list[tuple[str, str]]]:
    """For each run (label, text) of each row; the rows are the same for all."""
    names = {
        (split, name): None
        for status in statuses
        for split, figures in status.figures.items()
        for name in figures
        if name in SHOWN or name.endswith("/loss") or split not in ("train", "held-out")
    }
    splits = list(dict.fromkeys(split for split, _ in names))
    ordered = sorted(
        names, key=lambda key: (list(dict.fromkeys(n for _, n in names)).index(key[1]), splits.index(key[0]))
    )
    return [
        [
            ("state", status.state),
            ("step", f"{status.step:,} of {status.steps:,}" if status.steps else f"{status.step:,}"),
            ("stage", f"{status.stage} of {status.stages}" if (status.stages or 0) > 1 else NONE),
            ("tokens", show(status.tokens)),
            ("tokens/s", show(status.tokens_per_second)),
            ("time left", NONE if status.seconds_left is None else format_clock(status.seconds_left)),
            *((f"{name}, {split}", show(status.figures.get(split, {}).get(name))) for split, name in ordered),
            ("health", describe_health(status)),
            ("last figures", describe_age(status.last_line)),
            ("last checkpoint", NONE if status.checkpoint is None else f"step {status.checkpoint:,}"),
            ("… written", describe_age(status.checkpoint_time)),
            ("process", str(status.process or NONE) if status.state in ALIVE else NONE),
            ("starts", show(status.starts)),
        ]
        for status in statuses
    ]


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


def show(value: float | None) -> str:
    """A number as a cell: three digits behind the point below 100."""
    if value is None:
        return NONE
    return f"{value:.3f}" if isinstance(value, float) and abs(value) < 100 else format_amount(value)


def shorten_names(runs: Sequence[str]) -> list[str]:
    """The last parts of the runs' paths, as many as tell them apart."""
    paths = [Path(run).absolute().parts for run in runs]
    for depth in range(1, max(map(len, paths), default=1) + 1):
        names = ["/".join(path[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return names
