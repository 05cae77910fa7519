"""What this machine can do: its fastest product of matrices, its copies, its memory; and how long a call takes."""

import ctypes
import gc
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from electra.engine.parallel import Parallel, Precision

COPY_BYTES = 1 << 28  # more than caches hold
TRIES = 5  # of which the best counts


def time_call(step: Callable[[], object]) -> float:
    """Seconds that a call takes, until the GPU has done its work too."""
    wait = torch.cuda.synchronize if Parallel.local_device().type == "cuda" else int
    wait()
    began = time.perf_counter()
    step()
    wait()
    return time.perf_counter() - began


def median_seconds(step: Callable[[], object], times: int, warm_up: int = 0) -> float:
    """Median of ``times`` calls, after ``warm_up`` calls that are not measured."""
    for _ in range(warm_up):
        step()
    return statistics.median(time_call(step) for _ in range(times))


def measure_matmul_peak(precision: Precision, device: torch.device) -> float:
    """FLOPs a second of one large product of matrices, the best of a few."""
    size = 8192 if device.type == "cuda" else 2048
    matrix = torch.randn(size, size, device=device, dtype=getattr(torch, precision))
    return 2 * size**3 / min(time_call(lambda: matrix @ matrix) for _ in range(TRIES))


def measure_copy_bandwidth(device: torch.device) -> float:
    """Bytes a second that a large copy reads and writes together, the best of a few."""
    source = torch.zeros(COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    return 2 * COPY_BYTES / min(time_call(lambda: target.copy_(source)) for _ in range(TRIES))


def device_memory(device: torch.device) -> int:
    """Bytes that the device has."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def peak_memory() -> int:
    """The most bytes that this process has held: on the GPU if there is one, else resident in main memory.

    Counted since ``reset_peak_memory``, or since the process began on systems other than Linux without a GPU.
    """
    if Parallel.local_device().type == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def reset_peak_memory() -> None:
    """Give free memory back to the system, and let ``peak_memory`` count from here."""
    gc.collect()
    if Parallel.local_device().type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    elif Path("/proc/self/clear_refs").exists():
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets VmHWM
