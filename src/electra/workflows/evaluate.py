"""``electra evaluate``: the figures of a run's exported weights on text that it has not seen."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from electra.engine.parallel import Parallel
from electra.errors import UserError
from electra.interchange import huggingface
from electra.objectives.corrupt import Generate, Mask
from electra.objectives.pretrainer import Pretrainer
from electra.objectives.terms import Detection, Recovery
from electra.report.tables import table
from electra.tasks.held_out import held_out, identity_auc
from electra.text import tokenizer
from electra.text.batches import Packed, Paper, Rows
from electra.text.shards import Shards


@dataclass(frozen=True)
class EvaluateConfig:
    """Evaluate a run, or a folder with exported towers, on held-out text."""

    run: str = ""
    """Run folder, or a folder with discriminator/ and generator/."""
    task: Literal["held-out"] = "held-out"
    """held-out: MLM loss and accuracy, replaced-token figures on corruptions that are the same every time."""
    data: str = ""
    """Prepared data whose held-out split is read; the run's own if empty."""
    rows: int = 512
    """Rows to read."""
    length: int = 0
    """Tokens a row; the run's last phase's if 0."""
    json: bool = False
    """Print JSON instead of a table."""


def evaluate(config: EvaluateConfig) -> dict[str, float]:
    """The figures by name. Raises ``UserError`` for a folder without exported towers, or data of another tokenizer."""
    if not config.run:
        raise UserError("which run? electra evaluate FOLDER --task held-out")
    run = Path(config.run)
    trained = recipe(run)
    data = config.data or trained.get("data", "")
    if not data:
        raise UserError(f"{run} does not say which data it was trained on: give --data FOLDER")
    shards = Shards.open(Path(data), "held-out")
    folder = run / "final" if (run / "final").is_dir() else run
    pretrainer = assembled(folder, trained.get("objective", {}), shards)
    length = config.length or (trained["phases"][-1]["length"] if trained else 128)
    layout = dict(trained.get("layout", {"kind": "paper"}))
    layout = {"paper": Paper, "packed": Packed}[layout.pop("kind")](**layout)
    rows = Rows(shards, layout, length, trained.get("seed", 1))
    at_once = max(1, 4096 // length)
    figures = held_out(pretrainer, rows, config.rows, at_once, Parallel.alone())
    if isinstance(pretrainer.corrupt, Generate):
        train_rows = Rows(Shards.open(Path(data), "train"), layout, length, trained.get("seed", 1))
        figures["discriminator/identity_auc"] = identity_auc(pretrainer, train_rows, rows, config.rows, at_once)
    print(
        json.dumps(figures)
        if config.json
        else table(["figure", "value"], [[k, f"{v:.4f}"] for k, v in figures.items()])
    )
    return figures


def recipe(run: Path) -> dict:
    """The config that a run folder holds; empty for a folder of exported towers alone."""
    path = run / "config.json"
    return json.loads(path.read_text()) if path.exists() else {}


def assembled(folder: Path, objective: dict, shards: Shards) -> Pretrainer:
    """The pre-trainer of exported towers: generator and discriminator, or a masked language model alone."""
    parts = {
        name: huggingface.load(folder / name) for name in ("generator", "discriminator") if (folder / name).is_dir()
    }
    if "generator" not in parts:
        raise UserError(f"{folder}: no generator/ here; the held-out figures need it to corrupt text as in training")
    for name, tower in parts.items():
        if (
            tower.config.vocab_size != shards.vocab_size
            or tokenizer.load(folder / name).fingerprint != shards.tokenizer
        ):
            raise UserError(f"{shards.folder}: prepared with another tokenizer than that of {folder / name}")
    mask = Mask(shards.mask_id, objective.get("mask_rate", 0.15), objective.get("replace_rate", 0.85))
    if "discriminator" not in parts:
        return Pretrainer(mask, parts["generator"], {"generator": Recovery()}, seed=0)
    corrupt = Generate(mask, parts["generator"], Recovery(), objective.get("temperature", 1.0))
    return Pretrainer(corrupt, parts["discriminator"], {"discriminator": Detection()}, seed=0)
