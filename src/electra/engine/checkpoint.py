"""Checkpoints: a folder that is either whole or absent. Safetensors and JSON; nothing is unpickled."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from electra.errors import UserError

PATTERN = "step-*"


def write_whole(folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], values: Mapping[str, object]) -> None:
    """Write ``name.safetensors`` and ``name.json`` files into ``folder``, which appears only when all are on disk.

    Raises:
        UserError: if the disk is full or the folder cannot be written; what was there before is untouched.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, group in tensors.items():
            save_file(
                {key: value.detach().cpu().contiguous() for key, value in group.items()},
                partial / f"{name}.safetensors",
            )
        for name, value in values.items():
            (partial / f"{name}.json").write_text(json.dumps(value, indent=1))
        for path in partial.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise UserError(f"{folder}: cannot write the checkpoint: {error}; earlier ones are untouched") from error


def save(
    folder: Path, step: int, model: Mapping[str, Tensor], optimizer: Mapping[str, Tensor], state: object, keep: int
) -> None:
    """Write ``folder/step-N`` and remove all but the last ``keep`` checkpoints."""
    write_whole(folder / f"step-{step:08d}", {"model": model, "optimizer": optimizer}, {"state": state})
    for old in sorted(folder.glob(PATTERN))[:-keep]:
        shutil.rmtree(old)


def latest(folder: Path) -> Path | None:
    """The newest checkpoint in ``folder``, or None."""
    return max(folder.glob(PATTERN), default=None)


def step_of(checkpoint: Path) -> int:
    """The step that a checkpoint was written after."""
    return int(checkpoint.name.removeprefix("step-"))


def load(checkpoint: Path) -> tuple[dict[str, Tensor], dict[str, Tensor], dict]:
    """The model's tensors, the optimizer's and the state of a checkpoint.

    Raises:
        UserError: if a file is missing or damaged; it says which earlier checkpoint to go back to.
    """
    try:
        model = load_file(checkpoint / "model.safetensors")
        optimizer = load_file(checkpoint / "optimizer.safetensors")
        return model, optimizer, json.loads((checkpoint / "state.json").read_text())
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise UserError(
            f"{checkpoint}: damaged checkpoint ({error}); remove this folder to go on from the one before"
        ) from error
