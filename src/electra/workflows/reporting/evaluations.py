"""Tables of a report: fine-tunings, evaluations and comparisons, with the spread over seeds where there are seeds."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from electra.report.compare import Spread, compute_spread
from electra.report.html.content import ReportedRun, ReportTable, Section, TableCell
from electra.run_folder import read_json
from electra.strict_json import require_shape
from electra.workflows.evaluation_file import Evaluation, read_evaluation
from electra.workflows.finetune_summary import SUMMARY_FILE
from electra.workflows.reporting.inputs import DEMO_SUMMARY

OF_ALL_PAIRS = ("accuracy", "ties", "pairs", "seconds")  # figures of minimal pairs that are no phenomena
SEED_FOLDER = "seed-"

Table = tuple[Section, ReportTable]


@dataclass(frozen=True)
class SeedFigures:
    """A figure over seeds, as the summary of a fine-tuning has it."""

    median: float
    mean: float
    spread: float
    best: float
    values: dict[str, float]


def spread_cell(spread: Spread | None, share: bool = False, best: bool = False, mark: str = "") -> TableCell | None:
    """Mean ± standard deviation as a cell that sorts by the mean; with a bar if it is a share."""
    if spread is None:
        return None
    return TableCell(spread.format() + mark, spread.mean, spread.mean if share else None, best)


def name_group(names: Sequence[str]) -> str:
    """A name for runs that differ in their seed: their folder, or all their names."""
    parents = {os.path.dirname(name) for name in names}
    if len(parents) == 1 and all(os.path.basename(name).startswith(SEED_FOLDER) for name in names):
        return f"{parents.pop() or 'all'}, {len(names)} seeds"
    return ", ".join(names)


def group_runs(runs: Sequence[ReportedRun]) -> dict[str, list[ReportedRun]]:
    """The groups of two runs and more that differ in their seed alone, by their name."""
    groups: dict[str, list[ReportedRun]] = {}
    for run in runs:
        groups.setdefault(run.kind + run.group, []).append(run)
    return {name_group([run.name for run in group]): group for group in groups.values() if len(group) > 1}


def tabulate_seeds(runs: Sequence[ReportedRun]) -> Iterator[Table]:
    """The last figures on held-out text of runs of pre-training that differ in their seed alone."""
    groups = group_runs([run for run in runs if run.kind == "pre-training" and run.last])
    names = list(dict.fromkeys(name for group in groups.values() for run in group for name in run.last))
    rows = [
        [name, *(spread_cell(compute_spread([run.last[key] for run in group if key in run.last])) for key in names)]
        for name, group in groups.items()
    ]
    if rows:
        about = "Mean ± standard deviation over runs that differ in their seed alone."
        yield "evaluations", ReportTable("The last figures on held-out text, over seeds", ("runs", *names), rows, about)


def tabulate_finetunings(folders: Sequence[Path]) -> Iterator[Table]:
    """A table for each task, with a row for each figure and folder of fine-tunings."""
    by_task: dict[str, list[list[object]]] = {}
    failed: dict[str, list[str]] = {}
    for folder in folders:
        for path in sorted(folder.glob(f"*/{SUMMARY_FILE}")):
            summary = read_json(path, "the same `electra finetune` writes it again", dict[str, Any])
            task = path.parent.name
            rates = require_shape(summary.get("rates"), dict[str, dict[str, SeedFigures]], f"{path}: damaged: rates")
            for rate, figures in rates.items():
                name = f"{folder.name}{f', {rate}' if rate else ''}"
                by_task.setdefault(task, []).extend(list_summary_rows(name, figures))
            runs = require_shape(summary.get("failed"), list[str], f"{path}: damaged: failed")
            failed.setdefault(task, []).extend(runs)
    for task, rows in by_task.items():
        about = f"Learned nothing (one prediction for all): {', '.join(failed[task])}." if failed[task] else ""
        header = ("fine-tuning", "figure", "median", "mean ± spread", "best", "seeds")
        yield "evaluations", ReportTable(f"Fine-tuning: {task}", header, rows, about)


def list_summary_rows(name: str, figures: Mapping[str, Mapping[str, Any]]) -> Iterator[list[object]]:
    """The rows of one rate: a figure over seeds each."""
    for figure, summary in figures.items():
        spread = Spread(summary["mean"], summary["spread"], len(summary["values"]))
        yield [name, figure, summary["median"], spread_cell(spread), summary["best"], spread.seeds]


def tabulate_evaluations(files: Sequence[Path], runs: Mapping[str, ReportedRun]) -> Iterator[Table]:
    """A table for each file of `electra evaluate`. ``runs``: real path of a run's folder → the run."""
    for path in files:
        evaluation = read_evaluation(path)
        names = {model: name_model(model, runs) for model in evaluation.scores}
        if evaluation.task == "minimal-pairs":
            yield "pairs", tabulate_pairs_by_phenomenon(evaluation, names)
        elif evaluation.task == "probe":
            yield (
                "probes",
                tabulate_by_figure(evaluation, names, runs, f"Linear probes of {shorten(evaluation.data)}", bars=True),
            )
        else:
            title = f"{evaluation.task.capitalize()}{f': {shorten(evaluation.data)}' if evaluation.data else ''}"
            yield "evaluations", tabulate_by_figure(evaluation, names, runs, title)


def shorten(path: str) -> str:
    """The last part of a path."""
    return Path(path).name


def find_run(model: str, runs: Mapping[str, ReportedRun]) -> ReportedRun | None:
    """The run that a model's folder is, or lies in."""
    real = Path(os.path.realpath(model))
    return next((runs[str(each)] for each in (real, *real.parents) if str(each) in runs), None)


def name_model(model: str, runs: Mapping[str, ReportedRun]) -> str:
    """The name of the run that a model is of, or its path."""
    run, own = find_run(model, runs), shorten(model)
    if run is None:
        return model
    return run.name if own == shorten(run.name) else f"{run.name}, {own}"


def tabulate_by_figure(
    evaluation: Evaluation,
    names: Mapping[str, str],
    runs: Mapping[str, ReportedRun],
    title: str,
    bars: bool = False,
) -> ReportTable:
    """A row for each figure, a column for each model; and, where models are of seeds, one for their mean."""
    figures = list(dict.fromkeys(name for scores in evaluation.scores.values() for name in scores))
    groups: dict[str, list[str]] = {}
    for model in evaluation.scores:
        if run := find_run(model, runs):
            groups.setdefault(f"{run.group} {names[model].removeprefix(run.name)}", []).append(model)
    groups = {name_group([names[model] for model in group]): group for group in groups.values() if len(group) > 1}
    rows: list[list[object]] = []
    for figure in figures:
        row: list[object] = [figure]
        row += [score_cell(scores.get(figure), bars) for scores in evaluation.scores.values()]
        for group in groups.values():
            values = [evaluation.scores[model][figure] for model in group if figure in evaluation.scores[model]]
            row.append(spread_cell(compute_spread(values)))
        rows.append(row)
    means = [f"mean ± spread: {name}" for name in groups]
    return ReportTable(title, ("figure", *(names[model] for model in evaluation.scores), *means), rows)


def score_cell(value: float | None, bar: bool) -> object:
    """A figure's cell, of a share perhaps with a bar."""
    return TableCell(f"{value:.3f}", value, value) if bar and isinstance(value, float) else value


def tabulate_pairs_by_phenomenon(evaluation: Evaluation, names: Mapping[str, str]) -> ReportTable:
    """A row for each phenomenon and one for all pairs; the best of a row stands out, if there are several models."""
    phenomena = list(dict.fromkeys(n for s in evaluation.scores.values() for n in s if n not in OF_ALL_PAIRS))
    rows: list[list[object]] = []
    for name in (*phenomena, "accuracy"):
        values = [scores.get(name) for scores in evaluation.scores.values()]
        best = max((value for value in values if value is not None), default=0.0)
        cells = [
            None
            if value is None
            else TableCell(f"{100 * value:.1f} %", value, value, len(values) > 1 and value == best)
            for value in values
        ]
        rows.append([name if name in phenomena else "all pairs", *cells])
    counts = {scores.get("pairs") for scores in evaluation.scores.values()}
    about = f"{', '.join(f'{count:,.0f}' for count in counts if count is not None)} pairs"
    about += f", {evaluation.limit} of each paradigm at most" if evaluation.limit else ""
    about += ". How often the better sentence gets the better score; a tie is not right; guessing is right in 50 %, "
    return ReportTable(
        f"Minimal pairs of {shorten(evaluation.data)}", ("phenomenon", *names.values()), rows,
        about + "where the line in the bars stands.",
    )  # fmt: skip


def tabulate_demo(folder: Path) -> Iterator[Table]:
    """The summary of `electra demo`: macro-F1 of each model, over draws of the training texts."""
    path = folder / DEMO_SUMMARY
    if not path.is_file():
        return
    summary = read_json(path, "the same `electra demo` writes it again", dict[str, Any])
    scores = require_shape(summary.get("macro_f1", {}), dict[str, dict[str, list[float]]], f"{path}: damaged")
    sizes = list(dict.fromkeys(size for by_size in scores.values() for size in by_size))
    rows = [
        [name, *(spread_cell(compute_spread(by_size.get(size, [])), share=True) for size in sizes)]
        for name, by_size in scores.items()
    ]
    title = f"{folder.name}: which package is a docstring from? macro-F1"
    header = ("model", *(f"{size} texts a class" for size in sizes))
    yield "evaluations", ReportTable(title, header, rows, "Mean ± standard deviation over draws of the training texts.")
