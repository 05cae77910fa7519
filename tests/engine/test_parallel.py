"""Where a run computes."""

import sys

import pytest
import torch

from electra.engine.parallel import bfloat16_is_faster, flush_denormals, resolve_precision
from processes import run_python

CODE = """
import torch
from electra.engine.parallel import Parallel, flush_denormals
{first}
with flush_denormals():
    small = torch.full((1 << 22,), 1e-30)  # large enough for every thread
    print(int((small * 1e-10).count_nonzero()))
"""


def kept(first: str) -> int:
    """How many of the products are not 0, in a process with two threads that begins so."""
    ended = run_python(CODE.format(first="torch.set_num_threads(2)\n" + first))
    assert not ended.code, ended.err
    return int(ended.out)


def test_numbers_too_small_are_0_on_every_thread() -> None:
    """1e-40 is no normal float32; a CPU would keep it, and take a hundred times as long over it."""
    assert kept("Parallel.alone()") == kept("Parallel.start()") == 0
    assert kept("torch.ones(1 << 22).add_(1)") > 0, "threads that are there already keep them"


def test_outside_they_are_what_they_are() -> None:
    small = torch.tensor(1e-30)
    with flush_denormals():
        with flush_denormals():
            assert small * 1e-10 == 0
        assert small * 1e-10 == 0 and 5e-324 == 0.0
    assert small * 1e-10 > 0 and 5e-324 > 0.0


FAULTS = """
import ctypes, resource, statistics, torch
from electra.engine.parallel import MMAP_THRESHOLD, keep_memory
ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, 1 << 16)  # larger blocks go back when they are freed; by itself, it varies
{first}
faults = []
for _ in range(15):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    held = [torch.ones(size << 20) for size in (1, 2, 3, 5, 8, 4, 2)]  # 100 MB: 25,600 pages
    del held
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(round(statistics.median(faults)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_freed_memory_is_used_again() -> None:
    faults = {}
    for first in ("", "keep_memory()"):
        ended = run_python(FAULTS.format(first=first))
        assert not ended.code, ended.err
        faults[first] = int(ended.out)
    assert faults["keep_memory()"] * 10 < faults[""], "with huge pages, hundreds instead of 25,600"


def test_the_number_type_is_the_faster_one() -> None:
    cpu = torch.device("cpu")
    faster = bfloat16_is_faster(cpu)
    assert resolve_precision("auto", cpu) == ("bfloat16" if faster else "float32")
    assert resolve_precision("bfloat16", cpu) == "bfloat16" and resolve_precision("float32", cpu) == "float32"
    if not torch.cpu._is_avx512_bf16_supported():
        assert not faster, "without instructions for it"
