"""What a run tells: metrics.jsonl for machines, a progress bar for a person, the environment for whoever repeats it."""

import json
import platform
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from electra import __version__, files
from electra.errors import convert_errors, escape_controls
from electra.progress import Progress


@runtime_checkable
class Recorder(Protocol):
    """Where a run's figures go."""

    def record(self, figures: Mapping[str, object]) -> None: ...

    def progress(self, step: int, steps: int, figures: Mapping[str, float]) -> None: ...

    def end(self) -> None: ...


class SilentRecorder:
    """Tells nobody: for short runs inside other work, and for the processes that are not the first."""

    def record(self, figures: Mapping[str, object]) -> None:
        """Nothing."""

    def progress(self, step: int, steps: int, figures: Mapping[str, float]) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


VERDICT = "verdict"  # the split of a line that says what is wrong
Watch = Callable[[Sequence[Mapping[str, Any]]], Sequence[tuple[str, str]]]
WATCHED = 256  # lines: a bound on memory


class MetricsRecorder:
    """Appends to ``folder/metrics.jsonl`` and shows how far the run is. The folder is known to be ours."""

    def __init__(
        self,
        folder: Path,
        shown: Mapping[str, str],
        step: int = 0,
        about: str = "pre-training",
        watch: Watch = lambda lines: (),
    ):
        """``shown``: figure → label on the progress line, which begins with what it is ``about``.

        ``watch`` is shown the last lines after each, and gives what is wrong with the run as (kind, message), of which
        each kind is told and recorded once. Records after ``step``, where a run goes on, are cut off.
        """
        self.path, self.shown, self.first, self.about = folder / "metrics.jsonl", dict(shown), step, about
        files.make_folder(folder)
        files.remove_partial_files(folder)
        kept = [line for line in read_metrics(self.path) if line["step"] <= step]
        with files.write_whole(self.path) as file:
            file.write_text("".join(json.dumps(line) + "\n" for line in kept))
        self.bar: Progress | None = None
        self.watch, self.lines = watch, deque(kept, WATCHED)
        self.told = {line["kind"] for line in kept if line["split"] == VERDICT}

    def record(self, figures: Mapping[str, object]) -> None:
        """Append one line to metrics.jsonl, and one for each thing that is found to be wrong."""
        self.append(figures)
        if figures["split"] != "train":
            self.say(f"{figures['split']} at step {figures['step']:,}  {self.worded(figures)}")
        for kind, message in self.watch(list(self.lines)):
            if kind not in self.told:
                self.told.add(kind)
                self.append({"step": figures["step"], "split": VERDICT, "kind": kind, "message": message})
                self.say(f"warning: {message}")

    def append(self, figures: Mapping[str, object]) -> None:
        """Write a line, and keep it for a while."""
        self.lines.append(round_figures(figures))
        with self.path.open("a") as file:
            file.write(json.dumps(self.lines[-1]) + "\n")

    def say(self, text: str) -> None:
        """Tell whoever looks on."""
        print(escape_controls(text), file=sys.stderr, flush=True)

    def progress(self, step: int, steps: int, figures: Mapping[str, float]) -> None:
        """Show how far the run is, its figures and the time left."""
        self.bar = self.bar or Progress(self.about, steps, "steps", self.first)
        self.bar.update(step, self.worded(figures))

    def worded(self, figures: Mapping[str, Any]) -> str:
        """The figures that are shown, with their labels."""
        return "  ".join(
            f"{label} {figures[name]:{',.0f' if figures[name] >= 1000 else '.3f'}}"
            for name, label in self.shown.items()
            if name in figures
        )

    def end(self) -> None:
        """The run is over, or stops here."""
        if self.bar:
            self.bar.finish()


def read_metrics(path: Path) -> list[dict]:
    """The lines of a metrics.jsonl; a last line that a kill cut short is left out.

    Raises:
        UserError: a line that is no JSON.
    """
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    found = []
    for number, line in enumerate(lines, 1):
        if line.endswith("\n"):
            with convert_errors(f"{path}, line {number}: damaged; take the line out, and the run goes on", ValueError):
                found.append(json.loads(line))
    return found


def round_figures(figures: Mapping[str, object]) -> dict[str, object]:
    """Floats to seven digits, which is what float32 holds."""
    return {k: float(f"{v:.7g}") if isinstance(v, float) else v for k, v in figures.items()}


def describe_environment() -> dict[str, object]:
    """What the figures depend on besides config and data: versions, machine, threads."""
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
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
