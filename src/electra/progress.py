"""How far a piece of work is: a bar on a terminal, a line now and then elsewhere, with rate and time left."""

import sys
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from electra.errors import escape_controls

RECENT = 8  # moments, a second or more apart, that the rate is taken over: it forgets a slow start


class Progress:
    """Work of ``total`` units (0: not known), told on standard error. Use as a context, or call ``end``."""

    def __init__(self, label: str, total: float, unit: str, done: float = 0.0, every_seconds: float = 15.0):
        """``unit`` is a noun after a number ("MB", "steps"); ``done`` was done before and counts for no rate."""
        self.label, self.total, self.unit, self.every_seconds = label, total, unit, every_seconds
        self.started = self.told = time.monotonic()
        self.recent = deque([(self.started, done)], RECENT)
        self.done, self.words = done, ""
        self.last: float | None = None  # how much was done when a line was printed
        self.bar: Any = None  # rich's, once something is drawn

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *failure: object) -> None:
        self.end()

    def at(self, done: float, words: str = "") -> None:
        """``done`` of the total is done; ``words`` say what else is known."""
        self.done, self.words = done, words
        if time.monotonic() - self.recent[-1][0] >= 1:
            self.recent.append((time.monotonic(), done))
        if sys.stderr.isatty():
            self.draw()
        elif time.monotonic() - self.told > self.every_seconds:
            self.told, self.last = time.monotonic(), done
            print(self.line(), file=sys.stderr, flush=True)

    def end(self) -> None:
        """The last word on it."""
        if self.bar is not None:
            self.bar.stop()
        elif self.done != self.last:
            print(self.line(), file=sys.stderr, flush=True)

    def line(self) -> str:
        """All that is known, in one line."""
        then, before = self.recent[0]
        rate = (self.done - before) / max(time.monotonic() - then, 1e-9)
        amount = format_amount(self.done) + (f"/{format_amount(self.total)}" if self.total else "")
        parts = [
            f"{self.label}: {amount} {self.unit}",
            *[self.words] * bool(self.words),
            f"{format_amount(rate)} {self.unit}/s",
        ]
        left = (self.total - self.done) / rate if rate and self.total else 0.0
        parts += [
            f"{format_clock(left)} left" if left > 0 else f"{format_clock(time.monotonic() - self.started)} in all"
        ]
        return escape_controls("  ".join(parts))

    def draw(self) -> None:
        """The bar, drawn anew."""
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        if self.bar is None:
            columns = (BarColumn(bar_width=24), TaskProgressColumn(), TextColumn("{task.description}"))
            self.bar = Progress(*columns, refresh_per_second=4)
            self.bar.start()
            self.bar.add_task("", total=self.total or None)  # unknown: a bar that moves to and fro
        self.bar.update(self.bar.task_ids[0], completed=self.done, description=self.line())


def print_warnings(lines: Iterable[str]) -> None:
    """A line on standard output for each thing that is not as it should be."""
    for line in lines:
        print(f"warning: {escape_controls(line)}")


def print_progress(line: str) -> None:
    """A line on standard error, at once: apart from a result on standard output."""
    print(line, file=sys.stderr, flush=True)


def format_amount(amount: float) -> str:
    """A number to read at a glance."""
    return f"{amount:,.0f}" if amount >= 10 or amount == round(amount) else f"{amount:.1f}"


def format_clock(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
