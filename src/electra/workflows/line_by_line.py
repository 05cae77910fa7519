"""A line of text in, a line of JSON out, in the order of the input. Some thousand lines are held, whatever the file."""

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from electra.corpus.documents import Skipped
from electra.errors import UserError
from electra.progress import Progress, print_warnings
from electra.report.plain_json import format_json
from electra.tasks.frozen.sentence_windows import ReportShare
from electra.workflows.line_files import open_lines, open_results

LINES = 4096  # lines that are held, sorted by length and judged together
KILO = 1000.0  # bytes of a kB
EMPTY = "without a token: no score"
LONG = "longer than the model reads at once: judged in windows that overlap"


class Judgement(NamedTuple):
    """What is said of a line: the fields of its record, its tokens, and whether a model reads fewer at once."""

    record: Mapping[str, object]
    tokens: int
    is_long: bool


# Judges texts, in their order, and reports the share that is done meanwhile.
Judge = Callable[[Sequence[str], ReportShare], Iterable[Judgement]]


@dataclass
class LineFigures:
    """What was judged. ``seconds``: without loading the model. ``remarks``: lines that were not judged as the others
    are, by reason."""

    lines: int = 0
    tokens: int = 0
    seconds: float = 0.0
    remarks: Skipped = field(default_factory=Skipped)

    def add(self, judgement: Judgement) -> None:
        """Count the next line."""
        self.lines += 1
        self.tokens += judgement.tokens
        for reason, holds in ((EMPTY, judgement.tokens == 0), (LONG, judgement.is_long)):
            if holds:
                self.remarks.note(reason, f"line {self.lines:,}")

    def list_remarks(self) -> list[str]:
        """A line for each reason."""
        return [
            f"lines {reason}: {count:,} (first: {self.remarks.first[reason]})" for reason, count in self.remarks.items()
        ]


def judge_lines(
    source: str, out: str, label: str, load_judge: Callable[[], Judge], most_lines: int = LINES
) -> LineFigures:
    """Judge each line of a file, and write its number and its record as JSON to ``out`` (empty: standard output).

    ``source``: as ``open_lines`` takes it. ``label``: of the progress on standard error. ``load_judge`` is called once
    both files are open: it takes longer than to find out that they cannot be.

    Raises:
        UserError: as ``open_results``, ``open_lines``, ``read_blocks`` and ``load_judge``; ``out`` is then absent.
    """
    figures, done = LineFigures(), 0
    with open_results(out) as results, open_lines(source) as file:
        judge, began = load_judge(), time.monotonic()
        with Progress(label, file.size / KILO, "kB") as progress:
            show = partial(show_progress, progress, figures, bool(out) or not sys.stdout.isatty())
            for block in file.read_blocks(most_lines):
                for number, judgement in enumerate(judge(block.texts, partial(show, done, block.end)), block.first):
                    print(format_json({"line": number, **judgement.record}), file=results)
                    figures.add(judgement)
                results.flush()
                figures.seconds = time.monotonic() - began
                show(done, done := block.end, 1.0)
    print_warnings(figures.list_remarks(), aside=True)
    return figures


def show_progress(progress: Progress, figures: LineFigures, is_shown: bool, first: int, end: int, share: float) -> None:
    """Show how far it is: the lines that are written, the bytes from ``first`` to ``end`` that a ``share`` of a block
    stands for, and their rate. Where results appear on a terminal, which show it too, only at the end."""
    done = (first + share * (end - first)) / KILO
    rate = figures.tokens / max(figures.seconds, 1e-9)
    remark = f"{figures.lines:,} lines" + (f", {rate:,.0f} tokens/s" if rate else "")
    if is_shown:
        progress.update(done, remark)
    else:
        progress.done, progress.remark = done, remark


def require_model_and_file(verb: str, model: str, file: str) -> None:
    """Raise ``UserError`` unless both are named."""
    if not model or not file:
        raise UserError(f"which model and file? electra {verb} FOLDER FILE; - is standard input")
