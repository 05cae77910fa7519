"""Checkpoints: folders that are either whole or absent. Safetensors and JSON; nothing is unpickled.

A checkpoint of ours is a folder, not a link, called ``step-`` and eight digits or more, with our ``electra.json`` or
``state.json`` in it. Whatever else lies beside the checkpoints is neither counted nor touched.
"""

import itertools
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from electra import files
from electra.errors import UserError

CHECKPOINT_NAME = re.compile(r"step-(\d{8,})")
CHECKPOINT = "checkpoint"  # what the folder says that it holds
CHECKPOINT_FILES = ("model.safetensors", "optimizer.safetensors", "state.json")


def write_tensor_folder(
    folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], values: Mapping[str, object]
) -> None:
    """Write ``name.safetensors`` and ``name.json`` files into ``folder``, which appears only when all are on disk.

    Raises:
        UserError: the disk is full, the folder cannot be written, or a folder of that name is not ours. What was there
            before is untouched.
    """
    try:
        with files.write_whole_folder(folder, CHECKPOINT) as partial:
            for name, group in tensors.items():
                save_file(
                    {key: value.detach().cpu().contiguous() for key, value in group.items()},
                    partial / f"{name}.safetensors",
                )
            for name, value in values.items():
                (partial / f"{name}.json").write_text(json.dumps(value, indent=1))
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder}: cannot write the checkpoint: {error}; earlier ones are untouched") from error


def save_checkpoint(
    folder: Path, step: int, model: Mapping[str, Tensor], optimizer: Mapping[str, Tensor], state: object, keep: int
) -> None:
    """Write ``folder/step-N``, then remove all but the last ``keep`` checkpoints (0: none).

    Raises:
        UserError: as ``write_tensor_folder``.
    """
    files.remove_partial_folders(folder, "step-*")
    write_tensor_folder(checkpoint_path(folder, step), {"model": model, "optimizer": optimizer}, {"state": state})
    for old in list_checkpoints(folder)[:-keep] if keep else []:
        remove_checkpoint(old)


def checkpoint_path(folder: Path, step: int) -> Path:
    """The folder for a step's checkpoint: ``step-N``, with one more zero where something else has that name."""
    names = (folder / f"step-{step:0{width}d}" for width in itertools.count(8))
    return next(path for path in names if not os.path.lexists(path) or files.read_kind(path) == CHECKPOINT)


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in ``folder``, the oldest first."""
    paths = folder.iterdir() if folder.is_dir() else ()
    return sorted(filter(is_checkpoint, paths), key=lambda path: (step_of_checkpoint(path), path.name))


def is_checkpoint(path: Path) -> bool:
    """Whether this is a checkpoint of ours, damaged or not."""
    if not CHECKPOINT_NAME.fullmatch(path.name) or path.is_symlink() or not path.is_dir():
        return False
    if files.read_kind(path) == CHECKPOINT:
        return True
    try:  # of version 0.1, which wrote no ``electra.json``
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        return True
    return isinstance(state, dict) and state.get("step") == step_of_checkpoint(path)


def remove_checkpoint(checkpoint: Path) -> None:
    """Remove the files that were written with a checkpoint, and its folder if it holds nothing else."""
    if files.read_kind(checkpoint) == CHECKPOINT:
        files.remove_folder(checkpoint, CHECKPOINT)
    else:
        files.remove_files(checkpoint, CHECKPOINT_FILES)


def remove_checkpoints(folder: Path) -> None:
    """Remove all checkpoints in ``folder``, and the folder if it holds nothing else."""
    files.remove_partial_folders(folder, "step-*")
    for checkpoint in list_checkpoints(folder):
        remove_checkpoint(checkpoint)
    files.remove_if_empty(folder)


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint in ``folder``, or None."""
    return next(reversed(list_checkpoints(folder)), None)


def step_of_checkpoint(checkpoint: Path) -> int:
    """The step after which a checkpoint was written, by its name."""
    return int(checkpoint.name.removeprefix("step-"))


def load_checkpoint(checkpoint: Path) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
    """The model's tensors, the optimizer's tensors and the state in a checkpoint.

    Raises:
        UserError: a file is missing or damaged.
    """
    try:
        model = load_file(checkpoint / "model.safetensors")
        optimizer = load_file(checkpoint / "optimizer.safetensors")
        return model, optimizer, json.loads((checkpoint / "state.json").read_text())
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise UserError(
            f"{checkpoint}: damaged checkpoint ({error}); remove this folder to go on from the one before"
        ) from error
