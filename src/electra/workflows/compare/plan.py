"""The config of ``electra compare``, and the plan of its work: read and checked before anything is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from electra import files
from electra.dataset.data import Data
from electra.engine.telemetry import describe_start
from electra.errors import UserError, convert_errors
from electra.model.config import EncoderConfig
from electra.progress import print_warnings
from electra.ranges import Count, CountOrZero, Positive
from electra.report.compare import Unit
from electra.run_folder import Content, Request
from electra.tasks.catalogue import print_problems
from electra.tasks.datasets.labelled import Columns
from electra.tasks.finetuning.problem import FineTuning
from electra.tasks.finetuning.protocol import refuse_unfit_tuning
from electra.tasks.finetuning.sequences import Sequences
from electra.tasks.frozen.similarity import scores_pairs
from electra.workflows.compare import tasks as compare_tasks
from electra.workflows.compare.objectives import Contender, Equal, load_base_config, parse_objectives, size_generators
from electra.workflows.compare.runs import COUNTED, RANDOM, JudgedEncoder, UntrainedEncoder
from electra.workflows.compare.scores import (
    ClozeJudge,
    Judge,
    PairsJudge,
    ProbeJudge,
    SimilarityJudge,
    TuningJudge,
    read_scores,
)
from electra.workflows.compare.tasks import BUILT_IN

COMPARISON = "comparison"  # what the folder says that it holds
CONFIG, PRETRAINING = "config.json", "pretraining.json"
# Settings that may differ in a folder that was begun: with more objectives, seeds or tasks what is missing is made.
# ``data`` and ``settings`` are paths: what they hold is compared, by environment.json and PRETRAINING.
FREE = (
    "out", "data", "settings", "objectives", "budgets", "seeds", "tasks", "probes", "cloze", "pairs", "generator_sizes",
)  # fmt: skip


@dataclass(frozen=True)
class CompareConfig:
    """Train objectives on the same data, from the same seeds, at equal cost; probe, fine-tune and compare the encoders.

    The same command goes on where it stopped. With more objectives, budgets, seeds or tasks it makes what is missing.
    """

    objectives: tuple[str, ...] = ("electra", "mlm")
    """[NAME: ]KIND [SETTING=VALUE …] each, as in "held-back: electra generator_rate=0.3"; the others are held against
    the first. What kinds have in common is the preset's."""
    preset: str = "modern-tiny"
    """Of pre-training: encoder, optimizer, rows."""
    settings: str = ""
    """YAML, TOML or JSON file that is laid over the preset, as --config of `electra pretrain`."""
    data: str = ""
    """Folder that `electra prepare` wrote."""
    out: str = ""
    """Folder to write: table.md, scores.png, scores.jsonl, configs and all runs."""
    budgets: tuple[Positive, ...] = (1e13, 3e13, 1e14)
    """Floating-point operations of each run (`electra.flops`); with --equal time minutes."""
    equal: Equal = "flops"
    """What objectives get the same of: operations, or time on this machine."""
    seeds: Count = 2
    """Runs of each objective and budget: seeds 1, 2 …"""
    tasks: tuple[str, ...] = (BUILT_IN,)
    """What the encoders are probed on and fine-tuned for: cola=FOLDER (any of GLUE's), TRAIN.csv:DEV.csv, FILE.csv, of
    which a fifth is dev, or packages: which package a docstring is from, with few, many and (probed) all labels. Your
    own files are called after the first, or NAME in NAME=TRAIN.csv:DEV.csv."""
    probes: tuple[str, ...] = ()
    """More of them, to be probed alone: a fine-tuning often takes longer than the encoder did. Also tags of words, as
    chunks=conll2000/train.txt:conll2000/test.txt."""
    cloze: bool = False
    """Also train a fresh head, and a fresh vector for [MASK], to recover tokens from the frozen encoders' states. It
    favours masked language modelling, so let it decide nothing alone."""
    columns: Columns = field(default_factory=Columns)
    """Where texts and labels stand in files of your own."""
    tuning: FineTuning = field(default_factory=FineTuning)
    """Of the tasks from files; the built-in one is tuned as `electra demo` does. The pooling is of texts alone."""
    tuning_seeds: Count = 1
    """Fine-tunings of each encoder and task, whose mean is its score."""
    probe_texts: CountOrZero = 5000
    """Texts that a probe is fitted to, and judged by, at most; 0: all."""
    pairs: str = ""
    """Folder of minimal pairs (BLiMP's .jsonl), scored as the encoder's own head can: by replaced tokens, or by
    pseudo-log-likelihood."""
    pair_limit: CountOrZero = 0
    """Pairs of each paradigm to read; 0: all."""
    generator_sizes: tuple[Positive, ...] = ()
    """Widths of the generator, as fractions of the discriminator's, to try at the largest budget with the first
    objective that has one: 0.125 0.25 0.5 1."""


@dataclass(frozen=True)
class Plan:
    """All the work of a comparison, checked. ``sizes``: generator's width → the objective with such a generator."""

    objectives: Sequence[Contender]
    budgets: tuple[float, ...]
    unit: Unit
    sizes: Mapping[float, Contender]
    encoders: Sequence[JudgedEncoder]
    judges: Sequence[Judge]


def plan_comparison(config: CompareConfig) -> Plan:
    """Read and check everything, and begin the folder ``out``.

    Raises:
        UserError: as ``compare``; or ``out`` was begun with other settings or data, or is not ours.
    """
    base, out = load_base_config(config.preset, config.settings, config.data), Path(config.out)
    data = Data.open(Path(config.data))
    objectives, budgets = parse_objectives(base, config.objectives), tuple(sorted(set(config.budgets)))
    sizes = size_generators(objectives, config.generator_sizes)
    smallest, largest = (budgets[at] if config.equal == "flops" else 0.0 for at in (0, -1))
    for contender in objectives:
        contender.check(data, smallest)
    for contender in sizes.values():
        contender.check(data, largest)
    seeds = range(1, config.seeds + 1)
    runs = [
        contender.plan_run(budget, config.equal, seed, out)
        for seed in seeds  # one seed after another, so that a first table is there early
        for budget, contender in [
            *((budget, contender) for budget in budgets for contender in objectives),
            *((budgets[-1], contender) for contender in sizes.values() if contender not in objectives),
        ]
    ]
    for run in runs:
        run.refuse_another(data)
    contents = {"data": Content("data", config.data, data.fingerprint)}
    request = Request(COMPARISON, {CONFIG: config, PRETRAINING: base}, contents, FREE)
    request.refuse_another(out)
    untrained = [
        UntrainedEncoder(name, seed, out / name.replace(" ", "-") / f"seed-{seed}", base.encoder, data)
        for name in ([RANDOM, COUNTED] if base.init_embeddings == "counted" else [RANDOM])
        for seed in seeds
    ]
    encoders: list[JudgedEncoder] = [*untrained, *runs]
    request.adopt(out)
    with files.claim_or_restore(out, COMPARISON):
        judges = read_judges(config, data, base.encoder)
        scores = [read_scores(judge, encoder.folder) for encoder in encoders for judge in judges]
        with convert_errors(str(out), OSError):
            request.begin(out, describe_start(), finished=None not in scores)
            request.write_settings(out)  # what is compared may be more now
    unit: Unit = "FLOPs" if config.equal == "flops" else "minutes"
    return Plan(objectives, budgets, unit, sizes, encoders, judges)


def validate_comparison(config: CompareConfig) -> None:
    """Raises ``UserError`` for settings that are missing."""
    for name in ("data", "out"):
        if not getattr(config, name):
            raise UserError(f"--{name} is missing: electra compare --data data/ --out cmp/")
    for name in ("objectives", "budgets"):
        if not getattr(config, name):
            raise UserError(f"--{name}: at least one is needed")
    if not (config.tasks or config.probes or config.cloze or config.pairs):
        raise UserError("--tasks: nothing to judge the encoders by; give tasks, --probes, --cloze or --pairs")


def read_judges(config: CompareConfig, data: Data, encoder: EncoderConfig) -> list[Judge]:
    """Read the tasks and the minimal pairs, print what was understood of them, and make a judge for each.

    Raises:
        UserError: a task or pairs that cannot be read, or a fine-tuning that the ``encoder`` does not allow.
    """
    tasks, warnings = compare_tasks.read_tasks(
        config.tasks, config.probes, config.columns, config.tuning, Path(config.out)
    )
    print_problems([problem for problem, _ in tasks], preview=False)
    judges: list[Judge] = []
    for problem, tuning in tasks:
        if tuning:
            refuse_unfit_tuning(tuning, problem, encoder.kind, encoder.hidden_size, encoder.max_positions)
        judges += [ProbeJudge(problem, config.probe_texts)]
        if isinstance(problem, Sequences) and scores_pairs(problem.task):
            judges += [SimilarityJudge(problem.task)]
        judges += [TuningJudge(problem, tuning, config.tuning_seeds)] if tuning else []
    if config.cloze:
        judges += [ClozeJudge(data)]
    if config.pairs:
        pairs = PairsJudge(Path(config.pairs), config.pair_limit)
        judges, warnings = [*judges, pairs], [*warnings, *pairs.notes]
    print_warnings(warnings)
    return judges
