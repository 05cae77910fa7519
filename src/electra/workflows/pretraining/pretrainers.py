"""The modules that a run trains: built for the data, with fresh weights or those of a folder."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from electra import fingerprints
from electra.dataset.data import Data
from electra.dataset.vocabulary import count_token_frequencies, find_word_beginnings
from electra.errors import UserError
from electra.interchange.fitting import Start
from electra.interchange.folders import find_tower_folders, fingerprint_encoder
from electra.interchange.initialise import find_head_kind, initialise_towers, make_generator
from electra.interchange.published import Published
from electra.model.config import EncoderConfig
from electra.objectives.build import CorpusFacts, Objective
from electra.objectives.pretrainer import Pretrainer


def build_pretrainers(objective: Objective, encoder: EncoderConfig, seed: int, data: Data) -> list[Pretrainer]:
    """Build a pre-trainer with fresh weights for each stage of the objective."""
    torch.manual_seed(seed)
    return [stage.build(encoder, describe_corpus(data), seed) for _, stage in objective.stages]


def describe_corpus(data: Data) -> CorpusFacts:
    """What an objective may ask of the data."""
    return CorpusFacts(
        data.train.mask_id,
        lambda: find_word_beginnings(data.tokenizer),
        lambda: count_token_frequencies(data.train),
    )


def choose_vocabulary_size(data: Data, starts: Sequence[Start]) -> int:
    """How many embeddings the encoder has: the data's ids, or those of the weights that it begins with, whose table may
    be padded to a multiple of some number."""
    return max([data.vocab_size, *(start.source.config.vocab_size for start in starts if not start.vocabulary)])


def load_initial_weights(starts: Sequence[Start], pretrainer: Pretrainer, lowest: bool) -> list[str]:
    """Give the pre-trainer the weights that were read; returns lines that say what was taken from where.

    Raises:
        UserError: as ``initialise_towers``; or a generator that learns nothing is not among them.
    """
    outcome = initialise_towers(pretrainer.parts(), starts, lowest)
    if pretrainer.untrained and "generator" not in outcome.begun:
        raise UserError(f"{starts[0].source.folder}: no generator there, and this run's learns nothing")
    return outcome.lines


def refuse_lowest_layers(pretrainers: Sequence[Pretrainer], init: bool) -> None:
    """Raise ``UserError`` unless a generator of this run can begin as the lowest layers of an encoder: of the folder
    that the run begins with, or of the stage before."""
    if not any(len(each.parts()) > 1 for each in pretrainers):
        raise UserError("--init-generator lowest: this objective has no generator beside its encoder")
    if not init and len(pretrainers) == 1:
        raise UserError("--init-generator lowest: nobody trained these layers: bring an encoder with --init FOLDER")
    for before, pretrainer in itertools.pairwise(pretrainers):
        copy_lowest_layers(pretrainer, before)


def take_lowest_layers(pretrainer: Pretrainer, before: Pretrainer) -> None:
    """Let a generator begin as the lowest layers of the encoder of the stage before."""
    for name, values in copy_lowest_layers(pretrainer, before).items():
        pretrainer.parts()[name].take(values)


def copy_lowest_layers(pretrainer: Pretrainer, before: Pretrainer) -> dict[str, dict[str, Tensor]]:
    """By the generator's name, what it would begin with; empty if there is no generator that is exported.

    Raises:
        UserError: as ``make_generator``.
    """
    encoder, (*generators, _) = before.encoder, pretrainer.parts()
    source = Published(Path("the first stage"), encoder.config, "encoder", find_head_kind(encoder), encoder.values())
    start = Start(source)
    towers = pretrainer.parts()
    return {name: make_generator(towers[name], pretrainer.encoder, start, lowest=True)[0] for name in generators}


def fingerprint_initial_weights(folder: Path) -> str:
    """A hash of all that ``read_starts`` reads. Raises ``UserError`` if there is no model."""
    return fingerprints.hash_values(map(fingerprint_encoder, find_tower_folders(folder)))
