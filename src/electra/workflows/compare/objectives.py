"""The objectives that ``electra compare`` sets side by side, from what a person writes of them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import torch

from electra import config as configs
from electra import recipes
from electra.dataset.shards import Shards
from electra.errors import UserError, plain_name, told_as
from electra.report.compare import written
from electra.workflows.compare.runs import Pretrained
from electra.workflows.pretrain import PretrainConfig, build

Equal = Literal["flops", "time"]


@dataclass(frozen=True)
class Contender:
    """An objective under its name, with all the settings of pre-training but budget and seed."""

    name: str
    config: PretrainConfig

    def check(self, data: Shards, least: float) -> None:
        """Raise what training would raise after a while.

        Raises:
            UserError: as ``pretrain.build``; or ``least`` FLOPs (0: not asked) are too few for a step of each phase and
                stage.
        """
        with torch.device("meta"), told_as(f"--objectives {self.name!r}", ValueError):  # shapes alone
            built = build(self.config, data, lambda line: None)
        needed = sum(phase.rows * each.flops(phase.length) for phase in self.config.phases for each in built)
        if 0 < least < needed:
            at_least = f"the shortest run of {self.name} takes {written(needed, 2)}"
            raise UserError(f"--budgets {written(least)}: too little: {at_least}")

    def at(self, budget: float, equal: Equal, seed: int, out: Path) -> "Pretrained":
        """Its run. ``budget``: FLOPs, or minutes."""
        length = f"{written(budget)}-{'flops' if equal == 'flops' else 'minutes'}"
        folder = out / "runs" / slug(self.name) / length / f"seed-{seed}"
        config = replace(
            self.config, seed=seed, out=str(folder), tokens=0.0,
            flops=budget if equal == "flops" else 0.0, hours=budget / 60 if equal == "time" else 0.0,
        )  # fmt: skip
        return Pretrained(self.name, budget, seed, folder, config)

    def sized(self, width: float) -> "Contender":
        """The same with a generator of another width, a fraction of the discriminator's."""
        if width == getattr(self.config.objective, "generator_width", None):
            return self
        where = f"--generator-sizes {width:g}"
        config = configs.overlay(self.config, {"objective": {"generator_width": width}}, where)
        return Contender(f"{self.name}, generator {width:g}", config)


def preset(name: str, settings: str, data: str) -> PretrainConfig:
    """A preset, with a file laid over it. Raises ``UserError`` as ``config.load`` does, or if there is none."""
    config = configs.load(PretrainConfig(), recipes.path(name))
    return replace(configs.load(config, settings) if settings else config, data=data)


def generators(objectives: Sequence[Contender], widths: Sequence[float]) -> dict[float, Contender]:
    """By width the first objective that has a generator, with one so wide. Raises ``UserError`` if none has one."""
    first = next((each for each in objectives if hasattr(each.config.objective, "generator_width")), None)
    if widths and not first:
        raise UserError("--generator-sizes: none of the objectives has a generator")
    return {width: first.sized(width) for width in sorted(set(widths))} if first else {}


def contenders(base: PretrainConfig, objectives: Sequence[str]) -> list[Contender]:
    """The objectives, each as ``parsed``. Raises ``UserError`` also for two of one name."""
    found: dict[str, Contender] = {}
    for text in objectives:
        one = parsed(base, text)
        plain_name(slug(one.name), f"--objectives {text!r}: its name, as")
        if slug(one.name) in found:
            raise UserError(f"--objectives: two are called {one.name!r}; give one a name of its own: 'mine: {text}'")
        found[slug(one.name)] = one
    return list(found.values())


def parsed(base: PretrainConfig, text: str) -> Contender:
    """``[name: ]kind [field=value …]`` laid over a config. Where the kinds share a field and its default, the value is
    the config's, so that objectives differ in what they are about alone.

    Raises:
        UserError: no such kind, field or value.
    """
    name, colon, rest = text.partition(": ")
    kind, *arguments = (rest if colon else text).split() or [""]
    where = f"--objectives {text!r}"
    fresh = configs.overlay(base, {"objective": {"kind": kind}}, where)
    with told_as(where, ValueError):
        fresh = replace(fresh, objective=carried(base.objective, fresh.objective))
        if wrong := [argument for argument in arguments if "=" not in argument]:
            raise UserError(f"{where}: {wrong[0]!r}: a setting is written field=value, without spaces")
        pairs = [argument.partition("=") for argument in arguments]
        settings = {field: configs.from_yaml(value) for field, _, value in pairs}
    config = configs.overlay(fresh, {"objective": settings}, where)
    return Contender(name if colon else " ".join(text.split()), config)


def carried(old: Any, new: Any) -> Any:
    """``new`` with the values of ``old`` in fields whose default is the same in both kinds."""
    before, after = type(old)(), type(new)()
    names = {field.name for field in fields(old)} & {field.name for field in fields(new)}
    same = [name for name in sorted(names) if getattr(before, name) == getattr(after, name)]
    return replace(new, **{name: getattr(old, name) for name in same})


def slug(name: str) -> str:
    """A name as a folder's."""
    return re.sub(r"[^\w.=-]+", "-", name).strip("-.")
