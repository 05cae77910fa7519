"""Progress of long work on standard error: a bar on a terminal, elsewhere a line now and then."""

import sys
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from electra.errors import escape_controls

RECENT = 8  # updates, a second or more apart, over which the rate is measured: a slow start is soon forgotten


class Progress:
    """Shows how much of ``total`` units of work (0: not known) is done, how fast, and for how long it will go on.

    A context; without one, call ``finish`` at the end.
    """

    def __init__(self, label: str, total: float, unit: str, done: float = 0.0, every_seconds: float = 15.0):
        """``unit``: what follows a number, "MB" or "steps". ``done``: what was done before, which no rate counts.

        ``every_seconds``: between two lines where standard error is no terminal.
        """
        self.label, self.total, self.unit, self.every_seconds = label, total, unit, every_seconds
        self.started = self.printed = time.monotonic()
        self.recent = deque([(self.started, done)], RECENT)  # (time, how much was done)
        self.done, self.remark = done, ""
        self.printed_done: float | None = None  # how much was done when a line was printed
        self.bar: Any = None  # rich's Progress, once something is drawn

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *failure: object) -> None:
        self.finish()

    def update(self, done: float, remark: str = "") -> None:
        """Take down that ``done`` units in all are done, and show it if it is time to. ``remark``: shown beside it."""
        self.done, self.remark = done, remark
        if time.monotonic() - self.recent[-1][0] >= 1:
            self.recent.append((time.monotonic(), done))
        if sys.stderr.isatty():
            self.draw_bar()
        elif time.monotonic() - self.printed > self.every_seconds:
            self.printed, self.printed_done = time.monotonic(), done
            print(self.format_line(), file=sys.stderr, flush=True)

    def finish(self) -> None:
        """Show the last state, whether all is done or not."""
        if self.bar is not None:
            self.bar.stop()
        elif self.done != self.printed_done:
            print(self.format_line(), file=sys.stderr, flush=True)

    def format_line(self) -> str:
        """What is done, the remark, the rate, and the time that is left, or all that has passed where none is."""
        then, before = self.recent[0]
        rate = (self.done - before) / max(time.monotonic() - then, 1e-9)
        amount = format_amount(self.done) + (f"/{format_amount(self.total)}" if self.total else "")
        parts = [
            f"{self.label}: {amount} {self.unit}",
            *[self.remark] * bool(self.remark),
            f"{format_amount(rate)} {self.unit}/s",
        ]
        left = (self.total - self.done) / rate if rate and self.total else 0.0
        parts += [
            f"{format_clock(left)} left" if left > 0 else f"{format_clock(time.monotonic() - self.started)} in all"
        ]
        return escape_controls("  ".join(parts))

    def draw_bar(self) -> None:
        """Draw the bar, or draw it again."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        if self.bar is None:
            columns = (BarColumn(bar_width=24), TaskProgressColumn(), TextColumn("{task.description}"))
            self.bar = Progress(
                *columns,
                console=Console(stderr=True),
                refresh_per_second=4,
                redirect_stdout=sys.stdout.isatty(),  # lines above the bar, where both are seen; else into the pipe
            )
            self.bar.start()
            self.bar.add_task("", total=self.total or None)  # unknown: a bar that moves to and fro
        self.bar.update(self.bar.task_ids[0], completed=self.done, description=self.format_line())


def print_warnings(lines: Iterable[str], aside: bool = False) -> None:
    """Print each line as a warning, on standard output, or ``aside`` of a result on standard error."""
    for line in lines:
        print(f"warning: {escape_controls(line)}", file=sys.stderr if aside else sys.stdout)


def print_progress(line: str) -> None:
    """A line on standard error, at once: apart from a result on standard output."""
    print(line, file=sys.stderr, flush=True)


def format_amount(amount: float) -> str:
    """A number with one digit behind the point if it has a fraction and is less than 10, else with none: 1,234."""
    return f"{amount:,.0f}" if amount >= 10 or amount == round(amount) else f"{amount:.1f}"


def format_clock(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
