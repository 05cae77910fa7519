"""What a run tells: metrics.jsonl for machines, a progress bar for a person, the environment for whoever repeats it."""

import json
import platform
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch


@runtime_checkable
class Recorder(Protocol):
    """Where a run's figures go."""

    def record(self, figures: Mapping[str, object]) -> None: ...

    def progress(self, step: int, steps: int, figures: Mapping[str, float]) -> None: ...


class Silent:
    """Tells nobody: for short runs inside other work, and for the processes that are not the first."""

    def record(self, figures: Mapping[str, object]) -> None:
        """Nothing."""

    def progress(self, step: int, steps: int, figures: Mapping[str, float]) -> None:
        """Nothing."""


class RunFolder:
    """Appends to ``folder/metrics.jsonl`` and shows a bar on a terminal, or a line now and then elsewhere."""

    def __init__(self, folder: Path, shown: Mapping[str, str], step: int = 0, every_seconds: float = 15.0):
        """``shown``: figure → label on the progress line. Records after ``step``, where a run goes on, are cut off."""
        self.path, self.shown, self.every_seconds = folder / "metrics.jsonl", dict(shown), every_seconds
        folder.mkdir(parents=True, exist_ok=True)
        kept = [line for line in read_metrics(self.path) if line["step"] <= step]
        temporary = self.path.with_suffix(".partial")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))
        temporary.replace(self.path)
        self.started, self.first_step, self.last_line, self.bar = time.monotonic(), step, 0.0, None

    def record(self, figures: Mapping[str, object]) -> None:
        """Append one line to metrics.jsonl."""
        with self.path.open("a") as file:
            file.write(json.dumps(rounded(figures)) + "\n")

    def progress(self, step: int, steps: int, figures: Mapping[str, float]) -> None:
        """Show how far the run is, its figures and the time left."""
        words = "  ".join(
            f"{label} {figures[name]:{'.0f' if figures[name] >= 1000 else '.3f'}}"
            for name, label in self.shown.items()
            if name in figures
        )
        if sys.stderr.isatty():
            self.draw(step, steps, words)
        elif step == steps or time.monotonic() - self.last_line > self.every_seconds:
            self.last_line = time.monotonic()
            left = (time.monotonic() - self.started) / max(step - self.first_step, 1) * (steps - step)
            print(f"step {step:,}/{steps:,}  {words}  {clock(left)} left", file=sys.stderr, flush=True)

    def draw(self, step: int, steps: int, words: str) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        if self.bar is None:
            columns = (
                TextColumn("pre-training" if steps else ""),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[words]}"),
            )
            self.bar = Progress(*columns, refresh_per_second=4)
            self.bar.start()
            self.bar.add_task("", total=steps, completed=step, words=words)
        self.bar.update(self.bar.task_ids[0], completed=step, words=words)
        if step == steps:
            self.bar.stop()


def read_metrics(path: Path) -> list[dict]:
    """The lines of a metrics.jsonl; a last line that a kill cut short is left out."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def rounded(figures: Mapping[str, object]) -> dict[str, object]:
    """Floats to seven digits, which is what float32 holds; an undefined figure (NaN) is left out."""
    return {k: float(f"{v:.7g}") if isinstance(v, float) else v for k, v in figures.items() if v == v}


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


def environment() -> dict[str, object]:
    """What the figures depend on besides config and data: versions, machine, threads."""
    packages = ("electra", "torch", "numpy", "transformers", "tokenizers", "safetensors")
    return {
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "machine": platform.machine(),
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def processor() -> str:
    """The processor's name and the instruction set that torch uses on it."""
    names = [line.split(":", 1)[1].strip() for line in cpu_lines() if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()} ({torch.backends.cpu.get_cpu_capability()})"


def cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
