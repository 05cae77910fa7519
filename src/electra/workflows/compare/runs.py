"""The encoders that ``electra compare`` judges: pre-trained ones, and the same with random weights."""

import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from electra.dataset.data import Data
from electra.engine import checkpoint
from electra.engine.telemetry import read_metrics
from electra.interchange import huggingface
from electra.model.config import EncoderConfig
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower
from electra.report.compare import RANDOM
from electra.run_folder import read_json, write_json
from electra.workflows.pretrain import PretrainConfig, pretrain, request_run

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

    def check(self, data: Data) -> None:
        """Raises ``UserError`` if the folder holds a run of another config, or one that was begun on other contents."""
        if self.folder.exists():
            request_run(self.config, data).refuse_another(self.folder)

    def ready(self) -> dict[str, Any] | None:
        """Pre-train it, or go on, unless it is finished; then read what it cost and its own figures."""
        path = self.folder / COST
        if not path.is_file():
            torch.compiler.reset()  # or, after eight models, what is compiled for others counts as one too many
            pretrain(self.config)
            if not (self.folder / "final").is_dir():
                return None
            write_json(path, read_run_figures(self.folder), indent=1)
            checkpoint.remove_checkpoints(self.folder / "checkpoints")  # most of the disk, and of no more use
        return read_json(path, "remove it")


@dataclass
class RandomWeights:
    """The encoder as it is before any training."""

    seed: int
    folder: Path
    shape: EncoderConfig
    data: Data
    objective: str = RANDOM
    budget: float = 0.0

    def ready(self) -> dict[str, Any]:
        """Write the fresh encoder, unless it is there. It cost nothing and has no figures of its own."""
        if not self.folder.is_dir():
            shape = replace(self.shape, vocab_size=self.data.vocab_size)
            torch.manual_seed(self.seed)
            tower = Tower.detection(shape, build_embeddings(shape))
            huggingface.save_tower(self.folder, tower, self.data.tokenizer_folder, None)
        return {"cost": dict.fromkeys(SPENT, 0), "own": {}}


def read_run_figures(run: Path) -> dict[str, Any]:
    """``cost`` and ``own`` of a finished run."""
    lines = read_metrics(run / "metrics.jsonl")
    last = [line for line in lines if line["split"] == "held-out"][-1]
    speed = statistics.median(line["tokens_per_second"] for line in lines if line["split"] == "train")
    cost = {"steps": last["step"], "tokens_per_second": speed} | {k: last[k] for k in ("flops", "tokens", "seconds")}
    return {"cost": cost, "own": {name: value for name, value in last.items() if "/" in name}}
