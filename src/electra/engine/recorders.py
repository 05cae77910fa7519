"""Where else a run's figures may go, beside metrics.jsonl: TensorBoard, Weights & Biases.

Each gets the lines of metrics.jsonl as they are written there. A figure becomes ``train/NAME`` or ``held-out/NAME``.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal
from uuid import uuid4

from electra.engine.telemetry import VERDICT, Recorder, SilentRecorder, read_metrics
from electra.errors import UserError, summarize_error
from electra.extras import import_extra
from electra.progress import print_progress
from electra.run_folder import read_json, write_json

LogTarget = Literal["tensorboard", "wandb"]  # the name of the package, of its extra, and of its folder in the run's

NAMED = {"tensorboard": "TensorBoard", "wandb": "W&B"}
WANDB_ID = "wandb.json"  # the file of a run that says by which id W&B knows it
PROJECT = "electra"  # W&B's, where WANDB_PROJECT names no other


@dataclass(frozen=True)
class WandbId:
    """What ``wandb.json`` holds."""

    id: str


class TensorBoardRecorder(SilentRecorder):
    """Writes event files into ``folder/tensorboard``, for ``tensorboard --logdir``."""

    def __init__(self, folder: Path, step: int):
        """``step``: where the run goes on. Of later steps that were written before, TensorBoard shows nothing more."""
        from torch.utils.tensorboard import SummaryWriter

        self.writer: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if step else 0)

    def record(self, figures: Mapping[str, object]) -> None:
        """Write a line's numbers, or the message of a fault, through to the disk."""
        step = figures["step"]
        if figures["split"] == VERDICT:
            self.writer.add_text(f"{VERDICT}/{figures['kind']}", str(figures["message"]), step)
        for name, value in name_numbers(figures).items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def finish(self) -> None:
        """Close the file."""
        self.writer.close()


class WandbRecorder(SilentRecorder):
    """Logs to Weights & Biases, as the user's environment says (WANDB_MODE, WANDB_PROJECT, WANDB_API_KEY …)."""

    def __init__(self, folder: Path, name: str, config: Mapping[str, object]):
        """Begin a run of W&B, or go on with the one that this run began. ``name``: how W&B shows it, unless WANDB_NAME
        is set.

        Raises:
            UserError: as ``open_wandb``.
        """
        with open_wandb() as wandb:
            self.run: Any = wandb.init(
                dir=str(folder), id=find_wandb_id(folder), resume="allow", config=dict(config),
                project=os.environ.get("WANDB_PROJECT") or PROJECT, name=os.environ.get("WANDB_NAME") or name,
                reinit="create_new", settings=wandb.Settings(console="off"),
            )  # fmt: skip
        print_progress(f"W&B: {self.describe_place()}")

    def describe_place(self) -> str:
        """Where the figures go: an address, or a folder."""
        if self.run.disabled:
            return "disabled by WANDB_MODE, so nothing is kept there"
        return f"offline, in {self.run.settings.sync_dir}" if self.run.offline else str(self.run.url)

    def record(self, figures: Mapping[str, object]) -> None:
        """Log a line's numbers, or the message of a fault as an alert. Steps that W&B has already are left out: it
        takes none twice, and a run that goes on repeats them as they were."""
        if figures["split"] == VERDICT:
            self.run.alert(title=str(figures["kind"]), text=str(figures["message"]))
        elif figures["step"] >= self.run.step:
            self.run.log(name_numbers(figures), step=figures["step"])

    def finish(self) -> None:
        """Wait until all is sent, or on the disk."""
        self.run.finish()


def name_numbers(figures: Mapping[str, object]) -> dict[str, float]:
    """The numbers of a line of metrics.jsonl but the step, by their names behind that of the split."""
    return {
        f"{figures['split']}/{name}": value
        for name, value in figures.items()
        if isinstance(value, int | float) and name != "step"
    }


def find_wandb_id(folder: Path) -> str:
    """The id by which W&B knows the run in a folder; a new one, which is kept there, if it knows none.

    Raises:
        UserError: the file that it is kept in is damaged.
    """
    path = folder / WANDB_ID
    if not path.is_file():
        write_json(path, WandbId(uuid4().hex[:12]))
    return read_json(path, "remove it, and W&B begins another run", WandbId).id


@contextmanager
def open_wandb() -> Iterator[ModuleType]:
    """Import W&B's package, to do something that needs an account.

    Raises:
        UserError: it is not installed, has no account, or cannot be reached.
    """
    wandb = import_extra("wandb", "wandb", "--log wandb")
    wandb.setup(wandb.Settings(silent=True))  # it neither prints nor asks for an account on standard input
    try:
        yield wandb
    except wandb.Error as error:
        reason = summarize_error(error).rstrip(".")
        raise UserError(f"--log wandb: {reason}. WANDB_MODE=offline keeps the figures in the run's folder") from error


def check_recorders(log: Sequence[LogTarget]) -> None:
    """Raise ``UserError`` for a recorder that cannot start, before anything is written: its package is not installed,
    or W&B has no account or cannot be reached."""
    for target in log:
        import_extra(target, target, f"--log {target}")
        if target == "wandb":
            with open_wandb() as wandb:
                wandb.login()  # nothing, offline


def start_recorders(
    log: Sequence[LogTarget], folder: Path, step: int, name: str, config: Mapping[str, object]
) -> dict[str, Recorder]:
    """Start the recorders that ``log`` names, for a run in ``folder`` that goes on from ``step``; returns each by the
    name that a person knows it by. One that the run did not have before gets the lines that are there.

    ``name``, ``config``: of the run, for others to see, so without paths of this machine.

    Raises:
        UserError: a package is not installed, a folder cannot be written, or W&B cannot be reached.
    """
    recorders: dict[str, Recorder] = {}
    for target in dict.fromkeys(log):
        known = (folder / target).exists()
        try:
            import_extra(target, target, f"--log {target}")
            recorder = (
                TensorBoardRecorder(folder, step) if target == "tensorboard" else WandbRecorder(folder, name, config)
            )
            lines = [] if known or not step else read_metrics(folder / "metrics.jsonl")
            for line in (line for line in lines if line["step"] <= step):
                recorder.record(line)
        except OSError as error:
            raise UserError(f"--log {target}: {folder / target}: {summarize_error(error)}") from error
        recorders[NAMED[target]] = recorder
    return recorders
