"""The curves of the tests' runs: drawn by our code, but not rendered. matplotlib would take longer than a small run."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from electra.report import curves

BLANK = bytes.fromhex(  # a PNG of one pixel
    "89504e470d0a1a0a0000000d4948445200000001000000010100000000376ef9240000000a49444154789c636000000002000148afa471"
    "0000000049454e44ae426082"
)
DRAW = curves.draw_curves


def draw_unrendered(lines: Any, folder: Path) -> None:
    """``draw_curves``, but the file has one pixel."""
    from matplotlib.figure import Figure

    with mock.patch.object(Figure, "savefig", lambda figure, file, **settings: file.write_bytes(BLANK)):
        DRAW(lines, folder)


@contextmanager
def rendering(rendered: bool = True) -> Iterator[None]:
    """Inside, the curves of runs are rendered, or not."""
    with mock.patch.object(curves, "draw_curves", DRAW if rendered else draw_unrendered):
        yield
