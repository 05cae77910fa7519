"""How work that can be gone on with is stopped before its end, by a signal or a time, and how that is told."""

import contextlib
import math
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from electra.errors import UserError

UNFINISHED = 75  # the exit code: EX_TEMPFAIL of sysexits.h, "try again later"
# A scheduler's last word, and the warning that it can be asked for before that.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
DURATION = re.compile(r"(?:([0-9.]+)d)?(?:([0-9.]+)h)?(?:([0-9.]+)m)?(?:([0-9.]+)s)?")
SECONDS = (86400.0, 3600.0, 60.0, 1.0)  # of a day, an hour, a minute, a second

Result = TypeVar("Result")


@dataclass(frozen=True)
class Ending(Generic[Result]):
    """What came of work that may be stopped: its ``result``, and whether it is ``finished``, else the same command goes
    on."""

    result: Result
    finished: bool


class Stopped(BaseException):
    """A signal stops work at once, as Ctrl-C does where nothing waits for it. What was saved before stays."""


@contextlib.contextmanager
def raise_stop_signals() -> Iterator[None]:
    """A context in which SIGTERM and SIGUSR1 raise ``Stopped``; within it the training loop saves and ends instead."""

    def raise_stopped(number: int, frame: object) -> None:
        raise Stopped

    before = {number: signal.signal(number, raise_stopped) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def find_deadline(stop_after: str) -> float:
    """The time of ``time.monotonic()`` at which work that begins now stops; "": never, infinity.

    Raises:
        UserError: as ``parse_duration``.
    """
    return time.monotonic() + parse_duration(stop_after, "--stop-after") if stop_after else math.inf


def parse_duration(text: str, where: str) -> float:
    """The seconds of a duration such as 2.8h, 90m, 3600s, 1d or 1h30m; ``where`` begins an error's message.

    Raises:
        UserError: no duration, one without a unit, which programs read as hours, minutes or seconds, or one of 0.
    """
    match = DURATION.fullmatch(text)
    with contextlib.suppress(ValueError):  # float's, for a second point
        numbers = [float(number or 0) for number in (match.groups() if match else ())]
        seconds = sum(number * size for number, size in zip(numbers, SECONDS, strict=False))
        if 0 < seconds < math.inf:
            return seconds
    raise UserError(f"{where}: expected a time with its unit, as 2.8h, 90m, 3600s or 1h30m, found {text[:80]!r}")
