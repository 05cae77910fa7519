"""Work that is killed at a random moment, some times over, and then finished: does it end as if nothing had been?"""

import os
import signal
import time
from pathlib import Path
from random import Random
from typing import NamedTuple

from electra.files import MARKER
from processes import Running
from work import Work

CODE = """
from pathlib import Path
from work import build_work
work = next(each for each in build_work(Path({inputs!r})) if each.name == {name!r})
work.run(Path({out!r}))
"""


class Kill(NamedTuple):
    """What came of a trial: ``problem`` is empty if it ended as work that was never stopped."""

    work: str
    seed: int
    kills: int
    problem: str

    def __str__(self) -> str:
        return f"{self.work}, seed {self.seed}, {self.kills} kills: {self.problem or 'as if nothing had been'}"


def start_work(work: Work, inputs: Path, out: Path) -> Running:
    """Begin or go on with work in a process of its own."""
    return Running(CODE.format(inputs=str(inputs), name=work.name, out=str(out)))


def measure_work(work: Work, inputs: Path, out: Path) -> tuple[dict[str, str], float]:
    """What work that is not stopped ends with, and the seconds that it takes."""
    then = time.monotonic()
    ended = start_work(work, inputs, out).end()
    assert ended.code == 0, ended.err
    return work.summarize(out), time.monotonic() - then


def kill_and_finish(work: Work, inputs: Path, out: Path, seed: int, intact: dict[str, str], seconds: float) -> Kill:
    """Kill work one to three times within the ``seconds`` that it takes, then let it finish.

    Someone's own file lies in the folder from the kill on that finds it claimed; it must stay.
    """
    draw = Random(f"{work.name}/{seed}")
    kills = draw.randint(1, 3)
    mine = out / "mine.txt"
    for _ in range(kills):
        running = start_work(work, inputs, out)
        time.sleep(draw.uniform(0.0, seconds))
        if running.is_running():
            os.kill(running.pid, signal.SIGKILL)
        running.end()
        if (out / MARKER).exists() and work.name != "prepare":
            mine.write_text("not yours")
    ended = start_work(work, inputs, out).end()
    return Kill(work.name, seed, kills, find_problem(work, out, ended.code, ended.err, intact))


def find_problem(work: Work, out: Path, code: int, said: str, intact: dict[str, str]) -> str:
    """What is wrong with a folder in which work ended; nothing if it is as it should be."""
    if code:
        return f"ended with {code}: {said.strip().splitlines()[-1:]}".replace(f"{out.parent}/", "")
    summary = work.summarize(out)
    if differing := sorted(name for name in {*summary, *intact} if summary.get(name) != intact.get(name)):
        return f"not as work that was never stopped: {', '.join(differing[:3])}"
    if leftovers := sorted(str(path.relative_to(out)) for path in out.rglob(".*.partial")):
        return f"left behind: {', '.join(leftovers[:3])}"
    if (out / "mine.txt").exists() and (out / "mine.txt").read_text() != "not yours":
        return "someone's own file was changed"
    return ""
