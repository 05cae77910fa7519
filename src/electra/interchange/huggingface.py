"""Towers as Hugging Face folders: config.json, model.safetensors, tokenizer, and a card. Strict in both directions."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from electra import files
from electra import tokenization as vocabularies
from electra.errors import UserError
from electra.interchange.huggingface_names import (
    LABELS,
    POSITION_IDS,
    TIED,
    encoder_config,
    tensor_names,
    transformers_config,
)
from electra.model.config import EncoderConfig, ModernConfig
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")

MODEL_KIND = "model"  # what such a folder says that it holds
OBJECTIVE_KEY = "pretraining_objective"  # key of config.json

Role = Literal["generator", "discriminator"]


def save_tower(folder: Path, tower: Tower, tokenizer: Path | None, card: str | None, objective: str = "") -> None:
    """Write a folder that ``AutoModel`` loads: ElectraForMaskedLM or ElectraForPreTraining for a classic tower,
    ModernBertForMaskedLM or ModernBertForTokenClassification (labels original, replaced) for a modern one.

    ``tokenizer`` is a folder whose tokenizer files are copied, ``card`` the text of README.md, ``objective`` what it
    was trained by, which config.json then says. The folder is whole or absent; one that was so written is replaced.
    Embeddings that two towers share are written with each.

    Raises:
        UserError: the tokenizer is missing or has more word pieces than the tower, something else is there, or the disk
            does not take the files.
    """
    try:
        with files.write_whole_folder(Path(folder), MODEL_KIND) as partial:
            config = transformers_config(tower)
            if objective:
                setattr(config, OBJECTIVE_KEY, objective)
            if tokenizer is not None:
                for name, token_id in copy_tokenizer(Path(tokenizer), partial, tower.config).items():
                    setattr(config, name, token_id)
            config.save_pretrained(partial)
            save_file(export_tensors(tower), partial / "model.safetensors", {"format": "pt"})
            if card is not None:
                (partial / "README.md").write_text(card, encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder}: could not be written: {getattr(error, 'strerror', None) or error}") from error


def load_tower(folder: Path) -> Tower:
    """The tower in a Hugging Face folder of an ELECTRA or ModernBERT generator or discriminator, its weights float32.

    Raises:
        UserError: no such folder or files, pickled weights, another kind of model, tensors that are missing, unknown or
            of the wrong shape, or an output matrix that is not the table of embeddings.
    """
    source = read_tower_folder(Path(folder))
    new = Tower.token if source.role == "generator" else Tower.detection
    tower = new(source.config, build_embeddings(source.config))
    tower.take(match_tensors(source, tower))
    return tower


def read_objective(folder: Path) -> str:
    """What the model in a folder was trained by, if its config.json says so; else nothing."""
    return str(json.loads((folder / "config.json").read_text(encoding="utf-8")).get(OBJECTIVE_KEY, ""))


def initialise_towers(parts: Mapping[str, Tower], folder: Path) -> list[str]:
    """Give towers, named generator and discriminator, the weights of a folder: one tower's, or one with both in
    ``generator/`` and ``discriminator/`` (a run's ``final/``, or the run's own folder).

    A tower that is not there keeps its fresh weights; embeddings that it shares come with the other. Nothing is changed
    unless all of it can be. Returns a line for each tower: what was taken from where, and what is new.

    Raises:
        UserError: as ``load_tower``; or no tower is there that can be used, its encoder differs from the run's, or
        the towers share their embeddings and the folders' embeddings differ.
    """
    read_from = [read_tower_folder(each) for each in find_tower_folders(Path(folder))]
    sources: dict[str, TowerFolder] = {
        "encoder" if source.folder.name == "encoder" else source.role: source for source in read_from
    }
    taken = {name: sources[name] for name in parts if name in sources}
    if not taken:
        raise UserError(f"{folder}: holds a {' and a '.join(sources)}; this run has a {' and a '.join(parts)}")
    values = {}
    for name, source in taken.items():
        differing = compare_encoder_configs(source.config, parts[name].config)
        if differing:
            raise UserError(f"{source.folder}: not the {name} of this run: {'; '.join(differing)}")
        values[name] = match_tensors(source, parts[name])
    sharing = len({id(part.embeddings) for part in parts.values()}) < len(parts)
    if sharing and len(values) == 2:
        one, other = values.values()
        for key in (key for key in one if key.startswith("embeddings.")):
            if not torch.equal(one[key], other[key]):
                raise UserError(
                    f"{folder}: the towers' {key} differ, and this run shares them; use --objective.embeddings own"
                )
    for name, tensors in values.items():
        parts[name].take(tensors)
    lines = [f"{name}: weights from {source.folder}" for name, source in taken.items()]
    for name in parts.keys() - taken.keys():
        there = f"; embeddings shared with the {next(iter(taken))}" if sharing else ""
        lines.append(f"{name}: new weights{there}")
    lines += [f"{name}: not used, in {sources[name].folder}" for name in sources.keys() - taken.keys()]
    return lines


@dataclass(frozen=True)
class TowerFolder:
    """A folder as read: the encoder that it describes, which tower it is, and its tensors by Hugging Face's names."""

    folder: Path
    config: EncoderConfig
    role: Role
    tensors: dict[str, Tensor]


def read_tower_folder(folder: Path) -> TowerFolder:
    """The folder, its tower told by its tensors' names. Raises ``UserError`` as ``load_tower``."""
    where = folder / "config.json"
    try:
        values = json.loads(where.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{where}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{where}: not JSON: {error}") from error
    config, tensors = encoder_config(values, str(where)), read_tensors(folder)
    return TowerFolder(folder, config, detect_role(tensors, values, where), tensors)


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """The tensors of model.safetensors, without those that say what another says already, which is checked."""
    path = folder / "model.safetensors"
    if not path.exists():
        pickled = [name for name in ("pytorch_model.bin", "tf_model.h5") if (folder / name).exists()]
        if pickled:
            raise UserError(
                f"{folder / pickled[0]}: only safetensors are read; convert the folder with transformers: "
                "AutoModelForPreTraining.from_pretrained(FOLDER).save_pretrained(NEW)"
            )
        raise UserError(f"{path}: no such file")
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path}: damaged: {error}") from error
    for output, table in TIED.items():
        if output in tensors and not torch.equal(tensors.pop(output), tensors.get(table, torch.empty(0))):
            raise UserError(f"{path}: {output} is not {table}: an output matrix of its own cannot be read")
    there = tensors.pop(POSITION_IDS, None)
    if there is not None and not torch.equal(there.flatten(), torch.arange(there.numel())):
        raise UserError(f"{path}: {POSITION_IDS} does not count up from 0")
    return tensors


def detect_role(tensors: Mapping[str, Tensor], values: Mapping[str, Any], where: Path) -> Role:
    """Which tower it is, by its head."""
    if "generator_lm_head.bias" in tensors or "decoder.bias" in tensors:
        return "generator"
    if "discriminator_predictions.dense.weight" in tensors:
        return "discriminator"
    labels = {int(key): label for key, label in (values.get("id2label") or {}).items()}
    if "classifier.weight" in tensors and labels == LABELS:
        return "discriminator"
    raise UserError(f"{where}: neither a generator nor a discriminator, but {values.get('architectures')}")


def match_tensors(source: TowerFolder, tower: Tower) -> dict[str, Tensor]:
    """The source's tensors by our parameters' names. Every tensor is used, every parameter gets one of its shape."""
    parameters, names = tower.values(), tensor_names(tower)
    assert parameters.keys() == names.keys(), "a parameter without a name at Hugging Face's"
    where, tensors = source.folder / "model.safetensors", source.tensors
    wanted = {name for parts in names.values() for name in parts}
    for problem, those in (("missing", wanted - tensors.keys()), ("unknown", tensors.keys() - wanted)):
        if those:
            raise UserError(f"{where}: {problem} tensors: {shorten_list(those)}")
    values = {}
    for ours, parts in names.items():
        rows = parameters[ours].shape[0] // len(parts)
        shape = (rows, *parameters[ours].shape[1:])
        for name in parts:
            if tensors[name].shape != shape or not tensors[name].is_floating_point():
                found = f"{tensors[name].dtype} {list(tensors[name].shape)}"
                raise UserError(f"{where}: {name}: found {found}, expected float32 {list(shape)}")
        values[ours] = torch.cat([tensors[name] for name in parts])
    return values


def shorten_list(names: set[str]) -> str:
    """The first few names, and how many more there are."""
    first = sorted(names)[:5]
    return ", ".join(first) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def export_tensors(tower: Tower) -> dict[str, Tensor]:
    """Hugging Face's tensors of the tower, float32 on the CPU."""
    parameters, names = tower.values(), tensor_names(tower)
    tensors: dict[str, Tensor] = {}
    assert parameters.keys() == names.keys(), "a parameter without a name at Hugging Face's"
    for ours, theirs in names.items():
        value = parameters[ours].detach().to("cpu", torch.float32)
        tensors |= {name: part.clone() for name, part in zip(theirs, value.chunk(len(theirs)), strict=True)}
    return tensors


def compare_encoder_configs(there: EncoderConfig, here: EncoderConfig) -> list[str]:
    """What makes two encoders different functions of the same tokens: dropout and initial weights do not."""
    one, other = computing_settings(there), computing_settings(here)
    keys = [key for key in one | other if one.get(key) != other.get(key)]
    return [f"{key}: {one.get(key)} there, {other.get(key)} here" for key in keys]


def computing_settings(config: EncoderConfig) -> dict[str, Any]:
    """The parts of a config that say what the encoder computes."""
    values = asdict(config)
    for key in ("dropout", "attention_dropout", "init_std"):
        del values[key]
    if isinstance(config, ModernConfig):
        del values["max_positions"]  # rotary: there is no table
        values["global_every"] = [index for index in range(config.layers) if config.window(index) is None]
    return values


def find_tower_folders(folder: Path) -> list[Path]:
    """The folders with one tower each."""
    if (folder / "config.json").exists() and (folder / "model.safetensors").exists():
        return [folder]
    inside = folder / "final" if (folder / "final").is_dir() else folder
    found = [inside / name for name in ("generator", "encoder", "discriminator") if (inside / name).is_dir()]
    return found or [folder]


def copy_tokenizer(tokenizer: Path, folder: Path, config: EncoderConfig) -> dict[str, int | None]:
    """Copy the tokenizer's files; returns the config keys of its special tokens.

    ModernBERT's classes take no segments, so the copy for a modern tower says that its tokenizer makes none.
    """
    vocabularies.refuse_code(tokenizer)
    found = [name for name in TOKENIZER_FILES if (tokenizer / name).exists()]
    if not found:
        raise UserError(f"{tokenizer}: no tokenizer here; expected {', '.join(TOKENIZER_FILES)}")
    for name in found:
        shutil.copyfile(tokenizer / name, folder / name)
    path = folder / "tokenizer_config.json"
    if isinstance(config, ModernConfig) and path.exists():
        values = json.loads(path.read_text(encoding="utf-8"))
        values["model_input_names"] = ["input_ids", "attention_mask"]
        path.write_text(json.dumps(values, indent=2), encoding="utf-8")
    loaded = vocabularies.load_auto_tokenizer(folder)
    if len(loaded) > config.vocab_size:
        raise UserError(f"{tokenizer}: {len(loaded)} word pieces, but the tower has {config.vocab_size}")
    return {f"{name}_token_id": getattr(loaded, f"{name}_token_id") for name in ("pad", "cls", "sep")}
