"""The operating system says no: at the n-th file that is opened, renamed, made or removed in a folder, once."""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

EVENTS = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.listdir")  # as Python's audit calls them
ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EDQUOT, errno.EMFILE)
WRITING = 0o3  # the flags of opening by which something is written


class Fault(NamedTuple):
    """``number``: how many such events in the folder go well before. ``error``: an errno."""

    event: str
    number: int
    error: int

    @property
    def name(self) -> str:
        """Its kind: ENOSPC at open."""
        return f"{errno.errorcode[self.error]} at {self.event}"

    def __str__(self) -> str:
        return f"{self.name} number {self.number}"


class Injector:
    """Python's audit hook, which cannot be removed, but is quiet without a fault."""

    def __init__(self) -> None:
        self.fault: Fault | None = None
        self.folder, self.count, self.happened = "", 0, False
        sys.addaudithook(self.audit)

    def audit(self, event: str, arguments: tuple) -> None:
        """Called for every event of the interpreter."""
        if self.fault is None or event != self.fault.event or self.happened:
            return
        paths = [str(argument) for argument in arguments[:2] if isinstance(argument, str | Path)]
        if not any(path.startswith(self.folder) for path in paths):
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & WRITING):
            return
        self.count += 1
        if self.count > self.fault.number:
            self.happened = True
            raise OSError(self.fault.error, "a planted fault", paths[0])

    @contextmanager
    def plant(self, fault: Fault, folder: Path) -> Iterator[None]:
        """Let the fault happen once, in or below the folder."""
        self.fault, self.folder, self.count, self.happened = fault, str(folder), 0, False
        try:
            yield
        finally:
            self.fault = None
