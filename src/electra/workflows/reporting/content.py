"""All that a report shows, collected from the folders and files that it is made of."""

import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from electra.engine.parallel import Parallel
from electra.errors import UserError
from electra.report.html.content import JudgedTexts, ReportContent, ReportedRun, ReportTable, Section
from electra.run_folder import FINAL
from electra.workflows.reporting.comparisons import tabulate_comparison
from electra.workflows.reporting.evaluations import (
    tabulate_demo,
    tabulate_evaluations,
    tabulate_finetunings,
    tabulate_seeds,
)
from electra.workflows.reporting.examples import judge_held_out_texts
from electra.workflows.reporting.inputs import ReportedFolder, ReportInputs, name_runs
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
    folders: Sequence[ReportedFolder], runs: Sequence[ReportedRun], examples: int, data: str
) -> tuple[list[JudgedTexts], list[str]]:
    """The judged texts of runs of pre-training, and lines that say of which others there are none, and why."""
    judged, left_out = list[JudgedTexts](), dict[str, list[str]]()
    parallel = Parallel.alone()
    for folder, run in zip(folders, runs, strict=True):
        if folder.kind == "pre-training":
            reason = find_reason_to_skip(folder.path, len(judged))
            if not reason:
                try:
                    judged.append(judge_held_out_texts(folder.path, run.name, data, examples, parallel))
                except UserError as error:
                    reason = str(error)
            if reason:
                left_out.setdefault(reason, []).append(run.name)
    return judged, [f"Left out: {', '.join(names)}: {reason}" for reason, names in left_out.items()]


def find_reason_to_skip(run: Path, shown: int) -> str:
    """Why a run's texts are not shown, if that can be told before its weights are read. ``shown``: runs before it."""
    if not (run / FINAL).is_dir():
        return f"no {FINAL}/: not finished, or its records alone are here"
    if not (run / FINAL / "discriminator").is_dir():
        return "no discriminator: a masked language model detects nothing"
    return f"the texts of {MOST_JUDGED} runs are shown at most" if shown == MOST_JUDGED else ""
