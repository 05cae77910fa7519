"""The objectives that ``electra compare`` sets side by side, from what a person writes of them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from electra import config as configs
from electra import recipes
from electra.dataset.data import Data
from electra.errors import UserError, convert_errors, require_plain_name
from electra.report.compare import format_number
from electra.workflows.compare.runs import PretrainedEncoder
from electra.workflows.pretrain import create_pretrainers
from electra.workflows.pretraining.config import PretrainConfig

Equal = Literal["flops", "time"]


@dataclass(frozen=True)
class Contender:
    """An objective under its name, with all the settings of pre-training but budget and seed."""

    name: str
    config: PretrainConfig

    def check(self, data: Data, least: float) -> None:
        """Build the pre-trainers without weights, so that what cannot be trained is refused before anything is trained.

        Raises:
            UserError: as ``create_pretrainers``; or ``least`` FLOPs (0: not asked) are too few for a step of each phase
                and stage.
        """
        with torch.device("meta"), convert_errors(f"--objectives {self.name!r}", ValueError):  # shapes alone
            pretrainers = create_pretrainers(self.config, data, lambda line: None)
        needed = sum(
            phase.rows * pretrainer.flops(phase.length) for phase in self.config.phases for pretrainer in pretrainers
        )
        if 0 < least < needed:
            at_least = f"the shortest run of {self.name} takes {format_number(needed, 2)}"
            raise UserError(f"--budgets {format_number(least)}: too little: {at_least}")

    def plan_run(self, budget: float, equal: Equal, seed: int, out: Path) -> PretrainedEncoder:
        """The run with a budget, which is in FLOPs or minutes, and a seed. Its folder lies in ``out/runs``."""
        length = f"{format_number(budget)}-{'flops' if equal == 'flops' else 'minutes'}"
        folder = out / "runs" / slug(self.name) / length / f"seed-{seed}"
        config = replace(
            self.config, seed=seed, out=str(folder), tokens=0.0,
            flops=budget if equal == "flops" else 0.0, hours=budget / 60 if equal == "time" else 0.0,
        )  # fmt: skip
        return PretrainedEncoder(self.name, budget, seed, folder, config)

    def resize_generator(self, width: float) -> "Contender":
        """The same with a generator of another width, a fraction of the discriminator's."""
        if width == getattr(self.config.objective, "generator_width", None):
            return self
        where = f"--generator-sizes {width:g}"
        config = configs.overlay_config(self.config, {"objective": {"generator_width": width}}, where)
        return Contender(f"{self.name}, generator {width:g}", config)


def load_base_config(name: str, settings: str, data: str) -> PretrainConfig:
    """A preset with the file ``settings`` laid over it, if there is one, on the data.

    Raises:
        UserError: no such preset; and as ``load_config``.
    """
    config = recipes.apply_preset(PretrainConfig(), name)
    return replace(configs.load_config(config, settings) if settings else config, data=data)


def size_generators(objectives: Sequence[Contender], widths: Sequence[float]) -> dict[float, Contender]:
    """Width → the first objective that has a generator, with a generator of that width.

    Raises:
        UserError: there are widths, but no objective has a generator.
    """
    generated = [contender for contender in objectives if hasattr(contender.config.objective, "generator_width")]
    if widths and not generated:
        raise UserError("--generator-sizes: none of the objectives has a generator")
    return {width: generated[0].resize_generator(width) for width in sorted(set(widths))}


def parse_objectives(base: PretrainConfig, objectives: Sequence[str]) -> list[Contender]:
    """The objectives, each parsed by ``parse_objective``. Raises ``UserError`` also for two of one name."""
    by_folder: dict[str, Contender] = {}
    for text in objectives:
        contender = parse_objective(base, text)
        folder = slug(contender.name)
        require_plain_name(folder, f"--objectives {text!r}: its name, as")
        if folder in by_folder:
            name = contender.name
            raise UserError(f"--objectives: two are called {name!r}; give one a name of its own: 'mine: {text}'")
        by_folder[folder] = contender
    return list(by_folder.values())


def parse_objective(base: PretrainConfig, text: str) -> Contender:
    """``[name: ]kind [field=value …]`` laid over a config.

    A field that the kind has in common with the config's objective keeps the config's value (``electra.config``): so
    the objectives differ only in what they are about.

    Raises:
        UserError: no such kind, field or value.
    """
    name, colon, rest = text.partition(": ")
    kind, *arguments = (rest if colon else text).split() or [""]
    where = f"--objectives {text!r}"
    fresh = configs.overlay_config(base, {"objective": {"kind": kind}}, where)
    if wrong := [argument for argument in arguments if "=" not in argument]:
        raise UserError(f"{where}: {wrong[0]!r}: a setting is written field=value, without spaces")
    pairs = [argument.partition("=") for argument in arguments]
    with convert_errors(where, ValueError):
        settings = {field: configs.parse_yaml(value) for field, _, value in pairs}
    config = configs.overlay_config(fresh, {"objective": settings}, where)
    return Contender(name if colon else " ".join(text.split()), config)


def slug(name: str) -> str:
    """A name as a folder's."""
    return re.sub(r"[^\w.=-]+", "-", name).strip("-.")
