"""Who works in a folder, as its lock file says: written by the process that holds the lock, read by all others."""

import fcntl
import os
import re
import socket
import time
from contextlib import suppress
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from electra import files
from electra.errors import convert_errors

OWNER_LENGTH = 200  # bytes of a lock file that are read
OWNER = re.compile(r"process (\d+) on (.+), since (.+),")  # what ``describe_owner`` writes
LOOK_SECONDS = 0.05  # far longer than ``find_owner`` holds a lock


class Owner(NamedTuple):
    """The process that holds a folder, or held it when it was killed; ``number`` 0: it has not said which it is.

    ``works``: whether it holds the lock now; None where this cannot be seen from here.
    """

    number: int
    host: str
    since: str
    works: bool | None


def describe_owner() -> str:
    """This process, its machine and the time, for others to read."""
    return f"process {os.getpid()} on {socket.gethostname()}, since {datetime.now().astimezone():%Y-%m-%d %H:%M:%S %z},"


def find_owner(folder: Path) -> Owner | None:
    """Who works in a folder; None if nobody does, and the last one that did was not killed.

    Raises:
        UserError: the lock file cannot be read.
    """
    path = folder / files.LOCK
    with convert_errors(str(path), OSError), suppress(FileNotFoundError), path.open("rb", buffering=0) as lock:
        said = OWNER.fullmatch(lock.read(OWNER_LENGTH).decode(errors="replace"))
        number, host, since = said.groups() if said else ("0", socket.gethostname(), "just now")
        return Owner(int(number), host, since, is_held(lock) if host == socket.gethostname() else None)
    return None


def is_held(lock: FileIO) -> bool | None:
    """Whether a process of this machine holds a lock; None on a disk that has no locks."""
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # until the file is closed
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False


def lock_alone(lock: FileIO) -> None:
    """Lock a file as its one owner. Tried twice: who looks whether it is held lets go of it at once.

    Raises:
        BlockingIOError: another process holds it.
        OSError: the disk has no locks.
    """
    with suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    time.sleep(LOOK_SECONDS)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
