"""``electra finetune``: an encoder on labelled tasks, several seeds and rates, by the one loop."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from electra import files
from electra.config import check_ranges
from electra.engine.parallel import Parallel
from electra.engine.recorders import LogTarget, check_recorders
from electra.engine.telemetry import read_metrics
from electra.engine.train import Engine
from electra.errors import UserError, convert_errors
from electra.interchange.folders import find_encoder
from electra.progress import print_warnings
from electra.ranges import Count, CountOrZero, Positive
from electra.report import curves
from electra.stopping import Ending, find_deadline
from electra.tasks.catalogue import ALL_OF_GLUE, TaskChoice, load_problems, print_problems
from electra.tasks.finetuning.problem import FineTuning, Problem
from electra.tasks.finetuning.run import TUNING_ENGINE, Figures, FineTuningRun, RunSettings, hash_contents
from electra.tasks.finetuning.squad import Squad
from electra.tokenization.settings import refuse_code
from electra.workflows.finetune_summary import (
    TaskSummary,
    format_paper_row,
    print_summary,
    summarize_task,
    write_glue_submission,
    write_squad_files,
    write_summary,
)

FINETUNINGS = "folder of fine-tunings"  # what it says that it holds


@dataclass(frozen=True)
class FinetuneConfig(TaskChoice):
    """Fine-tune an encoder on GLUE, as the paper does, or on your own task. The same command goes on where it stopped.

    Your own: --train my.csv --dev more.csv, with the columns text and label (--columns.text …); --kind tags for CoNLL
    columns, --kind answers for SQuAD and MRQA. What comes out of your own texts and tags loads in transformers; of
    GLUE and answers with --tuning.head transformers.
    """

    model: str = ""
    """Run folder, exported folder, or any encoder folder of Hugging Face's (BERT, RoBERTa, ModernBERT …)."""
    out: str = ""
    """Folder to write: TASK/seed-1/ with figures, predictions and the model, and so on."""
    seeds: Count = 1
    """How many runs, which differ in their head, order and dropout."""
    sweep: tuple[Positive, ...] = ()
    """Learning rates to try, each with all seeds; the best by the median on dev is named and taken."""
    patience: CountOrZero = 0
    """Stop after so many evaluations (once an epoch, or as --engine.evaluate-every says) without a better first metric
    on dev, and take the best weights; 0: train to the end and take the last."""
    keep_layers: CountOrZero = 0
    """How many of the encoder's layers to keep, the lowest: the last ones of a detector know little but detection. 0:
    all. `electra evaluate --task probe` says what each layer knows."""
    stop_after: str = ""
    """Stop so long after this start (2.8h, 90m, 3600s): the run under way saves a checkpoint, and the command ends with
    code 75. The same command goes on. Leave a minute before a limit of the machine's."""
    preview: bool = False
    """Print what is read of the files, with the first rows of each, and stop. It needs no model."""
    tuning: FineTuning = field(default_factory=FineTuning)
    engine: Engine = TUNING_ENGINE
    log: tuple[LogTarget, ...] = ()
    """Where all figures go besides metrics.jsonl: tensorboard (into each run's folder), wandb (Weights & Biases)."""


def finetune(config: FinetuneConfig) -> dict[str, TaskSummary]:
    """Fine-tune on every task with every rate and seed, and return the summary of each task by its name: of
    none with ``preview``, which only prints what is read, and only of those that were finished before a signal or
    ``config.stop_after``.

    Raises:
        UserError: a model, files, columns or labels that cannot be; an ``out`` with runs of other settings, data or
            another model, before anything is written.
    """
    return run_finetuning(config).result


def run_finetuning(config: FinetuneConfig) -> Ending[dict[str, TaskSummary]]:
    """``finetune``, which also says whether all tasks are finished."""
    deadline = find_deadline(config.stop_after)
    check_ranges(config)
    if config.preview:
        problems, warnings = load_problems(config)
        print_warnings(warnings)
        print_problems(problems, preview=True)
        return Ending({}, finished=True)
    if not config.model or not config.out:
        raise UserError("which model, and where to? electra finetune runs/s1 --task cola --data glue/CoLA --out ft/")
    parallel = Parallel.start()
    parallel.ask_first(lambda: check_recorders(config.log))
    if not parallel.first:
        return finetune_tasks(config, parallel, deadline)
    out = Path(config.out)
    with convert_errors(str(out), OSError), files.claim_or_restore(out, FINETUNINGS):
        files.remove_partial_files(out)
        return finetune_tasks(config, parallel, deadline)


def finetune_tasks(config: FinetuneConfig, parallel: Parallel, deadline: float) -> Ending[dict[str, TaskSummary]]:
    """``run_finetuning`` in one process. All runs are checked before the first begins; after a stop the tasks that were
    not finished are missing from the result."""
    problems, warnings = load_problems(config)
    if parallel.first:
        print_warnings(warnings)
    runs_by_problem = [(problem, plan_runs(config, problem)) for problem in problems]
    if parallel.first:
        print_problems(problems, preview=False)
    summaries: dict[str, TaskSummary] = {}
    for problem, runs_by_rate in runs_by_problem:
        summary = finetune_task(config, problem, runs_by_rate, parallel, deadline)
        if summary is None:
            if parallel.first:
                print("stopped; the same command goes on from there")
            return Ending(summaries, finished=False)
        summaries[problem.name] = summary
    if parallel.first:
        for problem in problems:
            if isinstance(problem, Squad):
                write_squad_files(Path(config.out), problem, summaries[problem.name])
        if config.task:
            write_glue_submission(Path(config.out), summaries)
        if config.task.endswith(ALL_OF_GLUE):
            print(format_paper_row(summaries))
    return Ending(summaries, finished=True)


def plan_runs(config: FinetuneConfig, problem: Problem) -> dict[str, list[FineTuningRun]]:
    """The runs of all seeds by the name of their rate, "" without a sweep. Raises ``UserError`` as their ``check``."""
    refuse_code(find_encoder(Path(config.model)))
    contents = hash_contents(problem, Path(config.model))
    runs_by_rate: dict[str, list[FineTuningRun]] = {}
    for rate in config.sweep or (None,):
        name, tuning = f"rate-{rate:g}" if rate else "", config.tuning
        if rate:
            tuning = replace(tuning, optimizer=replace(tuning.optimizer, learning_rate=rate))
        settings = RunSettings(tuning, config.engine, config.patience, config.keep_layers, config.log)
        folder = Path(config.out) / problem.name / name
        runs_by_rate[name] = [
            FineTuningRun(problem, Path(config.model), settings, seed, folder / f"seed-{seed}", contents)
            for seed in range(1, config.seeds + 1)
        ]
        for run in runs_by_rate[name]:
            run.refuse_another()
    return runs_by_rate


def finetune_task(
    config: FinetuneConfig,
    problem: Problem,
    runs_by_rate: Mapping[str, Sequence[FineTuningRun]],
    parallel: Parallel,
    deadline: float,
) -> TaskSummary | None:
    """Make the runs of one task; print, write and return its summary. None if it was stopped."""
    figures_by_rate: dict[str, dict[str, Figures]] = {}
    for rate, runs in runs_by_rate.items():
        figures_by_rate[rate] = {}
        for run in runs:
            figures = run.train_and_judge(parallel, deadline)
            if figures is None:
                return None
            if parallel.first:
                curves.draw_curves(read_metrics(run.folder / "metrics.jsonl"), run.folder)
            figures_by_rate[rate][str(run.folder)] = figures
    summary, rates = summarize_task(problem, figures_by_rate, read_predictions=parallel.first)
    if parallel.first:
        write_summary(Path(config.out) / problem.name, summary, rates)
        print_summary(problem, summary, rates if config.sweep else {})
    return summary
