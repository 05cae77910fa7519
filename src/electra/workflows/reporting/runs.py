"""A run folder as a report shows it: its curves, settings, environment and health."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from electra import files
from electra.engine.telemetry import VERDICT, MetricsLine, read_metrics
from electra.errors import UserError
from electra.report.html.content import CurveLine, HealthRecord, ReportedRun
from electra.report.html.figures import TASK
from electra.run_folder import CHANGED, ENVIRONMENT, FINAL, RESULT, STARTS, read_json
from electra.strict_json import require_shape
from electra.workflows.compare.runs import COST
from electra.workflows.reporting.facts import finite_or_none, list_facts
from electra.workflows.reporting.inputs import CONFIG, METRICS, ReportedFolder

AXES = {"tokens": ("tokens", 1.0), "flops": ("flops", 1.0), "hours": ("seconds", 3600.0)}  # figure, unit
NO_FIGURES = {"step", "phase", "epoch", "split", *(name for name, _ in AXES.values())}
OF_THE_RUN_ALONE = ("seed", "out")  # settings in which runs of one group differ
RATE, HIGHEST_RATE = "learning_rate/", "learning_rate, the highest"


def read_run(folder: ReportedFolder, name: str) -> ReportedRun:
    """A run's records. What is not there is left out.

    Raises:
        UserError: a file that is damaged, or cannot be read.
    """
    path = folder.path
    settings = flatten_tree(read_json(path / CONFIG, "its settings are needed"))
    prefix = f"{settings.get('task', '')}{TASK}" if folder.kind == "fine-tuning" else ""
    lines = read_metrics(path / METRICS)
    figures = [line for line in lines if line["split"] != VERDICT]
    not_finite = check_figures(path / METRICS, figures)
    environment = read_json(path / ENVIRONMENT, "remove it") if (path / ENVIRONMENT).is_file() else {}
    last = find_last_figures(figures)
    health = HealthRecord(
        is_finished(path),
        [(line["step"], str(line.get("message"))) for line in lines if line["split"] == VERDICT],
        describe_starts(path, environment),
        not_finite,
    )
    shared = {key: value for key, value in settings.items() if key not in OF_THE_RUN_ALONE}
    facts = list_facts(folder, settings, figures, last)
    return ReportedRun(
        name, folder.kind, repr(shared), facts, gather_curves(figures, prefix), gather_axes(figures), last, settings,
        flatten_tree({key: value for key, value in environment.items() if key != STARTS}), health,
    )  # fmt: skip


def flatten_tree(tree: Mapping[str, Any], key: str = "") -> dict[str, object]:
    """Nested settings by their paths (``optimizer.learning_rate``, ``phases.0.steps``); a list of values is a text."""
    flat: dict[str, object] = {}
    for name, value in tree.items():
        path = f"{key}.{name}" if key else str(name)
        if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
            value = {str(number): each for number, each in enumerate(value)}
        if isinstance(value, dict):
            flat |= flatten_tree(value, path)
        else:
            flat[path] = ", ".join(map(str, value)) if isinstance(value, list) else value
    return flat


def check_figures(path: Path, lines: Sequence[MetricsLine]) -> dict[str, tuple[int, int]]:
    """The figures that are not finite: how often, and at which step first.

    Raises:
        UserError: a value that is no number, or steps that fall.
    """
    broken: dict[str, tuple[int, int]] = {}
    before = 0
    for line in lines:
        if line["step"] < before:
            raise UserError(f"{path}: step {line['step']} stands after step {before}: damaged")
        before = line["step"]
        for name, value in line.items():
            if name == "split" or (isinstance(value, int | float) and math.isfinite(value)):
                continue
            if value is not None and not isinstance(value, float):
                raise UserError(f"{path}, step {before}: {name}: expected a number, found {str(value)[:60]!r}")
            count, first = broken.get(name, (0, before))
            broken[name] = (count + 1, first)
    return broken


def gather_curves(lines: Sequence[MetricsLine], prefix: str) -> dict[str, dict[str, CurveLine]]:
    """Figure, with a prefix → split → its line."""
    points: dict[str, dict[str, list[tuple[int, float | None]]]] = {}
    for line in map(join_rates, lines):
        for name in line.keys() - NO_FIGURES:
            of_split = points.setdefault(prefix + name, {}).setdefault(line["split"], [])
            of_split.append((line["step"], finite_or_none(line[name])))
    return {
        name: {split: CurveLine(*map(list, zip(*of_split, strict=True))) for split, of_split in by_split.items()}
        for name, by_split in points.items()
    }


def join_rates(line: MetricsLine) -> MetricsLine:
    """A line with the highest of its learning rates in place of one for each group of parameters."""
    rates = [value for name, value in line.items() if name.startswith(RATE) and finite_or_none(value) is not None]
    figures = {name: value for name, value in line.items() if not name.startswith(RATE)}
    return figures | ({HIGHEST_RATE: max(rates)} if rates else {})


def gather_axes(lines: Sequence[MetricsLine]) -> dict[str, CurveLine]:
    """What a curve may be drawn over besides steps, by step."""
    axes = {}
    for axis, (name, unit) in AXES.items():
        known = [(line["step"], line[name] / unit) for line in lines if finite_or_none(line.get(name)) is not None]
        if any(value for _, value in known):
            axes[axis] = CurveLine(*map(list, zip(*known, strict=True)))
    return axes


def find_last_figures(lines: Sequence[MetricsLine]) -> dict[str, float]:
    """The figures of the last line on held-out text; none if there is no such line."""
    held_out = [line for line in lines if line["split"] == "held-out"]
    named = held_out[-1].items() if held_out else ()
    return {name: value for name, value in named if name not in NO_FIGURES and finite_or_none(value) is not None}


def is_finished(path: Path) -> bool:
    """Whether a run came to its end. Records that were copied from a run's folder do not say; they count as ended."""
    return files.read_kind(path) is None or any((path / name).exists() for name in (FINAL, RESULT, COST))


def describe_starts(path: Path, environment: Mapping[str, Any]) -> list[str]:
    """A line for each later start of a run, with the settings that it changed."""
    where = f"{path / ENVIRONMENT}: damaged: {STARTS}"
    starts = require_shape(environment.get(STARTS, []), list[dict[str, Any]], where)
    lines = []
    for start in starts:
        changed = require_shape(start.get(CHANGED, {}), dict[str, Any], where)
        changes = "; ".join(f"{key}: {show_change(change)}" for key, change in changed.items())
        step = f" at step {start['step']:,}" if isinstance(start.get("step"), int) else ""
        lines.append(f"started again{step}, {start.get('time', 'no time recorded')}{f'; {changes}' if changes else ''}")
    return lines


def show_change(change: object) -> str:
    """A changed setting in words."""
    return f"{change.get('before')} → {change.get('now')}" if isinstance(change, Mapping) else str(change)
