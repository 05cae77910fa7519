"""Checkpoints: a folder that is either whole or absent. Safetensors and JSON; nothing is unpickled.

One of ours is ``step-`` and eight digits or more, a folder and no link to one, with our ``state.json`` in it or our
``electra.json``. Whatever else lies beside them is not counted and not touched.
"""

import itertools
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from electra import files
from electra.errors import UserError

NAME = re.compile(r"step-(\d{8,})")
KIND = "checkpoint"
WRITTEN = ("model.safetensors", "optimizer.safetensors", "state.json")


def write_whole(folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], values: Mapping[str, object]) -> None:
    """Write ``name.safetensors`` and ``name.json`` files into ``folder``, which appears only when all are on disk.

    Raises:
        UserError: if the disk is full or the folder cannot be written, or one of that name is not ours; what was there
            before is untouched.
    """
    try:
        with files.whole_folder(folder, KIND) as partial:
            for name, group in tensors.items():
                save_file(
                    {key: value.detach().cpu().contiguous() for key, value in group.items()},
                    partial / f"{name}.safetensors",
                )
            for name, value in values.items():
                (partial / f"{name}.json").write_text(json.dumps(value, indent=1))
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder}: cannot write the checkpoint: {error}; earlier ones are untouched") from error


def save(
    folder: Path, step: int, model: Mapping[str, Tensor], optimizer: Mapping[str, Tensor], state: object, keep: int
) -> None:
    """Write ``folder/step-N`` and remove all but the last ``keep`` checkpoints; with 0 none is removed."""
    files.sweep(folder, "step-*")
    write_whole(place(folder, step), {"model": model, "optimizer": optimizer}, {"state": state})
    for old in found(folder)[:-keep] if keep else []:
        remove(old)


def place(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step goes: where the name is taken by what is not ours, it has one more zero."""
    names = (folder / f"step-{step:0{width}d}" for width in itertools.count(8))
    return next(path for path in names if not os.path.lexists(path) or files.holds(path) == KIND)


def found(folder: Path) -> list[Path]:
    """The checkpoints in ``folder``, the oldest first."""
    inside = folder.iterdir() if folder.is_dir() else ()
    return sorted(filter(is_checkpoint, inside), key=lambda path: (step_of(path), path.name))


def is_checkpoint(path: Path) -> bool:
    """Whether this is one of ours, be it damaged."""
    if not NAME.fullmatch(path.name) or path.is_symlink() or not path.is_dir():
        return False
    if files.holds(path) == KIND:
        return True
    try:  # of version 0.1, which wrote no ``electra.json``
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        return True
    return isinstance(state, dict) and state.get("step") == step_of(path)


def remove(checkpoint: Path) -> None:
    """Remove the files that were written with a checkpoint, and its folder if it holds nothing else."""
    if files.holds(checkpoint) == KIND:
        files.remove_whole(checkpoint, KIND)
    else:
        files.remove(checkpoint, WRITTEN)


def clear(folder: Path) -> None:
    """Remove all checkpoints in ``folder``, and the folder if it holds nothing else."""
    files.sweep(folder, "step-*")
    for checkpoint in found(folder):
        remove(checkpoint)
    with suppress(OSError):
        folder.rmdir()


def latest(folder: Path) -> Path | None:
    """The newest checkpoint in ``folder``, or None."""
    return next(reversed(found(folder)), None)


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
