"""The checkpoint that a run branches off by --from, and the run that saved it."""

from dataclasses import replace
from pathlib import Path

from electra import fingerprints
from electra.config import load_config, read_config_file
from electra.engine import checkpoint
from electra.errors import UserError, convert_errors
from electra.run_folder import ENVIRONMENT
from electra.workflows.pretraining.config import PretrainConfig

RUN_CONFIG = "config.json"


def refuse_half(config: PretrainConfig) -> None:
    """Raise ``UserError`` for --from without --cool-down, and the other way round."""
    if config.from_ and not config.cool_down:
        raise UserError("--from: over how many steps is the learning rate to fall? Give --cool-down with it, as 0.1")
    if config.cool_down and not config.from_:
        raise UserError("--cool-down: from which checkpoint? Give --from runs/s1/checkpoints/step-N with it")


def find_run(folder: str) -> Path:
    """The run that saved the checkpoint in a folder. Raises ``UserError`` if there is none, or it lies in no run."""
    path = Path(folder).absolute()
    if not checkpoint.is_checkpoint(path):
        inside = [each.name for each in checkpoint.list_checkpoints(path / "checkpoints")[-3:]]
        others = f"; in its checkpoints/ are {', '.join(inside)}" if inside else ""
        raise UserError(f"--from {folder}: no checkpoint, as runs/s1/checkpoints/step-00010000 is one{others}")
    run = path.parent.parent
    if not (run / RUN_CONFIG).is_file():
        raise UserError(f"--from {folder}: not in the folder of its run, whose {RUN_CONFIG} says what it was asked")
    return run


def take_run_settings(folder: str) -> PretrainConfig:
    """The settings of the run that saved the checkpoint in ``folder``, without a place for the new one.

    Raises:
        UserError: as ``find_run``, or its settings are damaged.
    """
    return replace(load_config(PretrainConfig(), find_run(folder) / RUN_CONFIG), out="")


def fingerprint_checkpoint(folder: str) -> str:
    """A hash of the hashes of all files in a checkpoint. Raises ``UserError`` if it has none."""
    with convert_errors(f"--from {folder}", OSError):
        return fingerprints.hash_file(Path(folder) / checkpoint.CHECKSUMS)


def read_begun_weights(folder: str) -> str:
    """The fingerprint of the weights that the run of a checkpoint began with; empty if it began with fresh ones."""
    return str(read_config_file(find_run(folder) / ENVIRONMENT).get("init", ""))
