"""A file is either whole or absent, whoever else writes the same one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A name to write under that becomes ``path`` when all is on the disk, and is gone if anything fails."""
    partial = path.with_name(f".{path.name}.{uuid4().hex}.partial")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
