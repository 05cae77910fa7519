"""What tests of `electra report` share: texts that try to become markup, run folders as runs leave them."""

import json
import math
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from electra import files
from electra.config import plain_tree
from electra.engine.telemetry import MetricsRecorder
from electra.report.html.content import (
    CurveLine,
    HealthRecord,
    JudgedTexts,
    JudgedToken,
    ReportContent,
    ReportedRun,
    ReportTable,
    TableCell,
)
from electra.run_folder import write_json
from electra.workflows.pretraining.config import PretrainConfig
from electra.workflows.pretraining.resuming import PRETRAINING_RUN

HOSTILE = (
    "</script><img src=x onerror=alert(1)>", '"><svg onload=alert(1)>', "' onmouseover='alert(1)", "a\u2028b\u2029c",
    "\u202eesrever\u202c", "<!--", "]]>", "&lt;b&gt;", "${alert(1)}", "\ud800", "</title><script>alert(1)</script>",
    "</style>", "שלום", "javascript:alert(1)", "\x1b[31m\x00",
)  # fmt: skip
VOID = {"meta"}


class PageReader(HTMLParser):
    """A page's elements with their attributes, in order, each closed where it should be; texts by where they stand."""

    def __init__(self, page: str):
        super().__init__()
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.values: list[tuple[str, str, str | None]] = []
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(page)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        self.values += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        self.values += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self.open[-1] if self.open else "", []).append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    @property
    def text(self) -> str:
        """All that is shown."""
        return " ".join(text for tag, texts in self.texts.items() if tag not in ("script", "style") for text in texts)


def make_line(count: int, start: float = 1.0) -> CurveLine:
    """A curve that falls, with a spike and a gap."""
    values: list[float | None] = [start / (1 + step / 50) + 0.02 * math.sin(step) for step in range(count)]
    if count > 20:
        values[count // 3], values[count // 2] = 9.0, None
    return CurveLine([10 * (step + 1) for step in range(count)], values)


def make_run(number: int, word: str, group: str = "", count: int = 60) -> ReportedRun:
    """A run in which ``word`` stands wherever a text can."""
    line = make_line(count, 2.0 + number / 20)
    held_out = CurveLine(line.steps[9::10], line.values[9::10])
    return ReportedRun(
        f"run {number} {word}", "pre-training", group or f"group {number}",
        {"objective": word, "steps": line.steps[-1], f"fact {word}": TableCell(word, 2.0)},
        {"generator/loss": {"train": line, "held-out": held_out}, "discriminator/auc": {"held-out": held_out},
         f"other/{word}": {"train": line, word: line}},
        {"tokens": CurveLine(line.steps, [4096.0 * step for step in line.steps])},
        {"generator/loss": 1.5}, {"data": word, f"key {word}": number, "same": word, "optimizer.rate": 1e-3},
        {"python": word, "threads": number}, HealthRecord(number > 0, [(20, word)], [word], {word: (3, 40)}),
    )  # fmt: skip


def make_content(word: str, runs: int = 2, count: int = 60) -> ReportContent:
    """A report in which ``word`` stands wherever a text can."""
    rows = [[f"b {word}", 2, 0.25, TableCell(f"0.5 {word}", 0.5, 0.5, best=True)], [f"a {word}", 10, 0.5, None]]
    table = ReportTable(f"table {word}", ("name", "count", f"share {word}", word), rows, f"about {word}")
    tokens = [
        JudgedToken("the", True, None, 0.01), JudgedToken(word, False, None, 0.9), JudgedToken(word, False, word, 0.8),
        JudgedToken("##" + word, True, "cook", 0.2), JudgedToken("end", False, None, None),
    ]  # fmt: skip
    return ReportContent(
        [make_run(number, word, count=count) for number in range(runs)],
        {"evaluations": [table], "pairs": [table]}, [JudgedTexts(f"run {word}", [tokens])],
        {"probes": [f"none found: `{word}`"], "tokens": [word]},
    )  # fmt: skip


FIGURES = {"generator/loss": 7.5, "generator/accuracy": 0.01, "discriminator/loss": 0.4, "discriminator/auc": 0.7,
           "discriminator/skill": 0.1, "gradient_norm/total": 2.0, "learning_rate/generator/rest": 1e-3,
           "learning_rate/discriminator/rest": 2e-3, "tokens_per_second": 900.0}  # fmt: skip


def make_metrics(step: int, split: str = "train", **changes: object) -> dict[str, Any]:
    """A line of metrics.jsonl, as a run of pre-training records it."""
    place = {"step": step, "phase": 0, "epoch": 0, "tokens": 4096 * step, "flops": 10**9 * step, "seconds": 0.5 * step}
    return place | {"split": split} | FIGURES | changes


def write_run(folder: Path, lines: Sequence[Mapping[str, object]] = (), **settings: object) -> Path:
    """A run's folder as `electra pretrain` leaves it before it ends, without checkpoints."""
    folder.mkdir(parents=True)
    files.mark_folder(folder, PRETRAINING_RUN)
    write_json(folder / "config.json", plain_tree(PretrainConfig()) | {"out": str(folder)} | settings, indent=1)
    write_json(folder / "environment.json", {"data": "0e0b", "python": "3.11.7", "packages": {"torch": "2.13.0"}})
    recorder = MetricsRecorder(folder, {})
    for line in lines or [make_metrics(20), make_metrics(40), make_metrics(40, "held-out")]:
        recorder.append_line(line)
    return folder


def read_data(page: PageReader) -> dict[str, Any]:
    """The data that the page's script reads."""
    return json.loads(page.texts["script"][0])
