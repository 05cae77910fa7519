"""What comes of fine-tuning: a task's figures over rates and seeds, the paper's row, and files for other judges."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from electra import files
from electra.report import seeds
from electra.report.tables import format_table
from electra.run_folder import read_json, write_json
from electra.tasks import submission
from electra.tasks.datasets.glue import GLUE_TASKS, PAPER_ROW
from electra.tasks.finetuning.problem import Problem
from electra.tasks.finetuning.run import MODEL, PREDICTIONS, Figures
from electra.tasks.finetuning.squad import Squad

SUMMARY_FILE = "summary.json"

Summaries = Mapping[str, seeds.FigureSummary]  # by split/metric


class TaskSummary(TypedDict):
    """A task's figures over the seeds of the best rate.

    ``failed``: the folders of runs that predict one value for all; ``best``: the folder of the best run on dev.
    """

    rate: str
    figures: Summaries
    failed: list[str]
    best: str


def summarize_task(
    problem: Problem, figures_by_rate: Mapping[str, Mapping[str, Figures]], read_predictions: bool
) -> tuple[TaskSummary, dict[str, Summaries]]:
    """The summary, and the figures over seeds of every rate.

    ``figures_by_rate``: rate → folder of a run → its figures. The best rate is the one with the best median of the
    first metric on dev. ``read_predictions``: only then is it known which runs failed.
    """
    split, metric = problem.evaluated[0], problem.metrics[0]
    rates: dict[str, Summaries] = {rate: seeds.summarize_seeds(runs) for rate, runs in figures_by_rate.items()}
    best_rate = max(rates, key=lambda rate: rates[rate][f"{split}/{metric}"]["median"])
    runs = figures_by_rate[best_rate]
    failed = [run for run in runs if read_predictions and predicts_one_value(Path(run) / PREDICTIONS, split)]
    best_run = max(runs, key=lambda run: runs[run][split][metric])
    return {"rate": best_rate, "figures": rates[best_rate], "failed": failed, "best": best_run}, rates


def predicts_one_value(predictions: Path, split: str) -> bool:
    """Whether a run predicted the same for every sample of a split that has more than one."""
    values = read_predictions_file(predictions)[split]
    return len({json.dumps(value) for value in values}) == 1 < len(values)


def write_summary(folder: Path, summary: TaskSummary, rates: Mapping[str, Summaries]) -> None:
    """Write the summary and the figures of all rates as JSON."""
    files.remove_partial_files(folder)
    write_json(folder / SUMMARY_FILE, {**summary, "rates": rates}, indent=1)


def print_summary(problem: Problem, summary: TaskSummary, rates: Mapping[str, Summaries]) -> None:
    """Print a table of ``rates``, if there are any, a table of the best rate's figures, and where its best model is."""
    first = f"{problem.evaluated[0]}/{problem.metrics[0]}"
    if rates:
        rows = [[rate, figures[first]["median"], figures[first]["spread"]] for rate, figures in rates.items()]
        print(format_table([f"{problem.name}: {first}", "median", "spread"], rows), end="\n\n")
    rate, count = summary["rate"], len(summary["figures"][first]["values"])
    title = f"{problem.name}{f', {rate}' if rate else ''}, {count} seed{'s' * (count > 1)}"
    print(seeds.format_seed_summary(title, summary["figures"], summary["failed"]))
    print(f"the best: {Path(summary['best']) / MODEL}\n")


def read_predictions_file(path: Path) -> dict[str, list[Any]]:
    """Split → predictions of a run. Raises ``UserError`` for a file that is missing or damaged."""
    return read_json(path, f"remove {path.parent} to run it again", dict[str, list[Any]])


def read_best_predictions(summary: TaskSummary) -> dict[str, Any]:
    """Split → predictions of a task's best run on dev."""
    return read_predictions_file(Path(summary["best"]) / PREDICTIONS)


def write_squad_files(out: Path, problem: Squad, summary: TaskSummary) -> None:
    """Write the best run's answers in a file for each split, as SQuAD's script takes them."""
    threshold = summary["figures"]["dev/threshold"]["values"][summary["best"]] if problem.unanswerable else 0.0
    for split, answers in read_best_predictions(summary).items():
        path = out / problem.name / f"answers-{split}.json"
        submission.write_squad_answers(path, answers, threshold)
        print(f"{path}: as SQuAD's script takes it")


def write_glue_submission(out: Path, summaries: Mapping[str, TaskSummary]) -> None:
    """Write the best runs' predictions as GLUE's server takes them, if it judges any of the tasks."""
    tables: dict[str, str] = {}
    for task, summary in summaries.items():
        tables |= submission.format_submission(task, read_best_predictions(summary))
    if tables:
        submission.write_submission(out / "submission.zip", tables)
        missing = [name for spec in GLUE_TASKS.values() for name in spec.submission.values() if name not in tables]
        lacks = f"; the server wants {', '.join(missing)} too" if missing else ""
        print(f"{out / 'submission.zip'}: {len(tables)} files for the GLUE server{lacks}")


def format_paper_row(summaries: Mapping[str, TaskSummary]) -> str:
    """Table 8's row: each task's first metric on dev in points, medians, and their average."""
    specs = {name: GLUE_TASKS[name] for name in PAPER_ROW}
    names = [name for name in PAPER_ROW if name in summaries]
    medians = [100 * summaries[name]["figures"][f"dev/{specs[name].metrics[0]}"]["median"] for name in names]
    header = ["dev, medians", *(f"{specs[name].folder} {specs[name].metrics[0]}" for name in names), "average"]
    row = ["", *(f"{median:.1f}" for median in medians), f"{sum(medians) / len(medians):.1f}"]
    missing = [specs[name].folder for name in PAPER_ROW if name not in names]
    lacks = f"\nnot the paper's average: without {', '.join(missing)}" if missing else ""
    return format_table(header, [row]) + lacks
