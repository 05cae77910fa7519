"""The scores of sentences by their names: which model of a folder has the one that is asked for."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from electra.errors import UserError
from electra.interchange.folders import find_tower_folders
from electra.tasks.frozen.sentence_scores import Energies, PseudoLogLikelihood, ReplacedTokens, load_scorer

ScoreName = Literal["auto", "pseudo-log-likelihood", "within-word", "replaced-token", "energy"]


def load_named_scorer(
    folder: Path, name: ScoreName, device: torch.device
) -> tuple[Path, PseudoLogLikelihood | ReplacedTokens]:
    """The score of this name by a model in the folder, and where that is: the first of encoder, discriminator and
    generator that has it.

    ``auto``: the first model's own. That of a masked language model is the pseudo-log-likelihood.

    Raises:
        UserError: no model there, or none with this score: which ones they have.
    """
    offers = {}
    for tower in reversed(find_tower_folders(folder)):
        scorer = load_scorer(tower, device)
        offers[tower] = list_score_names(scorer)
        if name == "within-word" and isinstance(scorer, PseudoLogLikelihood):
            return tower, replace(scorer, within_word=True)
        if name == "auto" or name in offers[tower]:
            return tower, scorer
    found = "; ".join(f"{tower.name} has {' and '.join(names)}" for tower, names in offers.items())
    raise UserError(f"{folder}: no model with the score {name}: {found}")


def list_score_names(scorer: PseudoLogLikelihood | ReplacedTokens) -> tuple[ScoreName, ...]:
    """The scores that the model of a scorer can give."""
    if isinstance(scorer, PseudoLogLikelihood):
        return "pseudo-log-likelihood", "within-word"
    return ("energy",) if isinstance(scorer, Energies) else ("replaced-token",)
