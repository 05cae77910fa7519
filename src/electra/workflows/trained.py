"""A run read back: its config, and its exported towers put together as the pre-trainer that they were."""

from dataclasses import dataclass
from pathlib import Path

from electra import config as configs
from electra.dataset.data import Data
from electra.dataset.rows import Rows
from electra.dataset.shards import Split
from electra.errors import UserError
from electra.interchange import huggingface
from electra.objectives.build import Electra, Mlm
from electra.objectives.corrupt import Generate
from electra.objectives.generators import MaskedGenerator
from electra.objectives.pretrainer import Pretrainer
from electra.tasks.frozen.held_out import ROWS_SEED
from electra.tokenization.loading import load_tokenizer
from electra.workflows.pretrain import apply_compat
from electra.workflows.pretraining.config import PretrainConfig
from electra.workflows.pretraining.final import load_rest
from electra.workflows.pretraining.pretrainers import describe_corpus

BATCH_TOKENS = 4096  # that are read at once


@dataclass(frozen=True)
class Trained:
    """A trained run, with the data and the length of row to judge it on."""

    config: PretrainConfig
    pretrainer: Pretrainer
    data: Data
    length: int

    @classmethod
    def open(cls, run: Path, data: str = "", length: int = 0) -> "Trained":
        """Load the towers in ``run``: a run folder, or a folder with exported towers.

        ``data`` and ``length``: the run's own if left out.

        Raises:
            UserError: no such folder, no exported towers, no data, or data of another tokenizer.
        """
        if not run.is_dir():
            raise UserError(f"{run}: no such folder")
        config = load_run_config(run)
        if not (data or config.data):
            raise UserError(f"{run} does not say which data it was trained on: give --data FOLDER")
        prepared = Data.open(Path(data or config.data))
        inside = run / "final" if (run / "final").is_dir() else run
        pretrainer = load_pretrainer(inside, config, prepared)
        return cls(config, pretrainer, prepared, length or config.phases[-1].length)

    @property
    def batch_rows(self) -> int:
        """How many rows are read at once."""
        return max(1, BATCH_TOKENS // self.length)

    def rows(self, split: Split) -> Rows:
        """A split's rows, laid out as in training; of held-out text the same ones for all runs."""
        seed = ROWS_SEED if split == "held-out" else self.config.seed
        return Rows(self.data.split(split), self.config.layout, self.length, seed)


def load_run_config(run: Path) -> PretrainConfig:
    """The config of a run folder. For exported towers alone: the defaults, with an objective that has these towers."""
    path = run / "config.json"
    if path.exists() and not (run / "model.safetensors").exists():
        return apply_compat(configs.load_config(PretrainConfig(), path))
    return PretrainConfig(objective=Electra(embeddings="own") if (run / "discriminator").is_dir() else Mlm())


def load_pretrainer(folder: Path, config: PretrainConfig, data: Data) -> Pretrainer:
    """Put exported towers together as a pre-trainer. Raises ``UserError`` as ``Trained.open``."""
    _, objective = config.objective.stages[-1]
    fresh = objective.build(config.encoder, describe_corpus(data), seed=0)
    missing = [name for name in fresh.parts() if not (folder / name).is_dir()]
    if missing:
        raise UserError(
            f"{folder}: no {' or '.join(missing)} here; the held-out figures need it, to corrupt text as in training"
        )
    for name in fresh.parts():
        if load_tokenizer(folder / name).fingerprint != data.train.tokenizer:
            raise UserError(f"{data.folder}: prepared with another tokenizer than that of {folder / name}")
    parts = {name: huggingface.load_tower(folder / name) for name in fresh.parts()}
    pretrainer = objective.build(parts[fresh.kept].config, describe_corpus(data), seed=0)
    pretrainer.encoder.take(parts[pretrainer.kept].values())
    if isinstance(pretrainer.corrupt, Generate) and isinstance(pretrainer.corrupt.generator, MaskedGenerator):
        pretrainer.corrupt.generator.tower = parts["generator"]
    load_rest(pretrainer, folder)
    return pretrainer
