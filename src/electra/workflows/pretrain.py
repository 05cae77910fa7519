"""``electra pretrain``: prepared data → a run folder whose ``final/`` anyone can load."""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file

from electra import fingerprints
from electra import tokenization as tokenizer
from electra.config import check_ranges
from electra.dataset import vocabulary as vocabularies
from electra.dataset.data import Data
from electra.dataset.layout import Layout, Paper, RowLength
from electra.dataset.rows import Rows
from electra.dataset.tokens import choose_token_store
from electra.engine import checkpoint
from electra.engine.optim import AdamW, GoogleAdam, LinearDecay, Muon, OptimizerConfig, Schedule, collect_parameters
from electra.engine.parallel import Parallel
from electra.engine.stages import Stage, State
from electra.engine.telemetry import MetricsRecorder, SilentRecorder, describe_start, read_metrics
from electra.engine.train import Engine, check_engine, scale_stages, train_stages
from electra.errors import UserError, convert_errors
from electra.files import write_whole
from electra.interchange import huggingface
from electra.interchange.encoders import TowerReader
from electra.interchange.folders import find_tower_folders, fingerprint_encoder
from electra.interchange.initialise import initialise_towers
from electra.model.config import ClassicConfig, EncoderConfig
from electra.objectives.build import CorpusFacts, Electra, Objective
from electra.objectives.health import judge_lines
from electra.objectives.pretrainer import Pretrainer
from electra.ranges import Count, NotNegative, Seed
from electra.report import curves
from electra.run_folder import Content, Request
from electra.tasks.datasets import labelled
from electra.tasks.datasets.labelled import Columns
from electra.tasks.frozen.held_out import evaluate_held_out
from electra.tasks.frozen.probes import Probe

PRETRAINING_RUN = "run of pretrain"  # what the folder says that it holds
REST = "objective.safetensors"  # in final/: what an objective learned besides its towers
PATHS = ("data", "out", "init", "probe")  # settings that name a file or folder
PROBED, PROBE_LENGTH = 1000, 128  # texts that a probe is fitted to and judged by, and tokens of each: seconds
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
    """Train to the end, or on from where a run in ``config.out`` stopped, and give the run folder.

    Raises:
        UserError: bad data, a run folder of another config, a loss that is not finite, a full disk.
    """
    check_ranges(config)
    parallel = Parallel.start()
    say = print if parallel.first else print_nothing
    data = open_data(config)
    asked, config = config, apply_compat(config)
    probe = load_probe(config, data) if config.probe and parallel.first else None
    pretrainers = build_pretrainers(config, data, say)
    for pretrainer in pretrainers:
        check_engine(config.engine, pretrainer, parallel)
    if not asked.out:
        raise UserError("--out is missing: the folder that the run is written to")
    out = Path(asked.out)
    begun = checkpoint.latest_checkpoint(out / "checkpoints")
    step = checkpoint.step_of_checkpoint(begun) if begun else 0
    request = request_run(asked, data.fingerprint)
    with convert_errors(str(out), OSError):
        request.refuse_another(out)
        if parallel.first:
            finished = bool(begun) and (out / "final").is_dir()
            request.begin(out, describe_start() | {"step": step}, finished)
    parallel.wait()
    tokens = choose_token_store(data.train, parallel.device)
    rows = {p.length: Rows(data.train, config.layout, p.length, config.seed, tokens) for p in config.phases}
    length = config.phases[-1].length
    held_rows = Rows(data.held_out, config.layout, length, config.seed)

    def evaluate(pretrainer: Any) -> dict[str, float]:
        figures = evaluate_held_out(
            pretrainer, held_rows, config.held_out_rows, max(1, 4096 // length), parallel, config.engine.precision
        )
        return figures | (probe.figures(TowerReader(pretrainer.encoder), parallel.device) if probe else {})

    stages, schedule = plan_stages(config, pretrainers, rows)
    say(describe_run(stages, out))
    recorder = MetricsRecorder(out, SHOWN, step, watch=judge_lines) if parallel.first else SilentRecorder()
    state = train_stages(
        stages, config.optimizer, schedule, config.engine, parallel,
        out / "checkpoints", recorder, evaluate, config.hours * 3600,
    )  # fmt: skip
    if parallel.first:
        finish_run(config, data, out, pretrainers[-1], state, anew=state.step > step)
    parallel.wait()
    return out


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


def load_probe(config: PretrainConfig, data: Data) -> Probe:
    """The labelled file as a probe reads it. Raises ``UserError`` as ``labelled.load_labelled`` and ``Probe``."""
    task = labelled.load_labelled(Path(config.probe).stem, {"train": Path(config.probe)}, config.probe_columns)
    return Probe(task, data.tokenizer, min(PROBE_LENGTH, config.encoder.max_positions), PROBED)


def print_nothing(*words: object) -> None:
    """What the processes say that are not the first."""


def open_data(config: PretrainConfig) -> Data:
    """The prepared data, verified where that takes seconds."""
    if not config.data:
        raise UserError("--data is missing: the folder that `electra prepare` wrote")
    data = Data.open(Path(config.data))
    data.verify_small_splits()
    return data


def request_run(config: PretrainConfig, data: str) -> Request:
    """What the run folder is asked to hold; ``data``: the fingerprint of the prepared data.

    Raises:
        UserError: no model in ``config.init``, or a file that cannot be read.
    """
    init = probe = ""
    if config.init:
        folders = find_tower_folders(Path(config.init))
        init = fingerprints.hash_values(map(fingerprint_encoder, folders))
    if config.probe:
        with convert_errors(config.probe, OSError):
            probe = fingerprints.hash_files([Path(config.probe)])
    contents = {
        "data": Content("data", config.data, data),
        "init": Content("initial weights", config.init, init),
        "probe": Content("texts to probe", config.probe, probe),
    }
    return Request(PRETRAINING_RUN, {"config.json": config}, contents, free=PATHS)


def build_pretrainers(config: PretrainConfig, data: Data, say: Callable[[str], None]) -> list[Pretrainer]:
    """A pre-trainer for each stage of the objective, the first with fresh weights or those of ``config.init``; their
    vocabulary is the data's."""
    encoder, length = config.encoder, max(phase.length for phase in config.phases)
    if length > encoder.max_positions:
        raise UserError(f"phases: rows of {length} tokens, but encoder.max_positions is {encoder.max_positions}")
    if encoder.vocab_size != data.vocab_size:
        say(f"vocabulary: {data.vocab_size:,} word pieces, the data's (the config has {encoder.vocab_size:,})")
        encoder = replace(encoder, vocab_size=data.vocab_size)
    torch.manual_seed(config.seed)
    found = [objective.build(encoder, describe_corpus(data), config.seed) for _, objective in config.objective.stages]
    if config.init:
        for line in load_initial_weights(Path(config.init), found[0], data):
            say(line)
    elif found[0].untrained:
        raise UserError("objective: its generator learns nothing and nobody trained it: bring one with --init FOLDER")
    return found


def describe_corpus(data: Data) -> CorpusFacts:
    """What an objective may ask of the data."""
    return CorpusFacts(
        data.train.mask_id,
        lambda: vocabularies.find_word_beginnings(data.tokenizer),
        lambda: vocabularies.count_token_frequencies(data.train),
    )


def load_initial_weights(folder: Path, pretrainer: Pretrainer, data: Data) -> list[str]:
    """Give the pre-trainer the weights in ``folder``; returns what to tell of it.

    Raises:
        UserError: as ``initialise_towers``; or the folder's word pieces are not the data's.
    """
    here, lines = data.tokenizer.backend.get_vocab(with_added_tokens=True), []
    for each in find_tower_folders(folder):
        if not any((each / name).exists() for name in ("tokenizer.json", "vocab.txt")):
            lines.append(f"{each}: no tokenizer there; its word pieces are taken to be those of {data.folder}")
            continue
        there = load_word_pieces(each)
        if there != here:
            differing = len(there.items() ^ here.items())
            raise UserError(
                f"{each}: {differing:,} word pieces or their ids are not those of {data.folder}; "
                f"prepare the data with --tokenizer {each}"
            )
    return [*lines, *initialise_towers(pretrainer.parts(), folder)]


def load_word_pieces(folder: Path) -> dict[str, int]:
    """Word piece → id of the tokenizer in a folder."""
    return tokenizer.load_tokenizer(folder).backend.get_vocab(with_added_tokens=True)


def plan_stages(
    config: PretrainConfig, pretrainers: Sequence[Pretrainer], rows: Mapping[int, Rows]
) -> tuple[list[Stage], Schedule]:
    """The phases as the engine takes them, rescaled to ``config.tokens`` or ``config.flops`` if one is given."""
    stages: list[Stage] = []
    for phase, steps, number, goes_on in split_phases(config):
        pretrainer = pretrainers[number]
        parameters = collect_parameters(pretrainer, pretrainer.towers(), pretrainer.rates, pretrainer.apart)
        tokens, work = phase.rows * phase.length, phase.rows * pretrainer.flops(phase.length)
        stage = Stage(
            pretrainer, parameters, rows[phase.length], steps, phase.rows, tokens, work, fresh=not goes_on
        )  # fmt: skip
        if number:
            stage = replace(stage, begin=partial(pretrainer.begin_from, pretrainers[number - 1]))
        stages.append(stage)
    spans: list[list[int]] = []
    for index, stage in enumerate(stages):
        spans = [*spans, [index]] if stage.fresh or not spans else [*spans[:-1], [*spans[-1], index]]
    for chain in spans:
        span = sum(stages[index].steps for index in chain)
        for index in chain:
            stages[index] = replace(
                stages[index], span=span, offset=sum(stages[before].steps for before in chain if before < index)
            )
    if sum(map(bool, (config.tokens, config.flops, config.hours))) > 1:
        raise UserError("tokens, flops and hours each say how long to train: give one of them")
    by_tokens = config.tokens / sum(stage.steps * stage.tokens for stage in stages)
    by_flops = config.flops / sum(stage.steps * stage.flops for stage in stages)
    return scale_stages(stages, config.schedule, by_tokens or by_flops or 1.0)


def split_phases(config: PretrainConfig) -> Iterator[tuple[Phase, int, int, bool]]:
    """(phase, steps, number of the objective's stage, goes on) of each stretch with one phase and one such stage."""
    total = sum(phase.steps for phase in config.phases)
    shares = itertools.accumulate(share for share, _ in config.objective.stages)
    ends = [round(share * total) for share in shares]
    begin, number = 0, 0
    for phase in config.phases:
        left, goes_on = phase.steps, phase.goes_on
        while left:
            while ends[number] <= begin:
                number, goes_on = number + 1, False
            steps = min(left, ends[number] - begin)
            yield phase, steps, number, goes_on
            begin, left, goes_on = begin + steps, left - steps, True


def describe_run(stages: Sequence[Stage], out: Path) -> str:
    """One line: what is trained, on how much."""
    pretrainer: Any = stages[-1].module
    sizes = {name: sum(p.numel() for p in part.parameters()) / 1e6 for name, part in pretrainer.parts().items()}
    towers = ", ".join(f"{name} {size:.1f}M parameters" for name, size in sizes.items())
    steps, tokens = sum(stage.steps for stage in stages), sum(stage.steps * stage.tokens for stage in stages)
    work = sum(stage.steps * stage.flops for stage in stages)
    return f"{out}: {towers}; {steps:,} steps, {tokens:.3g} tokens, {work:.3g} floating-point operations"


def finish_run(config: PretrainConfig, data: Data, out: Path, pretrainer: Pretrainer, state: State, anew: bool) -> None:
    """Curves as PNG and, when every step is done, ``final/`` with a folder for each tower.

    ``anew``: steps were made since the folders that may be there.
    """
    lines = read_metrics(out / "metrics.jsonl")
    curves.draw_curves(lines, out)
    if not state.finished:
        print(f"stopped at step {state.step:,}; the same command goes on from there")
        return
    figures = [line for line in lines if line["split"] == "held-out"][-1]
    for name, tower in pretrainer.parts().items():
        if not anew and (out / "final" / name).is_dir():
            continue
        text = format_model_card(name, config, figures)
        huggingface.save_tower(out / "final" / name, tower, data.tokenizer_folder, text, config.objective.kind)
    if rest := pretrainer.rest():
        with write_whole(out / "final" / REST) as file:
            save_file({name: value.cpu().contiguous() for name, value in rest.items()}, file)


def format_model_card(name: str, config: PretrainConfig, figures: Mapping[str, object]) -> str:
    """The model card: what it is, how it was trained, what was measured. It is for others: of files and folders it has
    the last names alone."""
    named = {each: Path(getattr(config, each)).name for each in PATHS}
    table = "\n".join(f"| {key} | {value} |" for key, value in figures.items() if key != "split")
    return (
        f"---\nlibrary_name: transformers\ntags: [electra, replaced-token-detection]\n---\n# {name}\n\n"
        f"The {name} of a run of `electra pretrain`.\n\n"
        f"## Held-out figures\n\n| figure | value |\n|---|---|\n{table}\n\n"
        f"## Config\n\n```json\n{json.dumps(asdict(config) | named, indent=1)}\n```\n"
    )
