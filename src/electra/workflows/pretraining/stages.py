"""The stages of a run: its phases, cut where one pre-trainer follows another, and what each begins with."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from electra.dataset.data import Data
from electra.dataset.rows import Rows
from electra.dataset.tokens import choose_token_store
from electra.engine.optim import collect_parameters
from electra.engine.parallel import Parallel
from electra.engine.scaling import (
    StagePlan,
    chain_stages,
    cut_phases,
    limit_first,
    refuse_two_lengths,
    scale_to_budget,
    suggest_rows,
)
from electra.engine.stages import Stage
from electra.objectives.pretrainer import Pretrainer
from electra.workflows.pretraining.config import Phase, PretrainConfig
from electra.workflows.pretraining.counted import begin_from_counts
from electra.workflows.pretraining.final import keep_encoder
from electra.workflows.pretraining.pretrainers import take_lowest_layers


def plan_stages(config: PretrainConfig, pretrainers: Sequence[Pretrainer], data: Data, parallel: Parallel) -> StagePlan:
    """The stages and the schedule that the engine runs, scaled to ``config.tokens`` or ``config.flops`` if given.

    Raises:
        UserError: more than one length, or fewer steps than stages.
    """
    refuse_two_lengths(config.tokens, config.flops, config.hours)
    tokens = choose_token_store(data.train, parallel.device)
    rows = {p.length: Rows(data.train, config.layout, p.length, config.seed, tokens) for p in config.phases}
    phases = [(phase.steps, phase.goes_on) for phase in config.phases]
    shares, most = share_steps(config, [pretrainer.flops(config.phases[-1].length) for pretrainer in pretrainers])

    def cut(scale: float) -> list[Stage]:
        stages: list[Stage] = []
        for stretch in cut_phases(phases, limit_first(shares, most / scale)):
            phase, pretrainer = config.phases[stretch.phase], pretrainers[stretch.module]
            stage = Stage(
                pretrainer,
                collect_parameters(pretrainer, pretrainer.towers(), pretrainer.rates, pretrainer.apart),
                rows[phase.length],
                stretch.steps,
                phase.rows,
                tokens=phase.rows * phase.length,
                flops=phase.rows * pretrainer.flops(phase.length),
                fresh=not stretch.goes_on,
                reads_on=stretch.goes_on and config.phases[stretch.phase - 1].length == phase.length,
            )
            if stretch.module:
                stage = replace(stage, begin=partial(begin_stage, config, data, pretrainers, stretch.module, parallel))
            stages.append(stage)
        return chain_stages(stages)

    plan = StagePlan(cut, config.schedule)
    return plan.stretched(plan.find_scale(lambda stages: scale_to_budget(stages, config.tokens, config.flops)))


def share_steps(config: PretrainConfig, costs: Sequence[int]) -> tuple[list[float], float]:
    """By stage of the objective, its share of all steps, from its share of the operations; and the most that the first
    may have, as a share of the steps that the phases say. ``costs``: a row's operations in the last phase, by stage."""
    objective, last = config.objective, config.phases[-1]
    steps = [share / cost for (share, _), cost in zip(objective.stages, costs, strict=True)]
    most = objective.most_first_flops / (last.rows * costs[0] * sum(phase.steps for phase in config.phases))
    return [share / sum(steps) for share in steps], most


def advise_smaller_steps(phases: Sequence[Phase], steps: int) -> list[str]:
    """A warning if a run of ``steps`` steps has too few of them for their size."""
    last, flag = phases[-1], f"--phases.{len(phases) - 1}.rows"
    rows = suggest_rows(steps, last.rows, last.length)
    if not rows:
        return []
    return [
        f"{steps:,} steps of {last.rows * last.length:,} tokens each are few to learn from; {flag} {rows} makes "
        f"{steps * last.rows // rows:,} of them, and a smaller preset may make more"
    ]


def count_kept_stages(stages: Sequence[Stage], flops: int) -> int:
    """How many stages made the first pre-trainer's encoder, if that is what a run of ``flops`` operations is for: half
    of them or more, within a step, went into it. Else 0."""
    first = [stage for stage in stages if stage.module is stages[0].module]
    spent = sum(stage.steps * stage.flops for stage in first) + first[-1].flops
    return len(first) if 2 * spent >= flops else 0


def begin_fresh_parts(config: PretrainConfig, data: Data, pretrainer: Pretrainer, parallel: Parallel) -> None:
    """Count what a pre-trainer with fresh weights begins with, if ``config.init_embeddings`` says so."""
    if config.init_embeddings == "counted":
        begin_from_counts(pretrainer, data.train, config.seed, parallel)


def begin_stage(
    config: PretrainConfig, data: Data, pretrainers: Sequence[Pretrainer], number: int, parallel: Parallel
) -> None:
    """Let a pre-trainer begin with the weights of the one before, whose encoder is kept if the objective says so."""
    before = pretrainers[number - 1]
    if config.objective.keeps_first_encoder and parallel.first:
        _, trained_by = config.objective.stages[number - 1]
        keep_encoder(Path(config.out), before, data.tokenizer_folder, trained_by.kind)
    if not config.init:
        begin_fresh_parts(config, data, pretrainers[number], parallel)
    pretrainers[number].begin_from(before)
    if config.init_generator == "lowest":
        take_lowest_layers(pretrainers[number], before)
