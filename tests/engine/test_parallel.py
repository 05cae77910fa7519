"""Where a run computes."""

import subprocess
import sys

import torch

from electra.engine.parallel import flushing

CODE = """
import torch
from electra.engine.parallel import Parallel, flushing
{first}
with flushing():
    small = torch.full((1 << 22,), 1e-30)  # large enough for every thread
    print(int((small * 1e-10).count_nonzero()))
"""


def kept(first: str) -> int:
    """How many of the products are not 0, in a process with two threads that begins so."""
    command = [sys.executable, "-c", CODE.format(first="torch.set_num_threads(2)\n" + first)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_numbers_too_small_are_0_on_every_thread() -> None:
    """1e-40 is no normal float32; a CPU would keep it, and take a hundred times as long over it."""
    assert kept("Parallel.alone()") == kept("Parallel.start()") == 0
    assert kept("torch.ones(1 << 22).add_(1)") > 0, "threads that are there already keep them"


def test_outside_they_are_what_they_are() -> None:
    small = torch.tensor(1e-30)
    with flushing():
        with flushing():
            assert small * 1e-10 == 0
        assert small * 1e-10 == 0 and 5e-324 == 0.0
    assert small * 1e-10 > 0 and 5e-324 > 0.0
