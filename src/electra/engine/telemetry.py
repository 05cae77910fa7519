"""The records of a run: figures in metrics.jsonl, progress on standard error, the environment that it ran in."""

import json
import os
import platform
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from electra import __version__, files
from electra.errors import UserError, convert_errors, escape_controls, summarize_error
from electra.progress import Progress, print_progress

VERDICT = "verdict"  # the split of a line that says what is wrong
# What of a line is no figure, but where figures were taken.
UNMEASURED = ("step", "steps", "phase", "phases", "epoch", "tokens", "flops", "seconds", "split")
WATCHED_LINES = 256  # a bound on memory

MetricsLine = dict[str, Any]  # JSON: step, split, and figures by name
Watch = Callable[[Sequence[MetricsLine]], Sequence[tuple[str, str]]]  # the last lines → (kind, message) of each fault


@runtime_checkable
class Recorder(Protocol):
    """Where a run's figures go."""

    def record(self, figures: Mapping[str, object]) -> None:
        """Keep the figures of a step: its number, its split, and values by name."""

    def show_progress(self, step: int, steps: int, figures: Mapping[str, float]) -> None:
        """Show how many of all ``steps`` are done, with the figures of the last one."""

    def finish(self) -> None:
        """Called when the run ends or stops."""


class SilentRecorder:
    """Records nothing: for short runs inside other work, and for the processes that are not the first."""

    def record(self, figures: Mapping[str, object]) -> None:
        """Nothing."""

    def show_progress(self, step: int, steps: int, figures: Mapping[str, float]) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Nothing."""


class MetricsRecorder:
    """Appends lines to ``folder/metrics.jsonl`` and shows the progress. The folder must be known to be ours."""

    def __init__(
        self,
        folder: Path,
        shown: Mapping[str, str],
        step: int = 0,
        label: str = "pre-training",
        watch: Watch = lambda lines: (),
        others: Mapping[str, Recorder] | None = None,
    ):
        """``shown``: figure → its label on the progress line, which begins with ``label``.

        ``step``: where the run goes on; lines of later steps are removed, and at 0 all. ``watch`` gets the last lines
        after each new one, and returns what is wrong with the run; each kind of fault is printed and recorded once.
        ``others``, by name, get each line too; one that fails is told of and gets no more.
        """
        self.path, self.shown, self.first_step, self.label = folder / "metrics.jsonl", dict(shown), step, label
        files.make_folder(folder)
        kept = [line for line in read_metrics(self.path) if step and line["step"] <= step]
        with files.write_whole(self.path) as file:
            file.write_text("".join(json.dumps(line) + "\n" for line in kept))
        self.bar: Progress | None = None
        self.others = dict(others or {})
        self.watch, self.lines = watch, deque(kept, WATCHED_LINES)
        self.known_faults = {line.get("kind") for line in kept if line["split"] == VERDICT}

    def record(self, figures: Mapping[str, object]) -> None:
        """Append a line to metrics.jsonl, and one for each new fault; figures of held-out text are printed."""
        self.append_line(figures)
        if figures["split"] != "train":
            print_progress(f"{figures['split']} at step {figures['step']:,}  {self.format_shown(figures)}")
        for kind, message in self.watch(list(self.lines)):
            if kind not in self.known_faults:
                self.known_faults.add(kind)
                self.append_line({"step": figures["step"], "split": VERDICT, "kind": kind, "message": message})
                print_progress(f"warning: {escape_controls(message)}")

    def append_line(self, figures: Mapping[str, object]) -> None:
        """Write a line, keep it for ``watch``, and hand it to the others."""
        self.lines.append(line := round_figures(figures))
        with convert_errors(str(self.path), OSError), self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self.call_others(lambda other: other.record(line))

    def call_others(self, call: Callable[[Recorder], None]) -> None:
        """Have each of the others do something. What fails there, in packages of others, is no reason to stop a run."""
        for name, other in list(self.others.items()):
            try:
                call(other)
            except Exception as error:
                del self.others[name]
                print_progress(
                    f"warning: {name} gets no more figures of this run, which goes on: {summarize_error(error)}"
                )

    def show_progress(self, step: int, steps: int, figures: Mapping[str, float]) -> None:
        """Show how far the run is, its figures and the time left."""
        self.bar = self.bar or Progress(self.label, steps, "steps", self.first_step)
        self.bar.update(step, self.format_shown(figures))

    def format_shown(self, figures: Mapping[str, Any]) -> str:
        """The figures that are shown, with their labels."""
        return "  ".join(
            f"{label} {figures[name]:{',.0f' if figures[name] >= 1000 else '.3f'}}"
            for name, label in self.shown.items()
            if name in figures
        )

    def finish(self) -> None:
        """Show the last state of the progress, and let the others end."""
        if self.bar:
            self.bar.finish()
        self.call_others(lambda other: other.finish())


class MetricsReader:
    """Reads a metrics.jsonl as it grows. ``damages``: what is wrong with the lines that it left out."""

    def __init__(self, path: Path):
        self.path = path
        self.forget()

    def forget(self) -> None:
        """Begin anew with the first line."""
        self.inode, self.offset, self.number = 0, 0, 0
        self.damages: list[str] = []
        self.is_cut = False  # the last line has no end: it is being written, or a kill cut it short

    def read_on(self) -> tuple[list[MetricsLine], bool]:
        """The lines that have come since the last time, and whether these are all of a file that was written anew.

        Raises:
            UserError: the file cannot be read.
        """
        with convert_errors(str(self.path), OSError):
            try:
                with self.path.open("rb") as file:
                    inode, size = os.fstat(file.fileno()).st_ino, os.fstat(file.fileno()).st_size
                    anew = inode != self.inode or size < self.offset
                    if anew:
                        self.forget()
                    file.seek(self.offset)
                    *complete, rest = file.read().split(b"\n")
            except FileNotFoundError:
                anew = bool(self.inode)
                self.forget()
                return [], anew
        self.inode, self.offset = inode, self.offset + sum(len(line) + 1 for line in complete)
        self.is_cut = bool(rest)
        lines = list(map(self.parse_line, complete))
        return [line for line in lines if line], anew

    def parse_line(self, text: bytes) -> MetricsLine:
        """The next line; of one that is damaged nothing, but then it is among ``damages``."""
        self.number += 1
        try:
            line = json.loads(text.decode())
            if is_metrics_line(line):
                return line
            damage = "no figures of a step and its split"
        except (ValueError, RecursionError) as error:
            damage = summarize_error(error)
        self.damages.append(
            f"{self.path}, line {self.number}: damaged; take the line out, and the run goes on: {damage}"
        )
        return {}


def read_metrics(path: Path) -> list[MetricsLine]:
    """The lines of a metrics.jsonl; empty if there is none. A last line that a kill cut short is left out.

    Raises:
        UserError: the file cannot be read, or a line is no JSON object with a step and a split.
    """
    reader = MetricsReader(path)
    lines, _ = reader.read_on()
    if reader.damages:
        raise UserError(reader.damages[0])
    return lines


def is_metrics_line(value: object) -> bool:
    """Whether a value that JSON gave is what ``MetricsRecorder`` writes: figures with a step and a split."""
    return isinstance(value, dict) and isinstance(value.get("step"), int) and isinstance(value.get("split"), str)


def round_figures(figures: Mapping[str, object]) -> dict[str, object]:
    """The figures with floats rounded to seven digits, which is what float32 holds."""
    return {k: float(f"{v:.7g}") if isinstance(v, float) else v for k, v in figures.items()}


def describe_environment() -> dict[str, object]:
    """What a run's figures depend on besides its config and data: versions, machine, threads."""
    packages = ("torch", "numpy", "transformers", "tokenizers", "safetensors")
    return {
        "python": platform.python_version(),
        "packages": {"electra": __version__} | {name: version(name) for name in packages},
        "machine": platform.machine(),
        "processor": processor_name(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def describe_start() -> dict[str, object]:
    """The environment of a run that starts now, with the time in UTC and the commit of our source."""
    return describe_environment() | {"commit": read_commit(), "time": datetime.now(UTC).isoformat(timespec="seconds")}


def read_commit() -> str | None:
    """The commit that our source is checked out at; None if it was installed without its history."""
    checkout = Path(__file__).parents[3]
    if not (checkout / ".git").exists():
        return None
    try:
        git = subprocess.run(["git", "-C", str(checkout), "rev-parse", "HEAD"], capture_output=True, text=True)
    except OSError:  # no git here
        return None
    return git.stdout.strip() or None


def processor_name() -> str:
    """The processor's name and the instruction set that torch uses on it."""
    names = [line.split(":", 1)[1].strip() for line in read_cpu_info() if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()} ({torch.backends.cpu.get_cpu_capability()})"


def read_cpu_info() -> list[str]:
    """The lines of ``/proc/cpuinfo``; empty if there is none."""
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
