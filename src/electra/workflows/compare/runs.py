"""The encoders that ``electra compare`` judges: pre-trained ones, and the same before any training."""

import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import torch

from electra.dataset.data import Data
from electra.engine import checkpoint
from electra.engine.telemetry import read_metrics
from electra.interchange import huggingface
from electra.model.config import EncoderConfig
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower
from electra.run_folder import read_json, write_json
from electra.workflows.pretrain import run_pretraining
from electra.workflows.pretraining.config import PretrainConfig
from electra.workflows.pretraining.counted import set_counted_weights
from electra.workflows.pretraining.resuming import request_run

RANDOM, COUNTED = "random weights", "counted embeddings"
COST = "cost.json"  # written when a run is over: without it ``final/`` may lack a tower
COSTS = ("steps", "flops", "tokens", "tokens_per_second", "seconds")


class EncoderFigures(NamedTuple):
    """What an encoder cost, and its objective's own figures on held-out text, by name."""

    cost: dict[str, float]
    own: dict[str, float]


@runtime_checkable
class JudgedEncoder(Protocol):
    """An encoder to be judged. ``folder`` holds it after ``make``."""

    objective: str
    budget: float
    seed: int
    folder: Path

    def make(self) -> EncoderFigures | None:
        """Make the encoder, if it is not there yet; None if a signal stopped the work."""


@dataclass
class PretrainedEncoder:
    """A run of ``electra pretrain``."""

    objective: str
    budget: float
    seed: int
    folder: Path
    config: PretrainConfig

    def refuse_another(self, data: Data) -> None:
        """Raises ``UserError`` if the folder holds a run of another config, or one that was begun on other contents."""
        if self.folder.exists():
            resumed = checkpoint.latest_checkpoint(self.folder / "checkpoints") is not None
            request_run(self.config, data, resumed).refuse_another(self.folder)

    def make(self) -> EncoderFigures | None:
        """Run the pre-training to its end, or on from where it stopped."""
        path = self.folder / COST
        if not path.is_file():
            torch.compiler.reset()  # or, after eight models, what is compiled for others counts as one too many
            if not run_pretraining(self.config).finished:
                return None
            write_json(path, read_run_figures(self.folder)._asdict(), indent=1)
            checkpoint.remove_checkpoints(self.folder / "checkpoints")  # most of the disk, and of no more use
        figures = read_json(path, "remove it", dict[Literal["cost", "own"], dict[str, float]])
        return EncoderFigures(figures.get("cost", {}), figures.get("own", {}))


@dataclass
class UntrainedEncoder:
    """The encoder before any training, with the data's vocabulary. ``objective``: ``RANDOM``; or ``COUNTED``, with the
    embeddings that counting the data gives."""

    objective: str
    seed: int
    folder: Path
    config: EncoderConfig
    data: Data
    budget: float = 0.0

    def make(self) -> EncoderFigures:
        """Write the encoder's folder, if it is missing."""
        if not self.folder.is_dir():
            config = replace(self.config, vocab_size=self.data.vocab_size)
            torch.manual_seed(self.seed)
            tower = Tower.detection(config, build_embeddings(config))
            if self.objective == COUNTED:
                set_counted_weights(tower, self.data.train, self.seed)
            huggingface.save_tower(self.folder, tower, self.data.tokenizer_folder, None)
        return EncoderFigures(dict.fromkeys(COSTS, 0), {})


def read_run_figures(run: Path) -> EncoderFigures:
    """The figures of a finished run, from its metrics.jsonl."""
    lines = read_metrics(run / "metrics.jsonl")
    last = [line for line in lines if line["split"] == "held-out"][-1]
    speed = statistics.median(line["tokens_per_second"] for line in lines if line["split"] == "train")
    cost = {"steps": last["step"], "tokens_per_second": speed} | {k: last[k] for k in ("flops", "tokens", "seconds")}
    return EncoderFigures(cost, {name: value for name, value in last.items() if "/" in name})
