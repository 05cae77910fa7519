"""The encoders that ``electra compare`` judges: pre-trained ones, and the same with random weights."""

import json
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from electra import config as configs
from electra.dataset.shards import Shards
from electra.engine import checkpoint
from electra.engine.telemetry import read_metrics
from electra.errors import UserError, convert_errors
from electra.files import write_whole
from electra.interchange import huggingface
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower
from electra.report.compare import RANDOM
from electra.workflows.pretrain import (
    PATHS,
    PretrainConfig,
    hash_origins,
    list_differences,
    pretrain,
    refuse_other_contents,
)

COST = "cost.json"  # written when a run is over: without it ``final/`` may lack a tower
SPENT = ("steps", "flops", "tokens", "tokens_per_second", "seconds")


@runtime_checkable
class JudgedEncoder(Protocol):
    """What is judged: ``folder`` holds it once ``ready`` has given what it cost, and the objective's own figures."""

    objective: str
    budget: float
    seed: int
    folder: Path

    def ready(self) -> dict[str, Any] | None:
        """``cost`` and ``own``; None if a signal stopped the work."""


@dataclass
class PretrainedEncoder:
    """A run of ``electra pretrain``."""

    objective: str
    budget: float
    seed: int
    folder: Path
    config: PretrainConfig

    def check(self) -> None:
        """Raises ``UserError`` if the folder holds a run of another config, or one that was begun on other contents."""
        path = self.folder / "config.json"
        if path.exists():
            refuse_other_config(path, self.config, PATHS)
            data = Shards.open(Path(self.config.data), "train").fingerprint
            refuse_other_contents(self.folder, self.config, hash_origins(self.config, data))

    def ready(self) -> dict[str, Any] | None:
        """See ``JudgedEncoder``."""
        path = self.folder / COST
        if not path.is_file():
            torch.compiler.reset()  # or, after eight models, what is compiled for others counts as one too many
            pretrain(self.config)
            if not (self.folder / "final").is_dir():
                return None
            with write_whole(path) as file:
                file.write_text(json.dumps(read_run_figures(self.folder), indent=1))
            checkpoint.remove_checkpoints(self.folder / "checkpoints")  # most of the disk, and of no more use
        with convert_errors(f"{path}: damaged; remove it", ValueError):
            return json.loads(path.read_text(encoding="utf-8"))


@dataclass
class RandomWeights:
    """The encoder as it is before any training."""

    seed: int
    folder: Path
    config: PretrainConfig
    objective: str = RANDOM
    budget: float = 0.0

    def ready(self) -> dict[str, Any]:
        """See ``JudgedEncoder``."""
        if not self.folder.is_dir():
            data = Shards.open(Path(self.config.data), "train")
            shape = replace(self.config.encoder, vocab_size=data.vocab_size)
            torch.manual_seed(self.seed)
            tower = Tower.detection(shape, build_embeddings(shape))
            huggingface.save_tower(self.folder, tower, data.folder / "tokenizer", None)
        return {"cost": dict.fromkeys(SPENT, 0), "own": {}}


def read_run_figures(run: Path) -> dict[str, Any]:
    """``cost`` and ``own`` of a finished run."""
    lines = read_metrics(run / "metrics.jsonl")
    last = [line for line in lines if line["split"] == "held-out"][-1]
    speed = statistics.median(line["tokens_per_second"] for line in lines if line["split"] == "train")
    cost = {"steps": last["step"], "tokens_per_second": speed} | {k: last[k] for k in ("flops", "tokens", "seconds")}
    return {"cost": cost, "own": {name: value for name, value in last.items() if "/" in name}}


def refuse_other_config(path: Path, wanted: Any, free: tuple[str, ...] = ()) -> None:
    """Raise ``UserError`` if the config in a file differs from ``wanted`` in more than the fields that are ``free``."""
    begun = configs.load_config(type(wanted)(), path)  # keys that came later: defaults
    there, now = ({k: v for k, v in configs.plain_tree(each).items() if k not in free} for each in (begun, wanted))
    if differing := sorted(list_differences(there, now)):
        raise UserError(f"{path}: this folder was begun otherwise: {'; '.join(differing)}; choose another --out")
