"""A run read back: how it was trained, and its exported towers as the pre-trainer that they were."""

from dataclasses import dataclass
from pathlib import Path

from electra import config as configs
from electra import tokenization as tokenizer
from electra.dataset.data import Data
from electra.dataset.rows import Rows
from electra.dataset.shards import Split
from electra.errors import UserError
from electra.interchange import huggingface
from electra.objectives.build import Electra, Mlm
from electra.objectives.corrupt import Generate
from electra.objectives.generators import MaskedGenerator
from electra.objectives.pretrainer import Pretrainer
from electra.workflows.pretrain import PretrainConfig, apply_compat
from electra.workflows.pretraining.final import load_rest
from electra.workflows.pretraining.pretrainers import describe_corpus

BATCH_TOKENS = 4096  # tokens


@dataclass(frozen=True)
class Trained:
    """A run on the data that it is judged on. ``batch_rows``: rows that are read together."""

    config: PretrainConfig
    pretrainer: Pretrainer
    data: Data
    length: int

    @classmethod
    def open(cls, run: Path, data: str = "", length: int = 0) -> "Trained":
        """The towers in ``run`` (a run folder, or one with exported towers), with its own data and length unless given.

        Raises:
            UserError: no exported towers, no data, or data of another tokenizer.
        """
        config = load_run_config(run)
        if not (data or config.data):
            raise UserError(f"{run} does not say which data it was trained on: give --data FOLDER")
        opened = Data.open(Path(data or config.data))
        inside = run / "final" if (run / "final").is_dir() else run
        pretrainer = load_pretrainer(inside, config, opened)
        return cls(config, pretrainer, opened, length or config.phases[-1].length)

    @property
    def batch_rows(self) -> int:
        return max(1, BATCH_TOKENS // self.length)

    def rows(self, split: Split) -> Rows:
        """A split's rows, laid out as in training."""
        return Rows(self.data.split(split), self.config.layout, self.length, self.config.seed)


def load_run_config(run: Path) -> PretrainConfig:
    """The config of a run folder; the defaults, with the objective that its towers allow, for exported towers alone."""
    path = run / "config.json"
    if path.exists() and not (run / "model.safetensors").exists():
        return apply_compat(configs.load_config(PretrainConfig(), path))
    return PretrainConfig(objective=Electra(embeddings="own") if (run / "discriminator").is_dir() else Mlm())


def load_pretrainer(folder: Path, config: PretrainConfig, data: Data) -> Pretrainer:
    """The pre-trainer of exported towers. Raises ``UserError`` as ``Trained.open``."""
    _, objective = config.objective.stages[-1]
    fresh = objective.build(config.encoder, describe_corpus(data), seed=0)
    missing = [name for name in fresh.parts() if not (folder / name).is_dir()]
    if missing:
        raise UserError(
            f"{folder}: no {' or '.join(missing)} here; the held-out figures need it, to corrupt text as in training"
        )
    for name in fresh.parts():
        if tokenizer.load_tokenizer(folder / name).fingerprint != data.train.tokenizer:
            raise UserError(f"{data.folder}: prepared with another tokenizer than that of {folder / name}")
    parts = {name: huggingface.load_tower(folder / name) for name in fresh.parts()}
    found = objective.build(parts[fresh.kept].config, describe_corpus(data), seed=0)
    found.encoder.take(parts[found.kept].values())
    if isinstance(found.corrupt, Generate) and isinstance(found.corrupt.generator, MaskedGenerator):
        found.corrupt.generator.tower = parts["generator"]
    load_rest(found, folder)
    return found
