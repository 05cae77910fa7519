"""A run that is lengthened: ``--extend`` with more tokens or FLOPs."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from electra.config import load_config
from electra.engine.optim import Schedule
from electra.engine.scaling import scale_stages, scale_to_budget
from electra.engine.stages import Stage
from electra.errors import UserError
from electra.workflows.pretraining.config import PretrainConfig

LENGTHS = ("tokens", "flops")  # settings that --extend may change


def read_lengths(config: PretrainConfig) -> dict[str, float]:
    """The tokens and FLOPs that the run in ``config.out`` was begun for: what --extend changes.

    Raises:
        UserError: there is no run, or it cannot be lengthened.
    """
    path = Path(config.out) / "config.json"
    if not path.is_file():
        raise UserError(f"--extend: {config.out} holds no run to lengthen")
    before = load_config(PretrainConfig(), path)
    if before.cool_down:
        raise UserError("--extend: a run that cools down ends there; lengthen the one that it was taken from")
    if before.hours:
        raise UserError("--extend: a run of --hours was fitted to a time, and has no tokens to add to")
    if len(before.phases) > 1 or len(before.objective.stages) > 1:
        raise UserError("--extend: only where one objective trains in one phase; here others would begin elsewhere")
    return {name: getattr(before, name) for name in LENGTHS}


def choose_length(config: PretrainConfig, before: Mapping[str, float]) -> PretrainConfig:
    """The config without the budget that a run had ``before``, if another one is given to lengthen it.

    Raises:
        UserError: --extend without a budget.
    """
    if config.extend and not (config.tokens or config.flops):
        raise UserError("--extend: to how much? Give --tokens or --flops with it")
    if config.extend and config.tokens and config.flops:
        if config.tokens == before["tokens"]:
            return replace(config, tokens=0.0)
        if config.flops == before["flops"]:
            return replace(config, flops=0.0)
    return config


def describe_extension(
    config: PretrainConfig, before: Mapping[str, float], stage: Stage, schedule: Schedule, step: int
) -> str:
    """One line: what --extend does to the run's steps and schedule. ``stage`` and ``schedule``: as they are now.

    Raises:
        UserError: the run would not be longer.
    """
    begun = replace(stage, steps=config.phases[0].steps, span=config.phases[0].steps)
    scale = scale_to_budget([begun], before["tokens"], before["flops"])
    (begun,), begun_schedule = scale_stages([begun], config.schedule, scale)
    if stage.steps <= begun.steps:
        raise UserError(f"--extend: the run has {begun.steps:,} steps, and that would be {stage.steps:,}: give more")
    then, now = begun_schedule.factor(step, begun.steps), schedule.factor(step, stage.steps)
    return (
        f"{config.out}: {begun.steps:,} steps become {stage.steps:,}, with the schedule of a run of that length: at "
        f"step {step:,} the learning rate is {now:.3f} of its peak, where it was {then:.3f}, and the warm-up ends at "
        f"step {schedule.warmup:,} instead of {begun_schedule.warmup:,}"
    )
