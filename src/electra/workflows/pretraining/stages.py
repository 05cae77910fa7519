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
from electra.engine.scaling import StagePlan, chain_stages, cut_phases, scale_stages, scale_to_budget
from electra.engine.stages import Stage
from electra.errors import UserError
from electra.objectives.pretrainer import Pretrainer
from electra.workflows.pretraining.config import PretrainConfig
from electra.workflows.pretraining.counted import begin_from_counts
from electra.workflows.pretraining.final import keep_encoder
from electra.workflows.pretraining.pretrainers import take_lowest_layers


def plan_stages(config: PretrainConfig, pretrainers: Sequence[Pretrainer], data: Data, parallel: Parallel) -> StagePlan:
    """The stages and the schedule that the engine runs, scaled to ``config.tokens`` or ``config.flops`` if given.

    Raises:
        UserError: more than one length, or fewer steps than stages.
    """
    if sum(map(bool, (config.tokens, config.flops, config.hours))) > 1:
        raise UserError("tokens, flops and hours each say how long to train: give one of them")
    tokens = choose_token_store(data.train, parallel.device)
    rows = {p.length: Rows(data.train, config.layout, p.length, config.seed, tokens) for p in config.phases}
    phases = [(phase.steps, phase.goes_on) for phase in config.phases]
    # Shares of the operations as shares of the steps.
    length = config.phases[-1].length
    shares = [
        share / pretrainer.flops(length)
        for (share, _), pretrainer in zip(config.objective.stages, pretrainers, strict=True)
    ]
    stages: list[Stage] = []
    for stretch in cut_phases(phases, [share / sum(shares) for share in shares]):
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
    scale = scale_to_budget(stages, config.tokens, config.flops)
    return StagePlan.of(*scale_stages(chain_stages(stages), config.schedule, scale))


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
