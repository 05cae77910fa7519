"""``electra report``: runs and what was measured of them, as one page that a person looks at."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from electra import __version__, files
from electra.config import check_ranges
from electra.errors import UserError, convert_errors
from electra.files import write_whole
from electra.progress import print_warnings
from electra.ranges import CountOrZero
from electra.report.html.content import ReportContent
from electra.report.html.page import SIGN, render_report
from electra.workflows.reporting.content import collect_content
from electra.workflows.reporting.inputs import sort_inputs


@dataclass(frozen=True)
class ReportConfig:
    """Write a page with the runs' curves, settings, environment, evaluations, replaced tokens found and missed, health.

    The page is one file, which needs no server and no network.
    """

    runs: tuple[str, ...] = ()
    """Folders that `electra pretrain`, `finetune`, `compare` or `demo` wrote, and files of `electra evaluate --out`."""
    out: str = "report.html"
    """The page to write. Only a page of this command is replaced."""
    examples: CountOrZero = 6
    """Rows of held-out text to show of each finished run, token by token; 0: none, and no model is read."""
    data: str = ""
    """Prepared data to take them from; empty: the run's own."""


def write_report(config: ReportConfig) -> Path:
    """Write the page and return its path.

    Raises:
        UserError: a folder or file that a report shows nothing of, or that is damaged; too many runs for a page of 3
            MB; another file in the page's place.
    """
    check_ranges(config)
    if not config.runs:
        raise UserError("which runs? electra report runs/s1 runs/s2 --out report.html")
    path = Path(config.out)
    with convert_errors(str(path), OSError, ValueError):
        files.refuse_foreign_file(path, SIGN)
    content = collect_content(sort_inputs(config.runs), config.examples, config.data)
    print_warnings(content.missing.get("tokens", ()))
    page = render_report(content, describe_page(content))
    with convert_errors(str(path), OSError), write_whole(path) as partial:
        partial.write_text(page, encoding="utf-8")
    print(f"{path}: {len(page.encode()) / 1e6:.2f} MB, {describe_parts(content)}")
    return path


def describe_page(content: ReportContent) -> str:
    """The line under the page's title."""
    return f"{describe_parts(content)} · {datetime.now().astimezone():%Y-%m-%d %H:%M} · electra {__version__}"


def describe_parts(content: ReportContent) -> str:
    """How much of what a page shows."""
    parts = {"run": len(content.runs), "table": sum(map(len, content.tables.values()))}
    parts["text"] = sum(len(judged.texts) for judged in content.judged)
    return ", ".join(f"{count} {name}{'s' * (count > 1)}" for name, count in parts.items() if count) or "nothing found"
