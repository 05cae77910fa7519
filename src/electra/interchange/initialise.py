"""A run's towers with the weights of towers that were written before."""

from collections.abc import Mapping
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from electra.errors import UserError
from electra.interchange.folders import find_tower_folders
from electra.interchange.huggingface import TowerFolder, match_tensors, read_tower_folder
from electra.model.config import EncoderConfig, ModernConfig
from electra.model.encoder import Tower


def initialise_towers(towers: Mapping[str, Tower], folder: Path) -> list[str]:
    """Give towers, named generator and discriminator, the weights of a folder: one tower's, or one with both in
    ``generator/`` and ``discriminator/`` (a run's ``final/``, or the run's own folder).

    A tower that is not there keeps its fresh weights; embeddings that it shares come with the other. Nothing is changed
    unless all of it can be. Returns a line for each tower: what was taken from where, and what is new.

    Raises:
        UserError: as ``load_tower``; or no tower is there that can be used, its encoder differs from the run's, or the
            towers share their embeddings and the folders' embeddings differ.
    """
    tower_folders = [read_tower_folder(tower) for tower in find_tower_folders(Path(folder))]
    sources: dict[str, TowerFolder] = {
        "encoder" if source.folder.name == "encoder" else source.role: source for source in tower_folders
    }
    taken = {name: sources[name] for name in towers if name in sources}
    if not taken:
        raise UserError(f"{folder}: holds a {' and a '.join(sources)}; this run has a {' and a '.join(towers)}")
    weights = {}
    for name, source in taken.items():
        if differences := compare_encoder_configs(source.config, towers[name].config):
            raise UserError(f"{source.folder}: not the {name} of this run: {'; '.join(differences)}")
        weights[name] = match_tensors(source, towers[name])
    sharing = len({id(tower.embeddings) for tower in towers.values()}) < len(towers)
    if sharing and len(weights) == 2:
        refuse_different_embeddings(folder, *weights.values())
    for name, tensors in weights.items():
        towers[name].take(tensors)
    shared = f"; embeddings shared with the {next(iter(taken))}" if sharing else ""
    return [
        *(f"{name}: weights from {source.folder}" for name, source in taken.items()),
        *(f"{name}: new weights{shared}" for name in towers.keys() - taken.keys()),
        *(f"{name}: not used, in {sources[name].folder}" for name in sources.keys() - taken.keys()),
    ]


def refuse_different_embeddings(folder: Path, tensors: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    """Raise ``UserError`` if two towers, which are to share their embeddings, come with different ones."""
    for name, value in tensors.items():
        if name.startswith("embeddings.") and not torch.equal(value, other[name]):
            raise UserError(
                f"{folder}: the towers' {name} differ, and this run shares them; use --objective.embeddings own"
            )


def compare_encoder_configs(theirs: EncoderConfig, ours: EncoderConfig) -> list[str]:
    """What makes two encoders different functions of the same tokens, a line each."""
    there, here = computing_settings(theirs), computing_settings(ours)
    names = dict.fromkeys(chain(there, here))
    return [
        f"{name}: {there.get(name)} there, {here.get(name)} here" for name in names if there.get(name) != here.get(name)
    ]


def computing_settings(config: EncoderConfig) -> dict[str, Any]:
    """The settings that decide what the encoder computes: dropout and the spread of initial weights do not."""
    settings = asdict(config)
    for name in ("dropout", "attention_dropout", "init_std"):
        del settings[name]
    if isinstance(config, ModernConfig):
        del settings["max_positions"]  # rotary: there is no table
        settings["global_every"] = [index for index in range(config.layers) if config.window(index) is None]
    return settings
