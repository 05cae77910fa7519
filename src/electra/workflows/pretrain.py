"""``electra pretrain``: prepared data → a run folder whose ``final/`` anyone can load."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from electra import fingerprints
from electra.config import check_ranges, load_config, plain_tree
from electra.dataset.data import Data
from electra.dataset.layout import Layout, Paper, RowLength
from electra.dataset.rows import Rows
from electra.dataset.tokens import choose_token_store
from electra.engine import checkpoint
from electra.engine.optim import AdamW, GoogleAdam, LinearDecay, Muon, OptimizerConfig, Schedule, collect_parameters
from electra.engine.parallel import Parallel
from electra.engine.process import hold_folder_for_all
from electra.engine.scaling import chain_stages, cut_phases, scale_stages, scale_to_budget
from electra.engine.stages import Stage, State
from electra.engine.telemetry import MetricsRecorder, SilentRecorder, describe_start, read_metrics
from electra.engine.train import Engine, Evaluate, check_engine, train_stages
from electra.errors import UserError, convert_errors
from electra.interchange.encoders import TowerReader
from electra.model.config import ClassicConfig, EncoderConfig
from electra.objectives.build import CocoLm, Electra, Objective
from electra.objectives.health import judge_lines
from electra.objectives.pretrainer import Pretrainer
from electra.progress import print_warnings
from electra.ranges import Count, NotNegative, Seed
from electra.report import curves
from electra.run_folder import Content, Request, leave_out
from electra.tasks.datasets import labelled
from electra.tasks.datasets.labelled import Columns
from electra.tasks.finetuning.sequences import Sequences
from electra.tasks.frozen.held_out import evaluate_held_out
from electra.tasks.frozen.probes import Probe
from electra.workflows.pretraining.final import (
    FINAL,
    format_model_card,
    keep_encoder,
    save_kept_encoder,
    save_towers,
)
from electra.workflows.pretraining.pretrainers import (
    build_pretrainers,
    choose_vocabulary_size,
    fingerprint_initial_weights,
    load_initial_weights,
)

PRETRAINING_RUN = "run of pretrain"  # what the folder says that it holds
PATHS = ("data", "out", "init", "probe")  # settings that name a file or folder
LENGTHS = ("tokens", "flops")  # settings that --extend may change
# Settings that change a run's results by rounding at most.
FREE_OF_ENGINE = ("log_every", "keep", "save_every", "evaluate_every", "activation_checkpointing")
MICRO_ROWS = "engine.micro_rows"  # as those, but for a term of the loss that compares the rows of a micro-batch
FREE = (*PATHS, "extend", *(f"engine.{name}" for name in FREE_OF_ENGINE))
PROBED, PROBE_LENGTH = 1000, 128  # texts that a probe is fitted to and judged by, and tokens of each: seconds
TABLE = "embeddings.tokens.weight"  # how the names of tables in a checkpoint end
HELD_OUT_TOKENS = 4096  # tokens that an evaluation reads at once
SHOWN = {
    "generator/loss": "mlm",
    "generator/accuracy": "right",
    "discriminator/loss": "rtd",
    "discriminator/skill": "skill",
    "discriminator/auc": "auc",
    "probe/best": "probe",
    "tokens_per_second": "tok/s",
}


@dataclass(frozen=True)
class Phase:
    """A stretch of steps with rows of one length."""

    steps: Count = 1_000_000
    length: RowLength = 128
    """Tokens a row, special tokens included."""
    rows: Count = 128
    """Rows a step, over all processes and micro-batches."""
    goes_on: bool = False
    """Optimizer and schedule go on from the phase before, instead of starting anew."""


@dataclass(frozen=True)
class PretrainConfig:
    """Pre-train an encoder on prepared data. The same command again goes on exactly where it stopped."""

    data: str = ""
    """Folder that `electra prepare` wrote."""
    out: str = ""
    """Run folder: config, metrics.jsonl, checkpoints, curves and final/."""
    encoder: EncoderConfig = field(default_factory=ClassicConfig)
    objective: Objective = field(default_factory=Electra)
    layout: Layout = field(default_factory=Paper)
    optimizer: OptimizerConfig = field(default_factory=AdamW)
    schedule: Schedule = field(default_factory=LinearDecay)
    phases: tuple[Phase, ...] = (Phase(),)
    engine: Engine = field(default_factory=Engine)
    compat: Literal["none", "google"] = "none"
    """google: the original code's arithmetic. Positions are drawn with replacement, and where one is drawn twice the
    mean of two ids comes to stand; Adam without bias correction; decay times warm-up."""
    seed: Seed = 1
    tokens: NotNegative = 0.0
    """Train on about so many tokens (padding included) instead of the phases' steps: steps and warm-up are rescaled."""
    flops: NotNegative = 0.0
    """Train for about so many floating-point operations (`electra.flops`) instead, rescaled in the same way."""
    hours: NotNegative = 0.0
    """Train for about so many hours on this machine: steps and warm-up are rescaled by a measurement at the start."""
    extend: bool = False
    """Lengthen the run in --out to --tokens or --flops. It goes on with the schedule of a run of that length."""
    init: str = ""
    """Start from the weights in this folder: an exported one, a run's final/, or Hugging Face's ELECTRA."""
    held_out_rows: Count = 512
    """Rows of the held-out split that an evaluation reads."""
    probe: str = ""
    """A labelled .csv, .tsv, .jsonl or .parquet: at each evaluation a linear probe says how well the encoder, frozen,
    tells its labels, in metrics.jsonl and the curves."""
    probe_columns: Columns = field(default_factory=Columns)
    """Where its texts and labels stand."""


def pretrain(config: PretrainConfig) -> Path:
    """Train to the end, or on from where a run in ``config.out`` stopped; returns the run folder.

    Raises:
        UserError: bad data, a run folder of another config or that another process works in, a gradient that is not
            finite, a full disk.
    """
    check_ranges(config)
    parallel = Parallel.start()
    data = open_data(config)
    if not config.out:
        raise UserError("--out is missing: the folder that the run is written to")
    with hold_folder_for_all(parallel, Path(config.out), PRETRAINING_RUN):
        return train_and_export(config, data, parallel)


def train_and_export(config: PretrainConfig, data: Data, parallel: Parallel) -> Path:
    """``pretrain``, by the one process or torchrun that holds the folder."""
    say = print if parallel.first else print_nothing
    out = Path(config.out)
    step = parallel.ask_first(lambda: find_last_step(out))
    before = parallel.ask_first(lambda: read_lengths(config) if config.extend else {})
    asked = replace(choose_length(config, before), extend=False)
    extended = any(before[name] != getattr(asked, name) for name in before)
    config = apply_compat(asked)
    probe = load_probe(config, data) if config.probe and parallel.first else None
    rows = parallel.ask_first(lambda: find_table_rows(out))
    pretrainers = create_pretrainers(config, data, say, rows)
    for pretrainer in pretrainers:
        check_engine(config.engine, pretrainer, parallel)
    stages, schedule = plan_stages(config, pretrainers, data, parallel)
    if extended:
        say(describe_extension(config, before, stages[0], schedule, step))
    request = request_run(asked, data, resumed=step > 0, extended=extended)
    begin_run(request, out, step, parallel, steps=0 if config.hours else sum(stage.steps for stage in stages))
    say(describe_run(stages, out))
    recorder = MetricsRecorder(out, SHOWN, step, watch=judge_lines) if parallel.first else SilentRecorder()
    state = train_stages(
        stages, config.optimizer, schedule, config.engine, parallel,
        out / "checkpoints", recorder, build_evaluation(config, data, probe, parallel), config.hours * 3600,
        asked=describe_asked(asked, data),
    )  # fmt: skip
    if parallel.first:
        finish_run(config, data, out, pretrainers[-1], state, anew=state.step > step)
    parallel.wait()
    return out


def find_table_rows(out: Path) -> int:
    """How many embeddings the last checkpoint in a run folder has; 0 if there is none."""
    latest = checkpoint.latest_checkpoint(out / "checkpoints")
    shapes = checkpoint.read_shapes(latest) if latest else {}
    return max((shape[0] for name, shape in shapes.items() if name.endswith(TABLE)), default=0)


def find_last_step(out: Path) -> int:
    """The step of the last checkpoint in a run folder; 0 if there is none."""
    latest = checkpoint.latest_checkpoint(out / "checkpoints")
    return checkpoint.step_of_checkpoint(latest) if latest else 0


def read_lengths(config: PretrainConfig) -> dict[str, float]:
    """The tokens and FLOPs that the run in ``config.out`` was begun for: what --extend changes.

    Raises:
        UserError: there is no run, or it cannot be lengthened.
    """
    path = Path(config.out) / "config.json"
    if not path.is_file():
        raise UserError(f"--extend: {config.out} holds no run to lengthen")
    before = load_config(PretrainConfig(), path)
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


def apply_compat(config: PretrainConfig) -> PretrainConfig:
    """The config with what its ``compat`` bundles. Raises ``UserError`` for an optimizer that the original has not."""
    if config.compat == "none":
        return config
    optimizer, schedule = config.optimizer, config.schedule
    if isinstance(optimizer, Muon) or not isinstance(schedule, LinearDecay):
        raise UserError(f"compat google: the original has no {optimizer.kind} with {schedule.kind}; adamw and linear")
    numbers = {key: value for key, value in asdict(optimizer).items() if key != "kind"}
    objective = replace(config.objective, choose="with-replacement")
    return replace(config, optimizer=GoogleAdam(**numbers), objective=objective)


def print_nothing(*words: object) -> None:
    """``print`` of the processes that are not the first."""


def open_data(config: PretrainConfig) -> Data:
    """The prepared data, verified if that takes seconds. Raises ``UserError`` if it is missing or damaged."""
    if not config.data:
        raise UserError("--data is missing: the folder that `electra prepare` wrote")
    data = Data.open(Path(config.data))
    data.verify_at_start()
    return data


def load_probe(config: PretrainConfig, data: Data) -> Probe:
    """Read the labelled file for a probe. Raises ``UserError`` as ``labelled.load_labelled`` and ``Probe``."""
    task = labelled.load_labelled(Path(config.probe).stem, {"train": Path(config.probe)}, config.probe_columns)
    print_warnings(labelled.note_samples(task))
    print(*Sequences(task).account("train", preview=False), sep="\n")
    return Probe(task, data.tokenizer, min(PROBE_LENGTH, config.encoder.max_positions), PROBED)


def create_pretrainers(
    config: PretrainConfig, data: Data, say: Callable[[str], None], table_rows: int = 0
) -> list[Pretrainer]:
    """Build a pre-trainer for each stage of the objective, the first with fresh weights or those of ``config.init``.

    Their vocabulary is the data's; their tables are as long as those of ``config.init``. ``table_rows``: how
    long they are in the checkpoint whose weights they will get, so that no others are read; 0: there is none.

    Raises:
        UserError: rows that the encoder is too short for, weights that do not fit, or a generator that nobody trains.
    """
    encoder, length = config.encoder, max(phase.length for phase in config.phases)
    if length > encoder.max_positions:
        raise UserError(f"phases: rows of {length} tokens, but encoder.max_positions is {encoder.max_positions}")
    if encoder.vocab_size != data.vocab_size:
        say(f"vocabulary: {data.vocab_size:,} word pieces, the data's (the config has {encoder.vocab_size:,})")
    encoder = replace(encoder, vocab_size=table_rows or choose_vocabulary_size(data, config.init))
    pretrainers = build_pretrainers(config.objective, encoder, config.seed, data)
    if table_rows:
        return pretrainers
    if config.init:
        for line in load_initial_weights(Path(config.init), pretrainers[0], data):
            say(line)
    elif pretrainers[0].untrained:
        raise UserError("objective: its generator learns nothing and nobody trained it: bring one with --init FOLDER")
    return pretrainers


def request_run(config: PretrainConfig, data: Data, resumed: bool = False, extended: bool = False) -> Request:
    """What the run folder is asked to hold.

    ``resumed``: a checkpoint is there, so the initial weights are not read again. ``extended``: the run may become
    longer.

    Raises:
        UserError: an ``init`` or ``probe`` cannot be read.
    """
    init = fingerprint_initial_weights(Path(config.init)) if config.init and not resumed else ""
    with convert_errors(config.probe, OSError):
        probe = fingerprints.hash_files([Path(config.probe)]) if config.probe else ""
    contents = {
        "data": Content("data", config.data, data.fingerprint),
        "init": Content("initial weights", config.init, None if resumed else init),
        "probe": Content("texts to probe", config.probe, probe),
    }
    free = (*FREE, *(() if compares_rows(config.objective) else (MICRO_ROWS,)), *(LENGTHS if extended else ()))
    return Request(PRETRAINING_RUN, {"config.json": config}, contents, free)


def compares_rows(objective: Objective) -> bool:
    """Whether a term of the loss compares the rows of a micro-batch, so that ``engine.micro_rows`` changes it."""
    return any(isinstance(stage, CocoLm) and stage.contrast_weight > 0 for _, stage in objective.stages)


def describe_asked(config: PretrainConfig, data: Data) -> dict[str, object]:
    """What each checkpoint says that its run was asked: the seed, the data, and all other settings that stay."""
    settings = leave_out(plain_tree(config), (*FREE, MICRO_ROWS, *LENGTHS))
    return {"seed": config.seed, "config": fingerprints.hash_values([settings]), "data": data.fingerprint}


def begin_run(request: Request, out: Path, step: int, parallel: Parallel, steps: int) -> None:
    """Begin the run folder, or go on in it. ``step``: of its last checkpoint; ``steps``: of the whole run, 0 if it ends
    by time.

    Raises:
        UserError: the folder holds a run of another config or of other contents, or is not ours.
    """
    request.refuse_another(out)
    if parallel.first:
        finished = step > 0 and step >= steps and (out / FINAL).is_dir()
        request.begin(out, describe_start() | {"step": step}, finished)
    parallel.wait()


def plan_stages(
    config: PretrainConfig, pretrainers: Sequence[Pretrainer], data: Data, parallel: Parallel
) -> tuple[list[Stage], Schedule]:
    """The stages and the schedule that the engine runs, scaled to ``config.tokens`` or ``config.flops`` if given."""
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
        )
        if stretch.module:
            stage = replace(stage, begin=partial(begin_stage, config, data, pretrainers, stretch.module, parallel))
        stages.append(stage)
    return scale_stages(chain_stages(stages), config.schedule, scale_to_budget(stages, config.tokens, config.flops))


def begin_stage(
    config: PretrainConfig, data: Data, pretrainers: Sequence[Pretrainer], number: int, parallel: Parallel
) -> None:
    """Let a pre-trainer begin with the weights of the one before, whose encoder is kept if the objective says so."""
    before = pretrainers[number - 1]
    if config.objective.keeps_first_encoder and parallel.first:
        keep_encoder(Path(config.out), before, data.tokenizer_folder, config.objective.kind)
    pretrainers[number].begin_from(before)


def build_evaluation(config: PretrainConfig, data: Data, probe: Probe | None, parallel: Parallel) -> Evaluate:
    """The function that gives a pre-trainer's figures on held-out text, and the probe's if there is one."""
    length = config.phases[-1].length
    rows = Rows(data.held_out, config.layout, length, config.seed)
    batch_rows = max(1, HELD_OUT_TOKENS // length)

    # Any: a Pretrainer, which the engine knows as a module.
    def evaluate_pretrainer(pretrainer: Any) -> dict[str, float]:
        figures = evaluate_held_out(
            pretrainer, rows, config.held_out_rows, batch_rows, parallel, config.engine.precision
        )
        return figures | (probe.figures(TowerReader(pretrainer.encoder), parallel.device) if probe else {})

    return evaluate_pretrainer


def describe_run(stages: Sequence[Stage], out: Path) -> str:
    """One line: what is trained, on how much."""
    pretrainer: Any = stages[-1].module  # a Pretrainer, which the engine knows as a module
    sizes = {name: sum(p.numel() for p in part.parameters()) / 1e6 for name, part in pretrainer.parts().items()}
    towers = ", ".join(f"{name} {size:.1f}M parameters" for name, size in sizes.items())
    steps, tokens = sum(stage.steps for stage in stages), sum(stage.steps * stage.tokens for stage in stages)
    flops = sum(stage.steps * stage.flops for stage in stages)
    return f"{out}: {towers}; {steps:,} steps, {tokens:.3g} tokens, {flops:.3g} floating-point operations"


def finish_run(config: PretrainConfig, data: Data, out: Path, pretrainer: Pretrainer, state: State, anew: bool) -> None:
    """Draw the curves and, when every step is done, write ``final/``.

    ``anew``: steps were made since the folders that may be there were written.
    """
    lines = read_metrics(out / "metrics.jsonl")
    curves.draw_curves(lines, out)
    if not state.finished:
        print(f"stopped at step {state.step:,}; the same command goes on from there")
        return
    figures = [line for line in lines if line["split"] == "held-out"][-1]
    settings = card_settings(config)
    towers = [name for name in pretrainer.parts() if anew or not (out / FINAL / name).is_dir()]
    cards = {name: format_model_card(name, settings, figures) for name in towers}
    save_towers(out / FINAL, pretrainer, data.tokenizer_folder, config.objective.kind, cards)
    if config.objective.keeps_first_encoder and len(config.objective.stages) > 1:
        figures = next((line for line in reversed(lines) if line["phase"] == 0), {})
        save_kept_encoder(out, format_model_card("encoder", settings, figures))


def card_settings(config: PretrainConfig) -> Mapping[str, object]:
    """The config for a model card, which others read: of files and folders it has the last names alone."""
    return plain_tree(config) | {name: Path(getattr(config, name)).name for name in PATHS}
