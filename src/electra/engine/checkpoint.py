"""Checkpoints: folders that are either whole or absent. Safetensors and JSON; nothing is unpickled.

A checkpoint of ours is a folder, not a link, called ``step-`` and eight digits or more, with our ``electra.json`` or
``state.json`` in it. Whatever else lies beside the checkpoints is neither counted nor touched.

``checksums.json``, the last file that is written into one, has the hash of every other. They are compared before
anything in a checkpoint is used.
"""

import itertools
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from electra import files, fingerprints
from electra.errors import UserError, summarize_error
from electra.run_folder import read_json

CHECKPOINT_NAME = re.compile(r"step-(\d{8,})")
CHECKPOINT = "checkpoint"  # what the folder says that it holds
CHECKPOINT_FILES = ("model.safetensors", "optimizer.safetensors", "state.json")
CHECKSUMS = "checksums.json"


@dataclass(frozen=True)
class Keeping:
    """Which checkpoints stay: the ``last`` so many (0: all), those of every ``every``-th step (0: no more), and that of
    step ``best`` (0: there is none)."""

    last: int
    every: int = 0
    best: int = 0

    def choose_old(self, checkpoints: list[Path]) -> list[Path]:
        """Those of a run's checkpoints, the oldest first, that need not stay."""
        steps = {path: step_of_checkpoint(path) for path in (checkpoints[: -self.last] if self.last else [])}
        return [
            path for path, step in steps.items() if step != self.best and not (self.every and step % self.every == 0)
        ]


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
            written = sorted(files.list_files(partial) - {files.MARKER})
            checksums = {name: fingerprints.hash_file(partial / name) for name in written}
            (partial / CHECKSUMS).write_text(json.dumps(checksums, indent=1))
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{folder}: cannot write the checkpoint: {summarize_error(error)}; earlier ones are untouched"
        ) from error


def save_checkpoint(
    folder: Path, step: int, model: Mapping[str, Tensor], optimizer: Mapping[str, Tensor], state: object, keep: Keeping
) -> None:
    """Write ``folder/step-N``, then remove the checkpoints that need not stay.

    Raises:
        UserError: as ``write_tensor_folder``.
    """
    files.remove_partial_folders(folder, "step-*")
    write_tensor_folder(checkpoint_path(folder, step), {"model": model, "optimizer": optimizer}, {"state": state})
    remove_old_checkpoints(folder, keep)


def remove_old_checkpoints(folder: Path, keep: Keeping) -> None:
    """Remove the checkpoints that need not stay, and what is left of one whose removal failed."""
    for old in keep.choose_old(list_checkpoints(folder)):
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
    except (OSError, ValueError, RecursionError):
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
    verify_checksums(checkpoint)
    try:
        model = load_file(checkpoint / "model.safetensors")
        optimizer = load_file(checkpoint / "optimizer.safetensors")
    except (OSError, SafetensorError) as error:
        raise damage_error(checkpoint, summarize_error(error)) from error
    return model, optimizer, read_json(checkpoint / "state.json", describe_remedy(checkpoint))


def read_shapes(checkpoint: Path) -> dict[str, list[int]]:
    """The shape of each of the model's tensors in a checkpoint. Raises ``UserError`` if they cannot be read."""
    try:
        with safe_open(checkpoint / "model.safetensors", "pt") as tensors:
            return {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise damage_error(checkpoint, summarize_error(error)) from error


def verify_checksums(checkpoint: Path) -> None:
    """Compare all files of a checkpoint with their hashes. Raises ``UserError`` for one that is missing or damaged."""
    path = checkpoint / CHECKSUMS
    if not path.is_file():
        raise damage_error(checkpoint, f"no {CHECKSUMS}, without which nothing in it can be verified")
    checksums = read_json(path, describe_remedy(checkpoint), dict[str, str])
    for name in sorted({*CHECKPOINT_FILES, *checksums}):
        try:
            damaged = fingerprints.hash_file(checkpoint / name) != checksums.get(name)
        except OSError as error:
            raise damage_error(checkpoint, f"{name}: {summarize_error(error)}") from error
        if damaged:
            raise damage_error(checkpoint, f"{name} is not as it was written")


def damage_error(checkpoint: Path, damage: str) -> UserError:
    """The error for a checkpoint that cannot be gone on from."""
    return UserError(f"{checkpoint}: damaged checkpoint: {damage}; {describe_remedy(checkpoint)}")


def describe_remedy(checkpoint: Path) -> str:
    """What a person can do about a damaged checkpoint."""
    others = [path for path in list_checkpoints(checkpoint.parent) if path.name != checkpoint.name]
    return f"remove this folder to {'go on from the one before' if others else 'begin anew'}"


def require_same_tensors(checkpoint: Path, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raises ``UserError`` unless a checkpoint's tensors have the names, shapes and number types of the model's."""
    if found.keys() != expected.keys():
        missing, unknown = sorted(expected.keys() - found.keys())[:5], sorted(found.keys() - expected.keys())[:5]
        raise damage_error(checkpoint, f"missing {missing}, unknown {unknown}")
    for name, value in expected.items():
        if describe_tensor(found[name]) != describe_tensor(value):
            raise damage_error(
                checkpoint, f"{name} is {describe_tensor(found[name])}, the model's is {describe_tensor(value)}"
            )


def describe_tensor(tensor: Tensor) -> str:
    """Number type and shape: ``float32 [128, 64]``."""
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def find_not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """The names of the tensors, all on one device, with a value that is infinite or no number. Waits for the device
    once.

    By the smallest and the largest value, which is no number where one is none: ten times as fast as to ask each.
    """
    extremes = {name: torch.stack(value.detach().aminmax()) for name, value in tensors.items() if value.numel()}
    finite = torch.stack([*extremes.values()]).isfinite().all(1).tolist() if extremes else []
    return [name for name, good in zip(extremes, finite, strict=True) if not good]
