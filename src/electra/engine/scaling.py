"""How many steps each stage of a run has: phases cut where the module changes, and scaled to a budget or a time."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from electra.engine.optim import Schedule
from electra.engine.stages import Stage
from electra.errors import UserError

ENOUGH_STEPS, FEWEST_TOKENS = 1000, 1024  # in a run; in a step


class Stretch(NamedTuple):
    """Steps of one phase that train one module. ``phase``, ``module``: their numbers, from 0."""

    phase: int
    module: int
    steps: int
    goes_on: bool  # the optimizer and the schedule go on from the stretch before


def cut_phases(phases: Sequence[tuple[int, bool]], shares: Sequence[float]) -> Iterator[Stretch]:
    """Cut phases, given as (steps, goes on), so that the modules train for their ``shares`` of all steps, in turn.

    Each has one step at least. A module always begins with a fresh optimizer; a phase that is cut goes on where it was
    cut with the same module.

    Raises:
        UserError: fewer steps than modules.
    """
    total, modules = sum(steps for steps, _ in phases), len(shares)
    if total < modules:
        raise UserError(f"phases: {modules} steps at least for an objective with {modules} stages, not {total}")
    ends: list[int] = []
    for number, share in enumerate(itertools.accumulate(shares), start=1):
        earliest, latest = (ends[-1] if ends else 0) + 1, total - modules + number
        ends.append(min(max(round(share * total), earliest), latest))
    begin, module = 0, 0
    for phase, (left, goes_on) in enumerate(phases):
        while left:
            while ends[module] <= begin:
                module, goes_on = module + 1, False
            steps = min(left, ends[module] - begin)
            yield Stretch(phase, module, steps, goes_on)
            begin, left, goes_on = begin + steps, left - steps, True


def limit_first(shares: Sequence[float], most: float) -> list[float]:
    """The shares of all steps that modules train for, the first cut to ``most``; the others have what it loses, in
    proportion."""
    first, *others = shares
    if first <= most:
        return list(shares)
    return [most, *(share * (1 - most) / (1 - first) for share in others)]


def chain_stages(stages: Sequence[Stage]) -> list[Stage]:
    """Give each stage its ``offset`` in a schedule, and that schedule's ``span`` in steps.

    A schedule begins with a stage that is ``fresh``, and goes on over those after it that are not.
    """
    chains: list[list[Stage]] = []
    for stage in stages:
        if stage.fresh or not chains:
            chains.append([])
        chains[-1].append(stage)
    chained: list[Stage] = []
    for chain in chains:
        offsets = itertools.accumulate((stage.steps for stage in chain), initial=0)
        span = sum(stage.steps for stage in chain)
        chained += [replace(stage, offset=offset, span=span) for stage, offset in zip(chain, offsets, strict=False)]
    return chained


def scale_stages(stages: Sequence[Stage], schedule: Schedule, scale: float) -> tuple[list[Stage], Schedule]:
    """Multiply all steps of stages and schedule by ``scale``: the same run, longer or shorter."""
    if scale == 1:
        return list(stages), schedule

    def scaled(steps: int) -> int:
        return max(1, round(steps * scale)) if steps else 0

    longer = [replace(s, steps=scaled(s.steps), offset=scaled(s.offset), span=scaled(s.span)) for s in stages]
    return longer, replace(schedule, warmup=scaled(schedule.warmup))


@dataclass(frozen=True)
class StagePlan:
    """The stages of a run of any length.

    ``cut``: given a scale, the stages of a run that is so many times as long, their steps not yet multiplied by it.
    ``schedule``: at a scale of 1.
    """

    cut: Callable[[float], Sequence[Stage]]
    schedule: Schedule

    @classmethod
    def of(cls, stages: Sequence[Stage], schedule: Schedule) -> "StagePlan":
        """A plan of stages that keep their shares at any length."""
        return cls(lambda scale: stages, schedule)

    def scaled(self, scale: float) -> tuple[list[Stage], Schedule]:
        """Stages and schedule of a run that is ``scale`` times as long."""
        return scale_stages(self.cut(scale), self.schedule, scale)

    def stretched(self, scale: float) -> "StagePlan":
        """The plan of a run that is ``scale`` times as long."""
        _, schedule = scale_stages([], self.schedule, scale)
        return StagePlan(lambda further: scale_stages(self.cut(scale * further), self.schedule, scale)[0], schedule)

    def find_scale(self, measure: Callable[[Sequence[Stage]], float]) -> float:
        """The scale of a run whose length is given: ``measure`` says by how much stages are to be multiplied for it."""
        return find_scale(lambda scale: measure(self.cut(scale)))


def find_scale(measure: Callable[[float], float]) -> float:
    """The scale of a run whose length is given: ``measure`` says by how much a run that is cut for some scale is to be
    multiplied. How it is cut may depend on its scale in turn, so both are found by repetition."""
    scale = measure(1.0)
    for _ in range(20):
        before, scale = scale, measure(scale)
        if abs(scale - before) <= 1e-3 * before:
            break
    return scale


def cool_stages(stages: Sequence[Stage], stage: int, begin: int, steps: int) -> list[Stage]:
    """The stages of a run that cools down: from step ``begin`` of the stage of number ``stage`` on the learning rate
    falls to 0 over ``steps`` steps, with which the run ends."""
    last = stages[stage]
    cooled = replace(last, steps=begin + steps, span=last.span or last.steps, cools_from=begin)
    return [*stages[:stage], cooled]


def suggest_rows(steps: int, rows: int, length: int) -> int:
    """How many rows of ``length`` tokens make ``ENOUGH_STEPS`` of a run that has less than half as many, of ``rows``
    rows; 0: there are enough, or steps would be too small."""
    fewer = max(1, rows * steps // ENOUGH_STEPS)
    return fewer if steps < ENOUGH_STEPS / 2 and fewer * length >= FEWEST_TOKENS else 0


def refuse_two_lengths(tokens: float, flops: float, hours: float) -> None:
    """Raise ``UserError`` if more than one of them is given."""
    if sum(map(bool, (tokens, flops, hours))) > 1:
        raise UserError("tokens, flops and hours each say how long to train: give one of them")


def scale_to_budget(stages: Sequence[Stage], tokens: float, flops: float) -> float:
    """The scale at which the stages read so many ``tokens``, or else take so many ``flops``; 1 if both are 0."""
    if tokens:
        return tokens / sum(stage.steps * stage.tokens for stage in stages)
    return flops / sum(stage.steps * stage.flops for stage in stages) if flops else 1.0


def scale_to_seconds(stages: Sequence[Stage], lengths: Sequence[float], seconds: float) -> float:
    """The scale at which the stages, whose steps take ``lengths`` seconds, take ``seconds``, or a step of the first."""
    return max(seconds, lengths[0]) / sum(stage.steps * length for stage, length in zip(stages, lengths, strict=True))
