"""The curves of the tests' runs: one pixel. matplotlib would take longer than a small run."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from electra.files import write_whole
from electra.report import curves

BLANK = bytes.fromhex(  # a PNG of one pixel
    "89504e470d0a1a0a0000000d4948445200000001000000010100000000376ef9240000000a49444154789c636000000002000148afa471"
    "0000000049454e44ae426082"
)
DRAW = curves.draw_curves


def write_blank(lines: Any, folder: Path) -> None:
    """As ``draw_curves``, but nothing is drawn."""
    with write_whole(folder / curves.FILE) as file:
        file.write_bytes(BLANK)


@contextmanager
def rendering(rendered: bool = True) -> Iterator[None]:
    """Inside, the curves of runs are drawn, or not."""
    with mock.patch.object(curves, "draw_curves", DRAW if rendered else write_blank):
        yield
