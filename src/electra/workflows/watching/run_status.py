"""Where a run is and whether it is alive, read from its folder. Nothing in it is changed."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from electra.engine import checkpoint
from electra.engine.stages import State
from electra.engine.telemetry import UNMEASURED, VERDICT, MetricsLine, MetricsReader
from electra.errors import UserError
from electra.folder_owner import Owner, find_owner
from electra.run_folder import ENVIRONMENT, FINAL, FINETUNING_RUN, RESULT, STARTS, read_json
from electra.strict_json import require_shape

SPEED_LINES = 9  # the last logged ones, over which the speed is measured

Figures = dict[str, dict[str, float]]  # split → name → value
RunState = Literal["running", "elsewhere", "finished", "stopped", "broken off", "killed", "begun"]
ALIVE = ("running", "elsewhere")  # or perhaps alive


@dataclass
class RunStatus:
    """A run as it is now. What is not known is None.

    ``state``: running (its process lives), elsewhere (another machine holds it), finished, stopped (by a signal, with a
    checkpoint), broken off (by an error), killed, or begun (nothing is trained, and nobody is at it). ``process``: who
    holds it, ``host`` and ``since`` where a process does or was killed. ``figures``: split → name → the last value.
    ``checkpoint``: the step of the last one. Times are in UTC.
    """

    run: str
    holds: str
    state: RunState = "begun"
    note: str = ""
    process: int | None = None
    host: str | None = None
    since: str | None = None
    step: int = 0
    steps: int | None = None
    stage: int | None = None
    stages: int | None = None
    tokens: int | None = None
    tokens_per_second: float | None = None
    seconds_left: float | None = None
    figures: Figures = field(default_factory=dict)
    health: list[dict[str, Any]] = field(default_factory=list)  # step, kind and message of each fault
    last_line: str | None = None
    checkpoint: int | None = None
    checkpoint_time: str | None = None
    starts: int | None = None
    damages: list[str] = field(default_factory=list)


class RunReader:
    """Reads a run's folder again and again; of metrics.jsonl only the lines that are new."""

    def __init__(self, folder: Path, kind: str):
        self.folder, self.kind = folder, kind
        self.metrics = MetricsReader(folder / "metrics.jsonl")
        self.forget()

    def forget(self) -> None:
        """Forget all lines."""
        self.logged: deque[MetricsLine] = deque(maxlen=SPEED_LINES)
        self.last: dict[str, MetricsLine] = {}  # split → its last line
        self.faults: list[MetricsLine] = []

    def read(self) -> RunStatus:
        """The run as it is now; what cannot be read is among its ``damages``."""
        status = RunStatus(str(self.folder), self.kind)
        parts = self.take_lines, self.take_checkpoint, self.take_result, self.take_starts, self.take_owner
        for take in (*parts, self.take_speed):
            try:
                take(status)
            except UserError as error:
                status.damages.append(str(error))
        return status

    def take_lines(self, status: RunStatus) -> None:
        """What the lines of metrics.jsonl say."""
        lines, anew = self.metrics.read_on()
        if anew:
            self.forget()
        for line in lines:
            if line["split"] == VERDICT:
                self.faults.append(line)
            else:
                self.last[line["split"]] = line
            if line["split"] == "train":
                self.logged.append(line)
        status.damages += self.metrics.damages
        status.health = [{name: line.get(name) for name in ("step", "kind", "message")} for line in self.faults]
        status.figures = {split: pick_figures(line) for split, line in self.last.items()}
        if self.last:
            last = max(self.last.values(), key=lambda line: line["step"])
            status.step, status.steps = last["step"], last.get("steps")
            status.tokens, status.stages = last.get("tokens"), last.get("phases")
            status.stage = min(last["phase"] + 1, status.stages) if status.stages else None
            status.last_line = format_time(self.metrics.path)

    def take_checkpoint(self, status: RunStatus) -> None:
        """Which checkpoint is the last, and what it says where the lines say less."""
        latest = checkpoint.latest_checkpoint(self.folder / "checkpoints")
        if not latest:
            return
        status.checkpoint, status.checkpoint_time = checkpoint.step_of_checkpoint(latest), format_time(latest)
        where = f"{latest}: damaged checkpoint: state.json"
        state = require_shape(read_json(latest / "state.json", checkpoint.describe_remedy(latest)), State, where)
        if not self.last or state.step > status.step:
            status.step, status.tokens = state.step, state.tokens
        if status.steps is None:
            status.steps = state.steps

    def take_result(self, status: RunStatus) -> None:
        """Whether the run has made what it was to make."""
        if self.kind == FINETUNING_RUN:
            path = self.folder / RESULT
            if path.is_file():
                status.state = "finished"
                status.figures |= read_json(path, "remove the folder to run it again", Figures)
        elif (self.folder / FINAL).is_dir() and status.step >= (status.steps or 0):
            status.state = "finished"

    def take_starts(self, status: RunStatus) -> None:
        """How often the run was started."""
        path = self.folder / ENVIRONMENT
        if path.is_file():
            again = read_json(path, "its starts are not known").get(STARTS, [])
            status.starts = 1 + len(require_shape(again, list, f"{path}: damaged: {STARTS}"))

    def take_owner(self, status: RunStatus) -> None:
        """Who works in the folder; and if nobody does, how the run ended."""
        owner = find_owner(self.folder)
        if owner:
            status.process, status.host, status.since = owner.number or None, owner.host, owner.since
            status.state = "running" if owner.works else "elsewhere" if owner.works is None else "killed"
        elif status.state != "finished" and (self.last or status.checkpoint):
            status.state = "stopped" if (status.checkpoint or 0) >= status.step else "broken off"
        status.note = describe_state(status, owner)
        if self.metrics.is_cut and status.state not in ALIVE:
            status.damages.append(f"{self.metrics.path}: the last line was cut short; the run goes on without it")
        if status.state not in (*ALIVE, "finished"):
            dumps = sorted(path.name for path in self.folder.glob("not-finite-step-*") if path.is_dir())
            status.note += f"; a gradient was not finite: {dumps[-1]}" if dumps else ""

    def take_speed(self, status: RunStatus) -> None:
        """How fast the run is, or was, and how long what is left takes at that speed."""
        steps_per_second, status.tokens_per_second = measure_speed(self.logged)
        done = status.step if status.state in ALIVE else status.checkpoint or 0
        if status.state != "finished" and status.steps and steps_per_second:
            status.seconds_left = (status.steps - done) / steps_per_second


def describe_state(status: RunStatus, owner: Owner | None) -> str:
    """What a person may want to know of a run's state, in one line; empty where the word says all."""
    on = f"goes on from step {status.checkpoint:,}" if status.checkpoint else "begins anew"
    if status.steps and status.checkpoint == status.steps:
        on = "writes what is missing: all steps are done"
    match status.state:
        case "elsewhere" if owner:
            return f"held by {owner.host} since {owner.since}, cannot be seen from here"
        case "killed" if owner:
            return f"process {owner.number}, at work since {owner.since}, was killed; the same command {on}"
        case "stopped":
            return f"the same command {on}"
        case "broken off":
            return f"ended after step {status.step:,} by an error or a second Ctrl-C; the same command {on}"
        case "begun":
            return "nobody works there, and there are neither figures nor a checkpoint"
        case "running" if not status.last_line:
            return "no figures yet"
    return ""


def pick_figures(line: MetricsLine) -> dict[str, float]:
    """What was measured, of a line: its numbers but those that say where it was."""
    return {n: value for n, value in line.items() if isinstance(value, int | float) and n not in UNMEASURED}


def measure_speed(lines: Sequence[MetricsLine]) -> tuple[float | None, float | None]:
    """Steps and tokens a second over the last logged lines, of the last one's stage if there are two: the first of a
    run holds what was compiled. None if nothing is known."""
    if not lines:
        return None, None
    stage = [line for line in lines if line.get("phase") == lines[-1].get("phase")]
    window = stage if len(stage) > 1 else list(lines)
    first, last = window[0] if len(window) > 1 else {}, window[-1]
    steps, tokens, seconds = (last.get(name, 0) - first.get(name, 0) for name in ("step", "tokens", "seconds"))
    return (steps / seconds, tokens / seconds) if seconds > 0 else (None, None)


def format_time(path: Path) -> str | None:
    """When a file was last written, in UTC; None if it is gone."""
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
    except FileNotFoundError:
        return None
