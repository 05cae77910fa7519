"""Towers as Hugging Face folders: config.json, model.safetensors, tokenizer, and a card. Strict in both directions."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from electra import files
from electra.errors import UserError
from electra.interchange.folders import WEIGHTS_FILE
from electra.interchange.huggingface_names import (
    LABELS,
    TensorNames,
    encoder_config,
    tensor_names,
    transformers_config,
)
from electra.interchange.spellings import complete_config
from electra.interchange.tensor_files import drop_repeated_tensors, load_tensors
from electra.interchange.tokenizer_files import write_tokenizer
from electra.interchange.transformers_models import TOWER_CLASSES
from electra.model.config import EncoderConfig
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower
from electra.model.heads import TokenHead
from electra.tokenization.settings import read_settings

MODEL_KIND = "model"  # what such a folder says that it holds
CARD_FILE = "README.md"
OBJECTIVE_KEY = "pretraining_objective"  # key of config.json
LISTED = 5  # names of tensors in an error

Role = Literal["generator", "discriminator"]


def save_tower(folder: Path, tower: Tower, tokenizer: Path | None, card: str | None, objective: str = "") -> None:
    """Write a folder that ``AutoModel`` loads: ElectraForMaskedLM or ElectraForPreTraining for a classic tower,
    ModernBertForMaskedLM or ModernBertForTokenClassification (labels original, replaced) for a modern one.

    ``tokenizer`` is a folder with a tokenizer, ``card`` the text of README.md, ``objective`` what it
    was trained by, which config.json then says. The folder is whole or absent; one that was so written is replaced.
    Embeddings that two towers share are written with each.

    Raises:
        UserError: the tokenizer is missing or has more word pieces than the tower, something else is there, or the disk
            does not take the files.
    """
    try:
        with files.write_whole_folder(Path(folder), MODEL_KIND) as partial:
            fill_tower_folder(partial, tower, tokenizer, objective)
            if card is not None:
                (partial / CARD_FILE).write_text(card, encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder}: could not be written: {getattr(error, 'strerror', None) or error}") from error


def fill_tower_folder(folder: Path, tower: Tower, tokenizer: Path | None, objective: str = "") -> None:
    """Write what ``save_tower`` writes, but for the card, into a folder that is there."""
    config = transformers_config(tower)
    if objective:
        setattr(config, OBJECTIVE_KEY, objective)
    config.save_pretrained(folder)
    special_ids: Mapping[str, int | None] = {}
    if tokenizer is not None:
        shape = tower.config
        special_ids = write_tokenizer(
            Path(tokenizer), folder, shape.vocab_size, shape.max_positions, shape.kind == "classic",
            special_in_text=isinstance(tower.head, TokenHead),
        )  # fmt: skip
    complete_config(folder, special_ids)
    save_file(export_tensors(tower), folder / WEIGHTS_FILE, {"format": "pt"})


def load_tower(folder: Path) -> Tower:
    """The tower in a Hugging Face folder of an ELECTRA or ModernBERT generator or discriminator, its weights float32.

    Raises:
        UserError: no such folder or files, pickled weights, another kind of model, tensors that are missing, unknown or
            of the wrong shape, or an output matrix that is not the table of embeddings.
    """
    source = read_tower_folder(Path(folder))
    build = Tower.token if source.role == "generator" else Tower.detection
    tower = build(source.config, build_embeddings(source.config))
    tower.take(match_tensors(source, tower))
    return tower


def is_tower(folder: Path) -> bool:
    """Whether the config.json in a folder is that of a tower, so that ``load_tower`` loads the folder or says what is
    wrong with it."""
    settings = read_settings(folder / "config.json")
    classes = settings.get("architectures") or TOWER_CLASSES
    if "ModernBertForTokenClassification" in classes:
        return read_labels(settings) == LABELS
    return settings.get("model_type") in ("electra", "modernbert") and not TOWER_CLASSES.isdisjoint(classes)


def read_labels(settings: Mapping[str, Any]) -> dict[int, str]:
    """The labels by their numbers in the content of a config.json."""
    return {int(key): label for key, label in (settings.get("id2label") or {}).items()}


def read_objective(folder: Path) -> str:
    """What the model in a folder was trained by, if its config.json says so; else nothing."""
    return str(read_settings(folder / "config.json").get(OBJECTIVE_KEY, ""))


@dataclass(frozen=True)
class TowerFolder:
    """A folder as read: the encoder that it describes, which tower it is, and its tensors by Hugging Face's names."""

    folder: Path
    config: EncoderConfig
    role: Role
    tensors: dict[str, Tensor]


def read_tower_folder(folder: Path) -> TowerFolder:
    """Read the folder; the names of its tensors decide which tower it is. Raises ``UserError`` as ``load_tower``."""
    path = folder / "config.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON: {error}") from error
    if not isinstance(settings, dict):
        raise UserError(f"{path}: no object with named fields")
    config, tensors = encoder_config(settings, str(path)), read_tensors(folder)
    return TowerFolder(folder, config, detect_role(tensors, settings, path), tensors)


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """The tensors of model.safetensors, without those that repeat what another one says.

    Raises:
        UserError: as ``load_tensors`` and ``drop_repeated_tensors``.
    """
    return drop_repeated_tensors(load_tensors(folder), folder / WEIGHTS_FILE)


def detect_role(tensors: Mapping[str, Tensor], settings: Mapping[str, Any], path: Path) -> Role:
    """Which tower it is, by the tensors of its head. Raises ``UserError`` if it has the head of neither."""
    if "generator_lm_head.bias" in tensors or "decoder.bias" in tensors:
        return "generator"
    if has_detection_head(tensors, settings):
        return "discriminator"
    raise UserError(f"{path}: neither a generator nor a discriminator, but {settings.get('architectures')}")


def has_detection_head(tensors: Collection[str], settings: Mapping[str, Any]) -> bool:
    """Whether there is a head that tells replaced tokens from original ones."""
    if "discriminator_predictions.dense.weight" in tensors:
        return True
    return "classifier.weight" in tensors and read_labels(settings) == LABELS


def match_tensors(source: TowerFolder, tower: Tower, names: TensorNames | None = None) -> dict[str, Tensor]:
    """The folder's tensors by our parameters' names. Every tensor is used, every parameter gets one of its shape.

    ``names``: which tensors make the parameters that are wanted; None: all, by the names of the tower's own classes.

    Raises:
        UserError: tensors that are missing, unknown, of the wrong shape or not floating-point.
    """
    parameters, names = tower.values(), tensor_names(tower) if names is None else names
    assert names.keys() <= parameters.keys(), "a name without a parameter"
    path, tensors = source.folder / WEIGHTS_FILE, source.tensors
    wanted = {name for parts in names.values() for name in parts}
    for problem, wrong in (("missing", wanted - tensors.keys()), ("unknown", tensors.keys() - wanted)):
        if wrong:
            raise UserError(f"{path}: {problem} tensors: {shorten_list(wrong)}")
    matched = {}
    for ours, parts in names.items():
        rows = parameters[ours].shape[0] // len(parts)
        shape = (rows, *parameters[ours].shape[1:])
        for name in parts:
            tensor = tensors[name]
            if tensor.shape != shape or not tensor.is_floating_point():
                actual = f"{tensor.dtype} {list(tensor.shape)}"
                raise UserError(f"{path}: {name}: found {actual}, expected float32 {list(shape)}")
        matched[ours] = torch.cat([tensors[name] for name in parts])
    return matched


def shorten_list(names: set[str]) -> str:
    """The first few names, and how many more there are."""
    first = sorted(names)[:LISTED]
    return ", ".join(first) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


def export_tensors(tower: Tower, names: TensorNames | None = None) -> dict[str, Tensor]:
    """The tower's parameters as Hugging Face's tensors, copied to the CPU as float32.

    ``names``: which parameters, and the tensors that are made of each; None: all, by the tower's own classes.
    """
    parameters, names = tower.values(), tensor_names(tower) if names is None else names
    tensors: dict[str, Tensor] = {}
    for ours, theirs in names.items():
        value = parameters[ours].detach().to("cpu", torch.float32)
        tensors |= {name: part.clone() for name, part in zip(theirs, value.chunk(len(theirs)), strict=True)}
    return tensors


def encoder_tensors(tower: Tower) -> tuple[str, dict[str, Tensor]]:
    """How the names of the encoder's tensors begin in transformers' models with a head, and the tower's tensors without
    its head."""
    prefix = "electra." if tower.config.kind == "classic" else "model."
    return prefix, {name: value for name, value in export_tensors(tower).items() if name.startswith(prefix)}
