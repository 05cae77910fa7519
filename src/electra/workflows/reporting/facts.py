"""What the first table of a report says of a run: what it is, what it cost, how good it was at its end."""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from electra.engine.telemetry import MetricsLine
from electra.report.compare import format_number
from electra.report.html.content import TableCell
from electra.run_folder import RESULT, read_json
from electra.tasks.finetuning.run import Figures
from electra.workflows.reporting.inputs import ReportedFolder

SHOWN = (  # figures on held-out text that the first table has
    "generator/loss", "generator/accuracy", "encoder/loss", "encoder/accuracy", "discriminator/auc",
    "discriminator/skill", "probe/best",
)  # fmt: skip


def list_facts(
    folder: ReportedFolder, settings: Mapping[str, object], lines: Sequence[MetricsLine], last: Mapping[str, float]
) -> dict[str, object]:
    """What the first table says of a run."""
    facts: dict[str, object] = {}
    if folder.kind == "pre-training":
        kind, layers, width = (settings.get(f"encoder.{name}", "?") for name in ("kind", "layers", "hidden_size"))
        facts |= {"objective": str(settings.get("objective.kind", "")), "encoder": f"{kind} {layers} × {width}"}
    else:
        facts["task"] = str(settings.get("task", ""))
    end = lines[-1] if lines else {}
    facts["steps"] = end.get("step")
    if finite_or_none(end.get("tokens")) is not None:
        facts["tokens"] = TableCell(format_tokens(end["tokens"]), float(end["tokens"]))
    if finite_or_none(end.get("flops")):
        facts["FLOPs"] = TableCell(format_number(end["flops"], 3), float(end["flops"]))
    if finite_or_none(end.get("seconds")) is not None:
        facts["time"] = TableCell(format_seconds(end["seconds"]), float(end["seconds"]))
    speeds = [line["tokens_per_second"] for line in lines if finite_or_none(line.get("tokens_per_second")) is not None]
    if speeds:
        facts["tokens/s"] = round(statistics.median(speeds))
    if folder.kind == "fine-tuning":
        for split, figures in read_result(folder.path).items():
            facts |= {f"{split}: {name}": value for name, value in figures.items()}
    return facts | {name: last[name] for name in SHOWN if name in last}


def read_result(path: Path) -> Figures:
    """The figures of a fine-tuning by split; none where it is not finished."""
    file = path / RESULT
    return read_json(file, "remove the folder to run it again", Figures) if file.is_file() else {}


def format_tokens(count: float) -> str:
    """A number of tokens as people say it: 81,920, 4.45M, 16.4B."""
    size, letter = next(((size, letter) for size, letter in ((1e9, "B"), (1e6, "M")) if count >= size), (1.0, ""))
    return f"{count / size:.3g}{letter}" if letter else f"{count:,.0f}"


def format_seconds(seconds: float) -> str:
    """A time as people say it: 42 s, 8.5 min, 3.2 h, 2.1 d."""
    for unit, size, limit in (("s", 1, 100), ("min", 60, 100 * 60), ("h", 3600, 48 * 3600)):
        if seconds < limit:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 86400:.3g} d"


def finite_or_none(value: float | None) -> float | None:
    """A number, or None if it is not finite."""
    return value if value is not None and math.isfinite(value) else None
