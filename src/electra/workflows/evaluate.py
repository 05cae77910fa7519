"""``electra evaluate``: the figures of a run's exported weights on text that it has not seen."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from electra import config as configs
from electra.engine.parallel import Parallel
from electra.errors import UserError
from electra.interchange import huggingface
from electra.model.encoder import Tower
from electra.objectives.build import Electra, Mlm, Objective
from electra.report.tables import table
from electra.tasks.held_out import held_out, identity_auc
from electra.text import tokenizer
from electra.text.batches import Rows
from electra.text.shards import Shards
from electra.workflows.pretrain import PretrainConfig


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
    data = config.data or trained.data
    if not data:
        raise UserError(f"{run} does not say which data it was trained on: give --data FOLDER")
    shards = Shards.open(Path(data), "held-out")
    parts = towers(run / "final" if (run / "final").is_dir() else run, trained.objective, shards)
    pretrainer = trained.objective.compose(parts, shards.mask_id, seed=0)
    length = config.length or trained.phases[-1].length
    rows = Rows(shards, trained.layout, length, trained.seed)
    at_once = max(1, 4096 // length)
    figures = held_out(pretrainer, rows, config.rows, at_once, Parallel.alone())
    if "discriminator" in parts:
        train_rows = Rows(Shards.open(Path(data), "train"), trained.layout, length, trained.seed)
        figures["discriminator/identity_auc"] = identity_auc(pretrainer, train_rows, rows, config.rows, at_once)
    print(
        json.dumps(figures)
        if config.json
        else table(["figure", "value"], [[k, f"{v:.4f}"] for k, v in figures.items()])
    )
    return figures


def recipe(run: Path) -> PretrainConfig:
    """The config of a run folder; the defaults, with the objective that its towers allow, for exported towers alone."""
    path = run / "config.json"
    if path.exists() and not (run / "model.safetensors").exists():
        return configs.load(PretrainConfig(), path)
    return PretrainConfig(objective=Electra() if (run / "discriminator").is_dir() else Mlm())


def towers(folder: Path, objective: Objective, shards: Shards) -> dict[str, Tower]:
    """The exported towers that the objective is made of. Raises ``UserError`` as ``evaluate``."""
    wanted = ["generator", "discriminator"] if isinstance(objective, Electra) else ["generator"]
    missing = [name for name in wanted if not (folder / name).is_dir()]
    if missing:
        raise UserError(
            f"{folder}: no {' or '.join(missing)} here; the held-out figures need it, to corrupt text as in training"
        )
    for name in wanted:
        if tokenizer.load(folder / name).fingerprint != shards.tokenizer:
            raise UserError(f"{shards.folder}: prepared with another tokenizer than that of {folder / name}")
    return {name: huggingface.load(folder / name) for name in wanted}
