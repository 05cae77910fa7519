"""``final/`` of a finished run: a folder for each tower that ``AutoModel`` loads, and what else was learned."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from electra.errors import UserError, convert_errors
from electra.files import write_whole
from electra.interchange import huggingface
from electra.objectives.pretrainer import Pretrainer
from electra.run_folder import FINAL

KEPT = "first-stage"  # the encoder that the first stage made
REST = "objective.safetensors"  # what an objective learned besides its towers


def save_towers(
    folder: Path, pretrainer: Pretrainer, tokenizer: Path, objective: str, cards: Mapping[str, str]
) -> None:
    """Write a folder for each tower that ``cards`` has a model card for, and what is in no tower.

    ``tokenizer`` is the folder whose tokenizer goes with them, ``objective`` the kind of objective that trained them.
    """
    for name, card in cards.items():
        huggingface.save_tower(folder / name, pretrainer.parts()[name], tokenizer, card, objective)
    if rest := pretrainer.rest():
        with write_whole(folder / REST) as file:
            save_file({name: value.cpu().contiguous() for name, value in rest.items()}, file)


def keep_encoder(run: Path, pretrainer: Pretrainer, tokenizer: Path, objective: str) -> None:
    """Write the encoder of a stage that is over beside the checkpoints, which will hold the next one's."""
    huggingface.save_tower(run / KEPT, pretrainer.encoder, tokenizer, None, objective)


def save_kept_encoder(run: Path, card: str) -> None:
    """Write the encoder that ``keep_encoder`` wrote among the final towers. Raises ``UserError`` as ``load_tower``."""
    kept = run / KEPT
    tower, objective = huggingface.load_tower(kept), huggingface.read_objective(kept)
    huggingface.save_tower(run / FINAL / "encoder", tower, kept, card, objective)


def copy_kept_encoder(run: Path, out: Path) -> None:
    """Write the encoder that ``keep_encoder`` wrote in a run into another. Raises ``UserError`` as ``load_tower``."""
    kept = run / KEPT
    huggingface.save_tower(out / KEPT, huggingface.load_tower(kept), kept, None, huggingface.read_objective(kept))


@torch.no_grad()
def load_rest(pretrainer: Pretrainer, folder: Path) -> None:
    """Give what is in no tower its values. Raises ``UserError`` for a file that is missing, damaged or another's."""
    rest, path = pretrainer.rest(), folder / REST
    if not rest:
        return
    with convert_errors(str(path), OSError, SafetensorError):
        tensors = load_file(path)
    if tensors.keys() != rest.keys():
        raise UserError(f"{path}: holds {', '.join(sorted(tensors)[:3])}, not {', '.join(sorted(rest)[:3])}")
    for name, value in rest.items():
        value.copy_(tensors[name])


def format_model_card(name: str, settings: Mapping[str, object], figures: Mapping[str, object]) -> str:
    """The text of a tower's README.md: what it is, what was measured, how it was trained.

    Others read it, so ``settings`` must not hold a path of this machine.
    """
    left_out = ("split", "steps", "phases")  # the run is over: its steps are all steps
    table = "\n".join(f"| {figure} | {value} |" for figure, value in figures.items() if figure not in left_out)
    return (
        f"---\nlibrary_name: transformers\ntags: [electra, replaced-token-detection]\n---\n# {name}\n\n"
        f"The {name} of a run of `electra pretrain`.\n\n"
        f"## Held-out figures\n\n| figure | value |\n|---|---|\n{table}\n\n"
        f"## Config\n\n```json\n{json.dumps(settings, indent=1)}\n```\n"
    )
