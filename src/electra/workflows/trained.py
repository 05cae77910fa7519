"""A run read back: how it was trained, and its exported towers as the pre-trainer that they were."""

from dataclasses import dataclass
from pathlib import Path

from electra import config as configs
from electra.errors import UserError
from electra.interchange import huggingface
from electra.objectives.build import Electra, Mlm, Objective
from electra.objectives.pretrainer import Pretrainer
from electra.text import tokenizer
from electra.text.batches import Rows
from electra.text.shards import Shards, Split
from electra.workflows.pretrain import PretrainConfig

AT_ONCE = 4096  # tokens


@dataclass(frozen=True)
class Trained:
    """A run on the data that it is judged on. ``batch_rows``: rows that are read together."""

    config: PretrainConfig
    pretrainer: Pretrainer
    data: Path
    length: int

    @classmethod
    def open(cls, run: Path, data: str = "", length: int = 0) -> "Trained":
        """The towers in ``run`` (a run folder, or one with exported towers), with its own data and length unless given.

        Raises:
            UserError: no exported towers, no data, or data of another tokenizer.
        """
        config = recipe(run)
        if not (data or config.data):
            raise UserError(f"{run} does not say which data it was trained on: give --data FOLDER")
        shards = Shards.open(Path(data or config.data), "held-out")
        inside = run / "final" if (run / "final").is_dir() else run
        pretrainer = towers(inside, config.objective, shards)
        return cls(config, pretrainer, shards.folder, length or config.phases[-1].length)

    @property
    def batch_rows(self) -> int:
        return max(1, AT_ONCE // self.length)

    def rows(self, split: Split) -> Rows:
        """A split's rows, laid out as in training."""
        return Rows(Shards.open(self.data, split), self.config.layout, self.length, self.config.seed)


def recipe(run: Path) -> PretrainConfig:
    """The config of a run folder; the defaults, with the objective that its towers allow, for exported towers alone."""
    path = run / "config.json"
    if path.exists() and not (run / "model.safetensors").exists():
        return configs.load(PretrainConfig(), path)
    return PretrainConfig(objective=Electra() if (run / "discriminator").is_dir() else Mlm())


def towers(folder: Path, objective: Objective, shards: Shards) -> Pretrainer:
    """The pre-trainer of exported towers. Raises ``UserError`` as ``Trained.open``."""
    wanted = ["generator", "discriminator"] if isinstance(objective, Electra) else ["generator"]
    missing = [name for name in wanted if not (folder / name).is_dir()]
    if missing:
        raise UserError(
            f"{folder}: no {' or '.join(missing)} here; the held-out figures need it, to corrupt text as in training"
        )
    for name in wanted:
        if tokenizer.load(folder / name).fingerprint != shards.tokenizer:
            raise UserError(f"{shards.folder}: prepared with another tokenizer than that of {folder / name}")
    parts = {name: huggingface.load(folder / name) for name in wanted}
    return objective.compose(parts, shards.mask_id, seed=0)
