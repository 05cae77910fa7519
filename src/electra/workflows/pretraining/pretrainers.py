"""The modules that a run trains: built for the data, with fresh weights or those of a folder."""

from pathlib import Path

import torch

from electra import fingerprints
from electra.dataset.data import Data
from electra.dataset.vocabulary import count_token_frequencies, find_word_beginnings
from electra.errors import UserError
from electra.interchange.folders import find_tower_folders, fingerprint_encoder
from electra.interchange.initialise import initialise_towers
from electra.model.config import EncoderConfig
from electra.objectives.build import CorpusFacts, Objective
from electra.objectives.pretrainer import Pretrainer
from electra.tokenization import load_tokenizer, read_settings


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


def choose_vocabulary_size(data: Data, init: str) -> int:
    """How many embeddings the encoder has: the data's ids, or those of the weights that it begins with, whose table may
    be padded to a multiple of some number. Raises ``UserError`` for a config.json that cannot be read."""
    configs = [read_settings(tower / "config.json") for tower in find_tower_folders(Path(init))] if init else []
    return max([data.vocab_size, *(rows for config in configs if isinstance(rows := config.get("vocab_size"), int))])


def load_initial_weights(folder: Path, pretrainer: Pretrainer, data: Data) -> list[str]:
    """Give the pre-trainer the weights in ``folder``; returns lines that say what was taken from where.

    Raises:
        UserError: as ``initialise_towers``; or the folder's word pieces are not the data's.
    """
    expected, lines = data.tokenizer.backend.get_vocab(with_added_tokens=True), []
    for tower in find_tower_folders(folder):
        if not any((tower / name).exists() for name in ("tokenizer.json", "vocab.txt")):
            lines.append(f"{tower}: no tokenizer there; its word pieces are taken to be those of {data.folder}")
            continue
        word_pieces = load_tokenizer(tower).backend.get_vocab(with_added_tokens=True)
        if differing := word_pieces.items() ^ expected.items():
            raise UserError(
                f"{tower}: {len(differing):,} word pieces or their ids are not those of {data.folder}; "
                f"prepare the data with --tokenizer {tower}"
            )
    return [*lines, *initialise_towers(pretrainer.parts(), folder)]


def fingerprint_initial_weights(folder: Path) -> str:
    """A hash of all that ``load_initial_weights`` reads. Raises ``UserError`` if there is no model."""
    return fingerprints.hash_values(map(fingerprint_encoder, find_tower_folders(folder)))
