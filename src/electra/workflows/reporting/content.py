"""All that a report shows, collected from the folders and files that it is made of."""

import os
from collections.abc import Sequence
from itertools import chain

from electra.engine.parallel import Parallel
from electra.errors import UserError
from electra.report.html.content import JudgedTexts, ReportContent, ReportedRun, ReportTable, Section
from electra.workflows.pretraining.final import FINAL
from electra.workflows.reporting.comparisons import tabulate_comparison
from electra.workflows.reporting.evaluations import (
    tabulate_demo,
    tabulate_evaluations,
    tabulate_finetunings,
    tabulate_seeds,
)
from electra.workflows.reporting.examples import judge_held_out_texts
from electra.workflows.reporting.inputs import ReportInputs, RunFolder, name_runs
from electra.workflows.reporting.runs import read_run

MOST_JUDGED = 4  # runs whose texts are shown
ABSENT = {
    "curves": "No curves found: no metrics.jsonl beside a config.json in these folders.",
    "evaluations": "No evaluations found: `electra finetune … --out ft/` and then `electra report … ft/`, or "
    "`electra evaluate … --out held-out.json` and then `electra report … held-out.json`.",
    "probes": "No probes found: `electra evaluate … --task probe --on.task cola --on.data glue/CoLA --out probe.json`, "
    "or `electra pretrain … --probe labelled.csv`, which draws them as curves.",
    "pairs": "No minimal pairs found: `electra evaluate … --task minimal-pairs --data blimp/ --out pairs.json`.",
}


def collect_content(inputs: ReportInputs, examples: int, data: str) -> ReportContent:
    """Read everything. ``examples``: held-out rows of each run to show, read from ``data`` (empty: the run's own).

    Raises:
        UserError: a file that is damaged.
    """
    names = name_runs(inputs.runs)
    runs = [read_run(folder, name) for folder, name in zip(inputs.runs, names, strict=True)]
    by_path = {os.path.realpath(folder.path): run for folder, run in zip(inputs.runs, runs, strict=True)}
    tables: dict[Section, list[ReportTable]] = {}
    for section, table in chain(
        chain.from_iterable(map(tabulate_comparison, inputs.comparisons)),
        chain.from_iterable(map(tabulate_demo, inputs.demos)),
        tabulate_finetunings(inputs.finetunings),
        tabulate_evaluations(inputs.evaluations, by_path),
        tabulate_seeds(runs),
    ):
        tables.setdefault(section, []).append(table)
    missing = {section: [line] for section, line in ABSENT.items() if section not in tables}
    if any("probe/best" in run.curves for run in runs):
        missing["probes"] = ["Linear probes while training are among the curves."]
    columns = [name for table in tables.get("evaluations", ()) for name in table.header]
    for section, word in (("probes", ": probe, "), ("pairs", "minimal pairs")):
        if section not in tables and any(word in name for name in columns):
            missing[section] = ["Those of comparisons stand in their tables, under Evaluations."]
    if any(run.curves for run in runs):
        del missing["curves"]
    judged, notes = judge_runs(inputs.runs, runs, examples, data) if examples else ([], [])
    return ReportContent(runs, tables, judged, missing | ({"tokens": notes} if notes else {}))


def judge_runs(
    folders: Sequence[RunFolder], runs: Sequence[ReportedRun], examples: int, data: str
) -> tuple[list[JudgedTexts], list[str]]:
    """The judged texts of the runs that the user named, and a line for each run whose texts are left out."""
    judged, notes = list[JudgedTexts](), list[str]()
    parallel = Parallel.alone()
    pretrained = [(folder, run) for folder, run in zip(folders, runs, strict=True) if folder.kind == "pre-training"]
    for folder, run in pretrained:
        if len(judged) == MOST_JUDGED:
            notes.append(f"{run.name}: left out; the texts of {MOST_JUDGED} runs are shown at most.")
        elif not (folder.path / FINAL).is_dir():
            notes.append(f"{run.name}: no {FINAL}/ in its folder: it is not finished, or its records alone are here.")
        else:
            try:
                judged.append(judge_held_out_texts(folder.path, run.name, data, examples, parallel))
            except UserError as error:
                notes.append(f"{run.name}: left out; {error}")
    return judged, notes
