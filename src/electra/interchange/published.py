"""Encoders that a run can begin with, read from Hugging Face folders: ELECTRA's, ModernBERT's, BERT's and RoBERTa's.

BERT and RoBERTa compute what ELECTRA's classes do where the embeddings are as wide as the layers, so their tensors are
read under ELECTRA's names. RoBERTa's first position is the one behind that of padding: the rows below it are no text's.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import BertConfig, RobertaConfig

from electra.errors import UserError
from electra.interchange.folders import WEIGHTS_FILE
from electra.interchange.huggingface import (
    OBJECTIVE_KEY,
    TowerFolder,
    export_tensors,
    has_detection_head,
    match_tensors,
)
from electra.interchange.huggingface_names import (
    CLASSIC_FIXED,
    CLASSIC_KEYS,
    TIED,
    TensorNames,
    build_config,
    encoder_config,
    parse_config,
    tensor_names,
)
from electra.interchange.tensor_files import drop_repeated_tensors, load_tensors, read_tensor_names
from electra.model.config import ClassicConfig, EncoderConfig
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower
from electra.model.heads import TokenHead
from electra.tokenization.settings import read_settings, refuse_code

Role = Literal["encoder", "discriminator", "generator"]
HeadKind = Literal["token", "detection", ""]
Family = Literal["bert", "roberta"]

POSITIONS, POSITION_IDS = "embeddings.position_embeddings.weight", "embeddings.position_ids"
# How a name begins in ELECTRA's classes → in BERT's and RoBERTa's.
SPELLINGS: dict[Family, dict[str, str]] = {
    "bert": {
        "electra.": "bert.",
        "generator_predictions.": "cls.predictions.transform.",
        "generator_lm_head.": "cls.predictions.",
    },
    "roberta": {
        "electra.": "roberta.",
        "generator_predictions.dense.": "lm_head.dense.",
        "generator_predictions.LayerNorm.": "lm_head.layer_norm.",
        "generator_lm_head.": "lm_head.",
    },
}
# What a file may hold twice.
REPEATED = TIED | {
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
    "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
    "lm_head.decoder.bias": "lm_head.bias",
}
TOKEN_HEADS = ("generator_lm_head.bias", "decoder.bias", "cls.predictions.bias", "lm_head.bias")
OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}  # in BERT's first files
# Parts that our towers do not have. They are left out, and that is said.
DROPPED = {"pooler.": "the pooler", "cls.seq_relationship.": "the head for the next sentence"}
PREFIXES = {"electra": "electra.", "modernbert": "model.", "bert": "bert.", "roberta": "roberta."}  # of the encoder
READABLE = "electra, modernbert (Ettin's encoders too), bert and roberta"


@dataclass(frozen=True, eq=False)
class Published:
    """An encoder as read from a folder.

    ``values``: its parameters by our names, those of its head included, which ``head`` names ("": there is none).
    ``role``: what it was trained to be; ``dropped``: what else the folder has, in words. ``unused_positions``: the rows
    of RoBERTa's table of positions that no text has, which the way back needs.
    """

    folder: Path
    config: EncoderConfig
    role: Role
    head: HeadKind
    values: dict[str, Tensor]
    dropped: tuple[str, ...] = ()
    unused_positions: Tensor | None = None


def read_published(folder: Path) -> Published:
    """Read a folder with config.json and model.safetensors, strictly: every tensor has a place or is named as dropped.

    Raises:
        UserError: another kind of model, pickled weights, code of its own, tensors that are missing, unknown or of the
            wrong shape.
    """
    settings = read_model_settings(folder)
    path = str(folder / "config.json")
    config, kind = published_config(settings, path), settings["model_type"]
    tensors, dropped = prepare_tensors(load_tensors(folder), PREFIXES[kind])
    unused = cut_unused_positions(tensors, count_unused_rows(settings, path)) if kind == "roberta" else None
    tensors = drop_repeated_tensors(tensors, folder / WEIGHTS_FILE, REPEATED, f"{PREFIXES[kind]}{POSITION_IDS}")
    head = find_head(tensors, settings)
    build = Tower.detection if head == "detection" else Tower.token
    tower = build(config, build_embeddings(config))
    names = {ours: theirs for ours, theirs in spell_names(tower, kind).items() if head or not ours.startswith("head.")}
    source = TowerFolder(folder, config, "discriminator" if head == "detection" else "generator", tensors)
    values = {name: value.float() for name, value in match_tensors(source, tower, names).items()}
    return Published(folder, config, find_role(folder, settings, head), head, values, dropped, unused)


def describe_published(folder: Path) -> tuple[Role, EncoderConfig]:
    """What the model in a folder was trained to be, and its encoder; of the weights only the names are read.

    Raises:
        UserError: another kind of model, pickled weights, or a file that is damaged.
    """
    settings = read_model_settings(folder)
    config = published_config(settings, str(folder / "config.json"))
    return find_role(folder, settings, find_head(read_tensor_names(folder), settings)), config


def read_model_settings(folder: Path) -> dict[str, Any]:
    """The config.json of a folder. Raises ``UserError`` if there is none, or if the model needs code of its own."""
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"{path}: no such file; a folder to begin with has config.json and {WEIGHTS_FILE}")
    refuse_code(folder)
    return read_settings(path)


def published_config(settings: Mapping[str, Any], path: str) -> EncoderConfig:
    """The encoder that the config.json at ``path`` describes with these settings.

    Raises:
        UserError: another kind of model, or one of these with parts that our encoders do not have.
    """
    kind = settings.get("model_type")
    if kind in ("electra", "modernbert"):
        return encoder_config(dict(settings), path)
    if kind not in ("bert", "roberta"):
        raise UserError(f"{path}: model_type is {kind!r}: it cannot be continued here; {READABLE} can")
    theirs = parse_config(BertConfig if kind == "bert" else RobertaConfig, dict(settings), CLASSIC_FIXED, path)
    ours = {name: getattr(theirs, key) for name, key in CLASSIC_KEYS.items() if name != "embedding_size"}
    if kind == "roberta":
        ours["max_positions"] -= count_unused_rows(settings, path)
    return build_config(ClassicConfig, {**ours, "embedding_size": theirs.hidden_size}, path)


def count_unused_rows(settings: Mapping[str, Any], path: str) -> int:
    """How many rows of RoBERTa's table of positions no text has: it counts on from the id of padding.

    Raises:
        UserError: the id is no number.
    """
    padding = settings.get("pad_token_id", RobertaConfig().pad_token_id)
    if type(padding) is not int or padding < 0:
        raise UserError(f"{path}: pad_token_id is {padding!r}; positions count on from it, so it must be an id")
    return padding + 1


def prepare_tensors(tensors: Mapping[str, Tensor], prefix: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors under today's names, the encoder's with its ``prefix``, which models without a head leave out; and
    the parts that our towers do not have, in words."""
    bare = not any(name.startswith(prefix) for name in tensors)
    prepared: dict[str, Tensor] = {}
    dropped: set[str] = set()
    for name, value in tensors.items():
        for old, new in OLD_NAMES.items():
            name = name.removesuffix(old) + new if name.endswith(old) else name
        if part := next((part for part in DROPPED if name.removeprefix(prefix).startswith(part)), ""):
            dropped.add(part)
        else:
            prepared[prefix + name if bare else name] = value
    return prepared, tuple(said for part, said in DROPPED.items() if part in dropped)


def cut_unused_positions(tensors: dict[str, Tensor], count: int) -> Tensor | None:
    """Take the rows that no text has off RoBERTa's table of positions, and return them; None without such a table."""
    name = f"{PREFIXES['roberta']}{POSITIONS}"
    tensors.pop(f"{PREFIXES['roberta']}{POSITION_IDS}", None)  # counts the rows
    if name not in tensors:
        return None
    unused, tensors[name] = tensors[name][:count].clone(), tensors[name][count:].clone()
    return unused


def spell_names(tower: Tower, kind: str) -> TensorNames:
    """Our parameter → the tensors of the classes of a ``model_type``, for every parameter of the tower."""
    spellings = SPELLINGS.get(kind, {})  # type: ignore[call-overload]

    def spell(name: str) -> str:
        start = next((ours for ours in spellings if name.startswith(ours)), "")
        return spellings[start] + name.removeprefix(start) if start else name

    return {ours: [spell(name) for name in theirs] for ours, theirs in tensor_names(tower).items()}


def find_head(tensors: Collection[str], settings: Mapping[str, Any]) -> HeadKind:
    """Which head is among the tensors of these names."""
    if any(name in tensors for name in TOKEN_HEADS):
        return "token"
    return "detection" if has_detection_head(tensors, settings) else ""


def find_role(folder: Path, settings: Mapping[str, Any], head: HeadKind) -> Role:
    """What a model was trained to be. An ELECTRA that predicts tokens is a generator, and so is one of ours that says
    so; any other model that does is an encoder trained by masked language modelling."""
    objective = settings.get(OBJECTIVE_KEY)
    if head == "" or folder.name == "encoder" or objective == "mlm":
        return "encoder"
    if head == "detection":
        return "discriminator"
    return "generator" if objective or settings["model_type"] == "electra" else "encoder"


def spell_tensors(tower: Tower, family: Family, unused_positions: Tensor | None = None) -> dict[str, Tensor]:
    """A tower's tensors as ``BertForMaskedLM`` or ``RobertaForMaskedLM`` name them; those of a detection head, which
    these classes do not have, are left out. ``unused_positions``: RoBERTa's rows before the first position of a text.
    """
    names = spell_names(tower, family)
    kept = isinstance(tower.head, TokenHead)
    tensors = export_tensors(tower, {ours: theirs for ours, theirs in names.items() if kept or ours[:5] != "head."})
    if unused_positions is not None:
        (name,) = names["embeddings.positions.weight"]
        tensors[name] = torch.cat([unused_positions, tensors[name]])
    return tensors
