"""The records of a run: figures in metrics.jsonl, progress on standard error, the environment that it ran in."""

import json
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
from electra.errors import UserError, convert_errors, escape_controls
from electra.progress import Progress, print_progress

VERDICT = "verdict"  # the split of a line that says what is wrong
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
    ):
        """``shown``: figure → its label on the progress line, which begins with ``label``.

        ``step``: where the run goes on; lines of later steps are removed, and at 0 all. ``watch`` gets the last lines
        after each new one, and returns what is wrong with the run; each kind of fault is printed and recorded once.
        """
        self.path, self.shown, self.first_step, self.label = folder / "metrics.jsonl", dict(shown), step, label
        files.make_folder(folder)
        kept = [line for line in read_metrics(self.path) if step and line["step"] <= step]
        with files.write_whole(self.path) as file:
            file.write_text("".join(json.dumps(line) + "\n" for line in kept))
        self.bar: Progress | None = None
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
        """Write a line, and keep it for ``watch``."""
        self.lines.append(round_figures(figures))
        with convert_errors(str(self.path), OSError), self.path.open("a") as file:
            file.write(json.dumps(self.lines[-1]) + "\n")

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
        """Show the last state of the progress."""
        if self.bar:
            self.bar.finish()


def read_metrics(path: Path) -> list[MetricsLine]:
    """The lines of a metrics.jsonl; empty if there is none. A last line that a kill cut short is left out.

    Raises:
        UserError: the file cannot be read, or a line is no JSON object with a step and a split.
    """
    with convert_errors(str(path), OSError, ValueError):
        text = path.read_text(encoding="utf-8") if path.exists() else ""
    lines: list[MetricsLine] = []
    for number, line in enumerate(text.split("\n")[:-1], 1):
        where = f"{path}, line {number}: damaged; take the line out, and the run goes on"
        with convert_errors(where, ValueError, RecursionError):
            lines.append(json.loads(line))
        if not is_metrics_line(lines[-1]):
            raise UserError(f"{where}: no figures of a step and its split")
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
