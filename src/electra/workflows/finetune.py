"""``electra finetune``: an encoder on labelled tasks, several seeds and rates, by the one loop."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from electra import files
from electra.config import check_ranges
from electra.engine.parallel import Parallel
from electra.engine.telemetry import read_metrics
from electra.engine.train import Engine
from electra.errors import UserError
from electra.files import write_whole
from electra.progress import print_warnings
from electra.ranges import Count, CountOrZero, Positive
from electra.report import curves, seeds
from electra.report.tables import format_table
from electra.tasks import submission
from electra.tasks.catalogue import ALL_OF_GLUE, TaskChoice, load_problems
from electra.tasks.datasets.glue import GLUE_TASKS, PAPER_ROW
from electra.tasks.finetuning.problem import FineTuning, Problem
from electra.tasks.finetuning.run import (
    MODEL,
    PREDICTIONS,
    TUNING_ENGINE,
    Figures,
    FineTuningRun,
    RunSettings,
    hash_contents,
)
from electra.tasks.finetuning.squad import Squad

FINETUNINGS = "folder of fine-tunings"  # what it says that it holds
SUMMARY_FILE = "summary.json"


@dataclass(frozen=True)
class FinetuneConfig(TaskChoice):
    """Fine-tune an encoder as the paper does, on GLUE or your own task. The same command goes on where it stopped.

    Your own: --train my.csv --dev more.csv, with the columns text and label (--columns.text …); --kind tags for CoNLL
    columns, --kind answers for SQuAD and MRQA. The models that come out load in transformers with --tuning.head
    transformers; docs/finetuning.md says which do without.
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
    tuning: FineTuning = field(default_factory=FineTuning)
    engine: Engine = TUNING_ENGINE


def finetune(config: FinetuneConfig) -> dict[str, dict[str, Any]]:
    """Task → its figures over seeds.

    Raises:
        UserError: a model, files, columns or labels that cannot be; an ``out`` with runs of other settings, data or
            another model, before anything is written.
    """
    check_ranges(config)
    if not config.model or not config.out:
        raise UserError("which model, and where to? electra finetune runs/s1 --task cola --data glue/CoLA --out ft/")
    parallel = Parallel.start()
    if not parallel.first:
        return finetune_tasks(config, parallel)
    with files.claim_or_restore(Path(config.out), FINETUNINGS):
        return finetune_tasks(config, parallel)


def finetune_tasks(config: FinetuneConfig, parallel: Parallel) -> dict[str, dict[str, Any]]:
    """See ``finetune``."""
    found, told = load_problems(config)
    if parallel.first:
        print_warnings(told)
    planned = [(problem, plan_runs(config, problem)) for problem in found]
    summaries: dict[str, dict[str, Any]] = {}
    for problem, by_rate in planned:
        done = finetune_task(config, problem, by_rate, parallel)
        if done is None:
            if parallel.first:
                print("stopped; the same command goes on from there")
            return summaries
        summaries[problem.name] = done
    if parallel.first:
        for problem in found:
            if isinstance(problem, Squad):
                write_squad_files(Path(config.out), problem, summaries[problem.name])
        if config.task:
            write_glue_submission(Path(config.out), summaries)
    if parallel.first and config.task.endswith(ALL_OF_GLUE):
        print(format_paper_row(summaries))
    return summaries


def plan_runs(config: FinetuneConfig, problem: Problem) -> dict[str, list[FineTuningRun]]:
    """The runs of all seeds by rate ("" without a sweep). Raises ``UserError`` as ``Run.check``."""
    contents = hash_contents(problem, Path(config.model))
    by_rate: dict[str, list[FineTuningRun]] = {}
    for rate in config.sweep or (None,):
        name, tuning = f"rate-{rate:g}" if rate else "", config.tuning
        if rate:
            tuning = replace(tuning, optimizer=replace(tuning.optimizer, learning_rate=rate))
        settings = RunSettings(tuning, config.engine, config.patience)
        folder = Path(config.out) / problem.name / name
        by_rate[name] = [
            FineTuningRun(problem, Path(config.model), settings, seed, folder / f"seed-{seed}", contents)
            for seed in range(1, config.seeds + 1)
        ]
        for run in by_rate[name]:
            run.check()
    return by_rate


def finetune_task(
    config: FinetuneConfig, problem: Problem, by_rate: Mapping[str, Sequence[FineTuningRun]], parallel: Parallel
) -> dict[str, Any] | None:
    """The figures of all rates and seeds on one task, or None if a signal stopped it."""
    found: dict[str, dict[str, Figures]] = {}
    for name, runs in by_rate.items():
        found[name] = {}
        for run in runs:
            figures = run.figures(parallel)
            if figures is None:
                return None
            if parallel.first:
                curves.draw_curves(read_metrics(run.folder / "metrics.jsonl"), run.folder)
            found[name][str(run.folder)] = figures
    return report_task(config, problem, found, parallel)


def report_task(
    config: FinetuneConfig, problem: Problem, by_rate: Mapping[str, Mapping[str, Figures]], parallel: Parallel
) -> dict[str, Any]:
    """The summary of a task, printed and written."""
    first = f"{problem.evaluated[0]}/{problem.metrics[0]}"
    summaries = {name: seeds.summarize_seeds(runs) for name, runs in by_rate.items()}
    best = max(summaries, key=lambda name: summaries[name][first]["median"])
    runs = by_rate[best]
    failed = [path for path in runs if predicts_one_value(Path(path) / PREDICTIONS, problem)] if parallel.first else []
    top = max(runs, key=lambda path: runs[path][problem.evaluated[0]][problem.metrics[0]])
    said = {"rate": best, "figures": summaries[best], "failed": failed, "best": top}
    if parallel.first:
        with write_whole(Path(config.out) / problem.name / SUMMARY_FILE) as file:
            file.write_text(json.dumps(said | {"rates": summaries}, indent=1))
        if config.sweep:
            rows = [[name, each[first]["median"], each[first]["spread"]] for name, each in summaries.items()]
            print(format_table([f"{problem.name}: {first}", "median", "spread"], rows), end="\n\n")
        title = f"{problem.name}{f', {best}' if best else ''}, {len(runs)} seed{'s' * (len(runs) > 1)}"
        print(seeds.format_seed_summary(title, summaries[best], failed))
        print(f"the best: {Path(top) / MODEL}\n")
    return said


def predicts_one_value(predictions: Path, problem: Problem) -> bool:
    """Whether every sample that is judged was given the same."""
    found = json.loads(predictions.read_text(encoding="utf-8"))[problem.evaluated[0]]
    return len({json.dumps(each) for each in found}) == 1 < len(found)


def read_best_predictions(said: Mapping[str, Any]) -> dict[str, Any]:
    """Split → predictions of a task's best run on dev."""
    return json.loads((Path(said["best"]) / PREDICTIONS).read_text(encoding="utf-8"))


def write_squad_files(out: Path, problem: Squad, said: Mapping[str, Any]) -> None:
    """Write what SQuAD's script takes."""
    threshold = said["figures"]["dev/threshold"]["values"][said["best"]] if problem.unanswerable else 0.0
    for split, answers in read_best_predictions(said).items():
        path = out / problem.name / f"answers-{split}.json"
        submission.write_squad_answers(path, answers, threshold)
        print(f"{path}: as SQuAD's script takes it")


def write_glue_submission(out: Path, summaries: Mapping[str, Mapping[str, Any]]) -> None:
    """Write what GLUE's server takes."""
    tables: dict[str, str] = {}
    for task, said in summaries.items():
        tables |= submission.format_submission(task, read_best_predictions(said))
    if tables:
        submission.write_submission(out / "submission.zip", tables)
        missing = [name for spec in GLUE_TASKS.values() for name in spec.submission.values() if name not in tables]
        lacks = f"; the server wants {', '.join(missing)} too" if missing else ""
        print(f"{out / 'submission.zip'}: {len(tables)} files for the GLUE server{lacks}")


def format_paper_row(summaries: Mapping[str, Mapping[str, Any]]) -> str:
    """Table 8's row: each task's first figure on dev in points, medians, and their average."""
    there = [name for name in PAPER_ROW if name in summaries]
    figures = [100 * summaries[name]["figures"][f"dev/{GLUE_TASKS[name].metrics[0]}"]["median"] for name in there]
    header = [
        "dev, medians",
        *(f"{GLUE_TASKS[name].folder} {GLUE_TASKS[name].metrics[0]}" for name in there),
        "average",
    ]
    row = ["", *(f"{figure:.1f}" for figure in figures), f"{sum(figures) / len(figures):.1f}"]
    missing = [GLUE_TASKS[name].folder for name in PAPER_ROW if name not in there]
    lacks = f"\nnot the paper's average: without {', '.join(missing)}" if missing else ""
    return format_table(header, [row]) + lacks
