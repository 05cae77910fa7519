"""``electra pretrain``: prepared data → a run folder whose ``final/`` anyone can load."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from electra.config import check_ranges, plain_tree
from electra.dataset.data import Data
from electra.engine.optim import GoogleAdam, LinearDecay, Muon
from electra.engine.parallel import Parallel
from electra.engine.process import hold_folder_for_all
from electra.engine.recorders import check_recorders, start_recorders
from electra.engine.stages import Stage, State
from electra.engine.telemetry import MetricsRecorder, Recorder, SilentRecorder, read_metrics
from electra.engine.train import check_engine, train_stages
from electra.errors import UserError
from electra.interchange.initialise import read_starts
from electra.objectives.health import judge_lines
from electra.objectives.pretrainer import Pretrainer
from electra.report import curves
from electra.run_folder import FINAL, PRETRAINING_RUN
from electra.stopping import Ending, find_deadline
from electra.workflows.pretraining.branching import refuse_half
from electra.workflows.pretraining.config import PATHS, PretrainConfig, refuse_unfit_rows
from electra.workflows.pretraining.continued import watch_continued
from electra.workflows.pretraining.cooling import begin_cool_down, describe_cool_down
from electra.workflows.pretraining.evaluation import build_evaluation, load_probe, refuse_unknown_figure
from electra.workflows.pretraining.extension import choose_length, describe_extension, read_lengths
from electra.workflows.pretraining.final import KEPT, format_model_card, save_kept_encoder, save_towers
from electra.workflows.pretraining.pretrainers import (
    build_pretrainers,
    choose_vocabulary_size,
    load_initial_weights,
    refuse_lowest_layers,
)
from electra.workflows.pretraining.resuming import (
    begin_run,
    describe_asked,
    find_last_step,
    find_table_rows,
    request_run,
)
from electra.workflows.pretraining.stages import (
    advise_smaller_steps,
    begin_fresh_parts,
    count_kept_stages,
    plan_stages,
)

SHOWN = {
    "generator/loss": "mlm",
    "generator/accuracy": "right",
    "discriminator/loss": "rtd",
    "discriminator/skill": "skill",
    "discriminator/auc": "auc",
    "probe/best": "probe",
    "tokens_per_second": "tok/s",
}


def pretrain(config: PretrainConfig) -> Path:
    """Train to the end, or on from where a run in ``config.out`` stopped; returns the run folder.

    It returns early where a signal or ``config.stop_after`` stops the run: then the folder has no ``final/`` yet.

    Raises:
        UserError: bad data, a run folder of another config or that another process works in, a gradient that is not
            finite, a full disk.
    """
    return run_pretraining(config).result


def run_pretraining(config: PretrainConfig) -> Ending[Path]:
    """``pretrain``, which also says whether the run is finished."""
    deadline = find_deadline(config.stop_after)
    check_ranges(config)
    refuse_half(config)
    parallel = Parallel.start()
    parallel.ask_first(lambda: check_recorders(config.log))
    data = open_data(config, *parallel.place_on_machine)
    if not config.out:
        raise UserError("--out is missing: the folder that the run is written to")
    with hold_folder_for_all(parallel, Path(config.out), PRETRAINING_RUN):
        finished = train_and_export(replace(config, stop_after=""), data, parallel, deadline)
    return Ending(Path(config.out), finished)


def train_and_export(config: PretrainConfig, data: Data, parallel: Parallel, deadline: float) -> bool:
    """``run_pretraining``, by the one process or torchrun that holds the folder."""
    say = print if parallel.first else print_nothing
    out = Path(config.out)
    step = parallel.ask_first(lambda: find_last_step(out))
    before = parallel.ask_first(lambda: read_lengths(config) if config.extend else {})
    asked = replace(choose_length(config, before), extend=False)
    extended = any(before[name] != getattr(asked, name) for name in before)
    config = apply_compat(asked)
    probe = load_probe(config, data) if config.probe and parallel.first else None
    rows = parallel.ask_first(lambda: find_table_rows(out, config.from_))
    pretrainers = create_pretrainers(config, data, say, rows)
    if not (rows or config.init):
        begin_fresh_parts(config, data, pretrainers[0], parallel)
    for pretrainer in pretrainers:
        check_engine(config.engine, pretrainer, parallel)
    if config.engine.keep_best:
        refuse_unknown_figure(config, pretrainers[-1], data, parallel)
    plan = plan_stages(config, pretrainers, data, parallel)
    stages, schedule = plan.scaled(1.0)
    if extended:
        say(describe_extension(config, before, stages[0], schedule, step))
    request = request_run(asked, data, resumed=step > 0, extended=extended)
    if config.from_ and not step:
        step = parallel.ask_first(lambda: begin_cool_down(asked, data, request, plan))
        say(describe_cool_down(config, step))
    else:
        by_time = config.hours or config.from_
        begin_run(request, out, step, parallel, steps=0 if by_time else sum(stage.steps for stage in stages))
    say(describe_run(stages, out, planned=not (config.from_ or config.hours)))
    if config.tokens or config.flops:
        for warning in advise_smaller_steps(config.phases, sum(stage.steps for stage in stages)):
            say(f"warning: {warning}")
    watch = watch_continued(out / "metrics.jsonl") if config.init else judge_lines
    others: dict[str, Recorder] = {}
    settings = card_settings(config, pretrainers[-1].encoder.config.vocab_size)
    parallel.ask_first(lambda: others.update(start_recorders(config.log, out, step, out.resolve().name, settings)))
    recorder = MetricsRecorder(out, SHOWN, step, watch=watch, others=others) if parallel.first else SilentRecorder()
    state = train_stages(
        plan, config.optimizer, config.engine, parallel,
        out / "checkpoints", recorder, build_evaluation(config, data, probe, parallel), config.hours * 3600,
        asked=describe_asked(asked, data), evaluate_first=bool(config.init), deadline=deadline,
    )  # fmt: skip
    if parallel.first:
        stages, _ = plan.scaled(state.scale)
        finish_run(config, data, out, pretrainers[-1], stages, state, anew=state.step > step)
    parallel.wait()
    return state.finished


def apply_compat(config: PretrainConfig) -> PretrainConfig:
    """The config with what its ``compat`` bundles. Raises ``UserError`` for an optimizer or masks that the original has
    not."""
    if config.compat == "none":
        return config
    optimizer, schedule = config.optimizer, config.schedule
    if isinstance(optimizer, Muon) or not isinstance(schedule, LinearDecay):
        raise UserError(f"compat google: the original has no {optimizer.kind} with {schedule.kind}; adamw and linear")
    if config.objective.choose == "whole-words":
        raise UserError("compat google: the original draws tokens, not whole words; leave out objective.choose")
    numbers = {key: value for key, value in asdict(optimizer).items() if key != "kind"}
    objective = replace(config.objective, choose="with-replacement")
    return replace(config, optimizer=GoogleAdam(**numbers), objective=objective)


def print_nothing(*words: object) -> None:
    """``print`` of the processes that are not the first."""


def open_data(config: PretrainConfig, number: int = 0, processes: int = 1) -> Data:
    """The prepared data, verified if that takes seconds, else later by the ``processes`` together, of which this is
    ``number``. Raises ``UserError`` if it is missing or damaged."""
    if not config.data:
        raise UserError("--data is missing: the folder that `electra prepare` wrote")
    data = Data.open(Path(config.data))
    data.verify_at_start(number, processes)
    return data


def create_pretrainers(
    config: PretrainConfig, data: Data, say: Callable[[str], None], table_rows: int = 0
) -> list[Pretrainer]:
    """Build a pre-trainer for each stage of the objective, the first with fresh weights or those of ``config.init``.

    Their vocabulary is the data's; their tables are as long as those of ``config.init`` if it has the same.
    ``table_rows``: how long they are in the checkpoint whose weights they will get, so that no others are read; 0:
    there is none.

    Raises:
        UserError: rows that the encoder cannot read, weights that do not fit, or a generator that nobody trains.
    """
    refuse_unfit_rows(config)
    starts = read_starts(Path(config.init), data.tokenizer) if config.init and not table_rows else []
    rows = table_rows or choose_vocabulary_size(data, starts)
    if rows != config.encoder.vocab_size:
        say(f"vocabulary: {rows:,} word pieces, the data's (the config has {config.encoder.vocab_size:,})")
    encoder = replace(config.encoder, vocab_size=rows)
    pretrainers = build_pretrainers(config.objective, encoder, config.seed, data)
    lowest = config.init_generator == "lowest"
    if lowest:
        refuse_lowest_layers(pretrainers, bool(config.init))
    if table_rows:
        return pretrainers
    if starts:
        for line in load_initial_weights(starts, pretrainers[0], lowest):
            say(line)
    elif pretrainers[0].untrained:
        raise UserError("objective: its generator learns nothing and nobody trained it: bring one with --init FOLDER")
    return pretrainers


def describe_run(stages: Sequence[Stage], out: Path, planned: bool = True) -> str:
    """One line: what is trained and, where that is ``planned`` by the stages, on how much."""
    pretrainer: Any = stages[-1].module  # a Pretrainer, which the engine knows as a module
    sizes = {name: sum(p.numel() for p in part.parameters()) / 1e6 for name, part in pretrainer.parts().items()}
    towers = ", ".join(f"{name} {size:.1f}M parameters" for name, size in sizes.items())
    if not planned:
        return f"{out}: {towers}"
    steps, tokens = sum(stage.steps for stage in stages), sum(stage.steps * stage.tokens for stage in stages)
    flops = sum(stage.steps * stage.flops for stage in stages)
    first = sum(stage.steps * stage.flops for stage in stages if stage.module is stages[0].module)
    staged = f", {first:.3g} of them in the first stage" if first < flops else ""
    return f"{out}: {towers}; {steps:,} steps, {tokens:.3g} tokens, {flops:.3g} floating-point operations{staged}"


def finish_run(
    config: PretrainConfig,
    data: Data,
    out: Path,
    pretrainer: Pretrainer,
    stages: Sequence[Stage],
    state: State,
    anew: bool,
) -> None:
    """Draw the curves and, when every step is done, write ``final/``.

    ``anew``: steps were made since the folders that may be there were written.
    """
    lines = read_metrics(out / "metrics.jsonl")
    curves.draw_curves(lines, out)
    if not state.finished:
        print(f"stopped at step {state.step:,}; the same command goes on from there")
        return
    figures = [line for line in lines if line["split"] == "held-out"][-1]
    settings = card_settings(config, pretrainer.encoder.config.vocab_size)
    towers = [name for name in pretrainer.parts() if anew or not (out / FINAL / name).is_dir()]
    cards = {name: format_model_card(name, settings, figures) for name in towers}
    save_towers(out / FINAL, pretrainer, data.tokenizer_folder, config.objective.kind, cards)
    if not config.objective.keeps_first_encoder or len(config.objective.stages) == 1:
        return
    if kept := count_kept_stages(stages, state.flops):
        figures = [line for line in lines if line["split"] == "held-out" and line["phase"] < kept][-1]
        save_kept_encoder(out, format_model_card("encoder", settings, figures))
        print(f"{out / FINAL}/encoder: the encoder, as it was when the detector in {FINAL}/discriminator began")
    else:
        print(f"{out / FINAL}/discriminator: the encoder, trained further as a detector; {KEPT}/ has the one before")


def card_settings(config: PretrainConfig, vocab_size: int) -> Mapping[str, object]:
    """The config for a model card, which others read: of files and folders it has the last names alone, and the
    ``vocab_size`` is that of the towers, which is the data's."""
    config = replace(config, encoder=replace(config.encoder, vocab_size=vocab_size))
    return plain_tree(config) | {name: Path(getattr(config, name)).name for name in PATHS}
