"""The file with a model's tensors: safetensors alone, and nothing in it twice."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from electra.errors import UserError, convert_errors
from electra.interchange.folders import WEIGHTS_FILE
from electra.interchange.huggingface_names import POSITION_IDS, TIED

ONE_FILE = 'AutoModelForPreTraining.from_pretrained(FOLDER).save_pretrained(NEW, max_shard_size="100GB")'


def load_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of model.safetensors. Raises ``UserError`` as ``find_weights``, or for a damaged file."""
    path = find_weights(folder)
    with convert_errors(f"{path}: damaged", SafetensorError):
        return load_file(path)


def read_tensor_names(folder: Path) -> set[str]:
    """The names of the tensors of model.safetensors. Raises ``UserError`` as ``load_tensors``."""
    path = find_weights(folder)
    with convert_errors(f"{path}: damaged", SafetensorError), safe_open(path, "pt") as file:
        return set(file.keys())


def find_weights(folder: Path) -> Path:
    """The path of model.safetensors. Raises ``UserError`` if it is not there; it says how pickled weights become it."""
    path = folder / WEIGHTS_FILE
    if path.exists():
        return path
    pickled = [name for name in ("pytorch_model.bin", "tf_model.h5") if (folder / name).exists()]
    if pickled:
        raise UserError(
            f"{folder / pickled[0]}: only safetensors are read; convert the folder with transformers: "
            "AutoModelForPreTraining.from_pretrained(FOLDER).save_pretrained(NEW)"
        )
    if (folder / f"{WEIGHTS_FILE}.index.json").exists():
        raise UserError(f"{path}: no such file: weights in several files are not read; save them in one: {ONE_FILE}")
    raise UserError(f"{path}: no such file")


def drop_repeated_tensors(
    tensors: dict[str, Tensor], path: Path, repeated: Mapping[str, str] = TIED, counting: str = POSITION_IDS
) -> dict[str, Tensor]:
    """The tensors of the file at ``path`` without those that repeat what another one says: they are compared with it.

    ``repeated``: tensor → the one that it should repeat. ``counting``: the one that counts up from 0.

    Raises:
        UserError: a tensor that differs from the one it should repeat.
    """
    for output, table in repeated.items():
        if output in tensors and not torch.equal(tensors.pop(output), tensors.get(table, torch.empty(0))):
            raise UserError(f"{path}: {output} is not {table}: an output matrix of its own cannot be read")
    position_ids = tensors.pop(counting, None)
    if position_ids is not None and not torch.equal(position_ids.flatten(), torch.arange(position_ids.numel())):
        raise UserError(f"{path}: {counting} does not count up from 0")
    return tensors
