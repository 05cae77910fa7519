"""``electra status``: where runs are, how fast, how well, and whether they are alive."""

import os
import shutil
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from electra.errors import UserError
from electra.report.plain_json import format_json
from electra.workflows.watching.find_runs import RUNS, RunFolder, find_runs
from electra.workflows.watching.run_status import RunReader, RunStatus
from electra.workflows.watching.table import format_statuses

REDRAW_SECONDS = 2.0
WIDTH = 80  # characters, where it is not a terminal that says how many it has


@dataclass(frozen=True)
class StatusConfig:
    """Tell where runs are: step, speed, time left, losses, health, last checkpoint, and whether a process is alive.
    Nothing is changed, whether they run or not."""

    runs: tuple[str, ...] = ()
    """Run folders of pretrain or finetune; or what `electra finetune` and `electra compare` wrote, with all the runs
    in it."""
    watch: bool = False
    """Tell it again every two seconds, until all runs are finished or Ctrl-C."""
    json: bool = False
    """Print a JSON object for each run, one a line, in place of the table."""


def status(config: StatusConfig) -> list[RunStatus]:
    """Print and return the state of each run.

    Raises:
        UserError: no such folder, or no run in it.
    """
    if not config.runs:
        raise UserError("which runs? electra status runs/s1 runs/s2")
    readers: dict[RunFolder, RunReader] = {}
    statuses = read_runs(config, readers)
    if not config.watch:
        print(format_all(config, statuses), flush=True)
    elif config.json or not sys.stdout.isatty():
        with suppress(KeyboardInterrupt):
            print(format_all(config, statuses), flush=True)
            while not is_over(config, statuses):
                time.sleep(REDRAW_SECONDS)
                statuses = read_runs(config, readers)
                print(format_all(config, statuses), flush=True)
    else:
        statuses = draw_live(config, readers, statuses)
    return statuses


def draw_live(config: StatusConfig, readers: dict[RunFolder, RunReader], statuses: list[RunStatus]) -> list[RunStatus]:
    """Draw the table again and again in the same place of a terminal; returns the last state."""
    from rich.live import Live
    from rich.text import Text

    with suppress(KeyboardInterrupt), Live(auto_refresh=False) as live:
        live.update(Text(format_all(config, statuses)), refresh=True)
        while not is_over(config, statuses):
            time.sleep(REDRAW_SECONDS)
            statuses = read_runs(config, readers)
            live.update(Text(format_all(config, statuses)), refresh=True)
    return statuses


def read_runs(config: StatusConfig, readers: dict[RunFolder, RunReader]) -> list[RunStatus]:
    """The state of all runs in the folders. ``readers``: those of the runs that were there before; new ones are added.

    Raises:
        UserError: as ``find_runs``.
    """
    runs = dict.fromkeys(run for folder in config.runs for run in find_runs(Path(folder)))
    return [readers.setdefault(run, RunReader(*run)).read() for run in runs]


def is_over(config: StatusConfig, statuses: list[RunStatus]) -> bool:
    """Whether all runs are finished, and no more can come: what holds several may get others."""
    alone = {os.path.normpath(each.run) for each in statuses if each.holds in RUNS}
    return alone == set(map(os.path.normpath, config.runs)) and all(each.state == "finished" for each in statuses)


def format_all(config: StatusConfig, statuses: list[RunStatus]) -> str:
    """What is printed of the runs."""
    if config.json:
        return "\n".join(format_json(asdict(each)) for each in statuses)
    width = shutil.get_terminal_size((WIDTH, 24)).columns if sys.stdout.isatty() else WIDTH
    return format_statuses(statuses, width)
