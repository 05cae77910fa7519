"""A trial: damage a file in a copy of its folder, read it, and say what came of it."""

import shutil
import signal
import traceback
from collections.abc import Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple

from damage import DAMAGES
from electra.errors import UserError
from subjects import Subject

LONGEST_LINE = 1000  # characters of an error that is still a line
MOST_SECONDS = 60  # that reading a small damaged file may take

Verdict = Literal["refused", "unchanged", "read", "SILENT", "TRACEBACK", "LONG ERROR"]
FAILURES: tuple[Verdict, ...] = ("SILENT", "TRACEBACK", "LONG ERROR")


class Trial(NamedTuple):
    """What came of one damaged file. ``read``: it was read as something else, which a foreign file may be; "SILENT":
    so was one that we wrote with a checksum."""

    subject: str
    damage: str
    seed: int
    verdict: Verdict
    words: str

    def __str__(self) -> str:
        return f"{self.verdict}: {self.subject}, {self.damage}, seed {self.seed}: {self.words}"


def draw_trials(subjects: Sequence[Subject], seeds: Sequence[int]) -> list[Trial]:
    """A trial for each seed, of a subject and a damage that the seed decides; subjects come in turn."""
    intact = {subject.name: subject.read(subject.folder) for subject in subjects}
    trials = []
    for seed in seeds:
        subject = subjects[seed % len(subjects)]
        trials.append(damage_and_read(subject, seed, intact[subject.name]))
    return trials


def damage_and_read(subject: Subject, seed: int, intact: object) -> Trial:
    """Damage a copy and read it. ``intact``: what is read from the undamaged file."""
    draw = Random(f"{subject.name}/{seed}")
    damage = draw.choice(DAMAGES)
    with TemporaryDirectory() as place:
        folder = Path(shutil.copytree(subject.folder, Path(place) / subject.folder.name))
        path = folder / subject.file
        content = path.read_bytes()
        damaged = damage(content, draw)
        path.write_bytes(damaged)
        verdict, words = read_damaged(subject, folder, intact)
        if damaged == content and verdict != "unchanged":
            verdict, words = "SILENT", f"nothing was damaged, and yet: {words}"
    return Trial(subject.name, damage.__name__, seed, verdict, words)


def read_damaged(subject: Subject, folder: Path, intact: object) -> tuple[Verdict, str]:
    """Read a folder, and say what came of it in words."""
    signal.signal(signal.SIGALRM, stop_reading)
    signal.alarm(MOST_SECONDS)
    try:
        result = subject.read(folder)
    except UserError as error:
        words = str(error)
        return ("LONG ERROR" if "\n" in words or len(words) > LONGEST_LINE else "refused"), words
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        place = traceback.extract_tb(error.__traceback__)[-1]
        return "TRACEBACK", f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}: {str(error)[:200]}"
    finally:
        signal.alarm(0)
    if result == intact:
        return "unchanged", ""
    return ("SILENT" if subject.verified else "read"), "something else was read"


def stop_reading(number: int, frame: object) -> None:
    """What the alarm calls."""
    raise TimeoutError(f"still reading after {MOST_SECONDS} seconds")
