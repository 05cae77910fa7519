"""What a report is made of: which folder is a run, which holds fine-tunings or a comparison; files of evaluations."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from electra import files
from electra.errors import UserError, convert_errors
from electra.run_folder import FINETUNING_RUN, PRETRAINING_RUN
from electra.workflows.compare.compare import SCORES_FILE
from electra.workflows.compare.plan import COMPARISON
from electra.workflows.evaluation_file import SIGN
from electra.workflows.finetune import FINETUNINGS

MOST_RUNS = 64
METRICS, CONFIG = "metrics.jsonl", "config.json"
DEMO, DEMO_SUMMARY = "demo", "summary.json"

RunKind = Literal["pre-training", "fine-tuning"]


class ReportedFolder(NamedTuple):
    """A folder with curves. ``within``: the folder from which on its path names it. ``given``: the user named it,
    rather than a folder that it lies in."""

    path: Path
    kind: RunKind
    within: Path
    given: bool


@dataclass
class ReportInputs:
    """The parts of a report by what they are; ``runs`` has those of the other folders too."""

    runs: list[ReportedFolder] = field(default_factory=list)
    finetunings: list[Path] = field(default_factory=list)
    comparisons: list[Path] = field(default_factory=list)
    demos: list[Path] = field(default_factory=list)
    evaluations: list[Path] = field(default_factory=list)


def sort_inputs(paths: Sequence[str]) -> ReportInputs:
    """Find out what each path is.

    Raises:
        UserError: something that is none of these, that is given twice, or more runs than a page can show.
    """
    inputs, seen = ReportInputs(), dict[str, str]()
    for name in paths:
        real = os.path.realpath(name)
        if real in seen:
            raise UserError(f"{name}: given twice{f', also as {seen[real]}' if seen[real] != name else ''}")
        seen[real] = name
        with convert_errors(name, OSError, ValueError):
            add_input(Path(name), inputs)
    inputs.runs = list({os.path.realpath(run.path): run for run in sorted(inputs.runs, key=lambda r: r.given)}.values())
    order = {os.path.realpath(name): number for number, name in enumerate(paths)}
    inputs.runs.sort(key=lambda run: order.get(os.path.realpath(run.path), len(order)))
    if len(inputs.runs) > MOST_RUNS:
        raise UserError(
            f"{len(inputs.runs)} runs, and a page shows {MOST_RUNS} at most: give some of them by their folders"
        )
    return inputs


def add_input(path: Path, inputs: ReportInputs) -> None:
    """Add what lies at a path. Raises ``UserError`` if a report shows nothing of it."""
    if path.is_file():
        with path.open("rb") as file:
            if SIGN not in file.read(files.SIGN_WITHIN):
                raise UserError(f"{path}: no evaluation; `electra evaluate … --out {path.name}` writes one")
        inputs.evaluations.append(path)
        return
    if not path.is_dir():
        raise UserError(f"{path}: no such folder or file")
    kind = files.read_kind(path) or guess_kind(path)
    if kind == PRETRAINING_RUN:
        inputs.runs.append(ReportedFolder(path, "pre-training", path.parent, True))
    elif kind == FINETUNING_RUN:
        inputs.runs.append(ReportedFolder(path, "fine-tuning", path.parent, True))
    elif kind == FINETUNINGS:
        inputs.finetunings.append(path)
        inputs.runs += find_runs_below(path, "fine-tuning", path.parent)
    elif kind == COMPARISON:
        inputs.comparisons.append(path)
        inputs.runs += find_runs_below(path / "runs", "pre-training", path / "runs")
    elif kind == DEMO:
        inputs.demos.append(path)
        inputs.runs += find_runs_below(path, "pre-training", path.parent)
    else:
        raise UserError(
            f"{path}: {f'a {kind}' if kind else 'not a folder of this program'}; expected a folder that `electra "
            "pretrain`, `finetune`, `compare` or `demo` wrote, or a file of `electra evaluate --out`"
        )


def guess_kind(path: Path) -> str | None:
    """What a folder without ``electra.json`` holds: a run of version 0.1, or records that somebody copied."""
    if (path / SCORES_FILE).is_file():
        return COMPARISON
    if (path / METRICS).is_file() and (path / CONFIG).is_file():
        return FINETUNING_RUN if (path / "predictions.json").is_file() else PRETRAINING_RUN
    return None


def find_runs_below(folder: Path, kind: RunKind, within: Path) -> Iterator[ReportedFolder]:
    """The folders with curves below one, by name; not those within a run."""
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if not path.is_dir() or path.is_symlink():
            continue
        if (path / METRICS).is_file() and (path / CONFIG).is_file():
            yield ReportedFolder(path, kind, within, False)
        else:
            yield from find_runs_below(path, kind, within)


def name_runs(folders: Sequence[ReportedFolder]) -> list[str]:
    """A short name for each folder: the end of its path, as long as is needed to tell it from the others."""
    parts = [Path(os.path.abspath(folder.path)).parts for folder in folders]
    kept = [max(1, len(folder.path.relative_to(folder.within).parts)) for folder in folders]
    while True:
        names = ["/".join(path[-count:]) for path, count in zip(parts, kept, strict=True)]
        alike = {name for name, count in Counter(names).items() if count > 1}
        if not alike:
            return names
        kept = [count + (name in alike) for name, count in zip(names, kept, strict=True)]
