"""Where a run computes."""

import subprocess
import sys

CODE = """
import torch
{first}
small = torch.full((1 << 22,), 1e-30)  # large enough for every thread
print(int((small * 1e-10).count_nonzero()))
"""


def kept(first: str) -> int:
    """How many of the products are not 0, in a process that begins so."""
    command = [sys.executable, "-c", CODE.format(first=first)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_numbers_too_small_are_0_on_every_thread() -> None:
    """1e-40 is no normal float32; a CPU would keep it, and take a hundred times as long over it."""
    assert kept("") == 1 << 22, "by itself torch keeps them"
    assert kept("import electra.engine.parallel") == 0
