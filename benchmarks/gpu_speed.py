"""How fast a GPU trains, and where its time goes."""

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from gpu_items import Item, Options, Way, get_device
from torch.autograd import DeviceType  # type: ignore[attr-defined]  # torch lists it nowhere
from torch.profiler import ProfilerActivity, profile

from electra.engine.passes import WARM_UP_PASSES
from electra.engine.train import Loop
from electra.model.config import ClassicConfig
from electra.recipes import apply_preset
from electra.workflows.bench.bench import BenchConfig, load_bench_recipe
from electra.workflows.bench.machine import (
    measure_copy_bandwidth,
    measure_matmul_peak,
    peak_memory,
    reset_peak_memory,
    time_call,
)
from electra.workflows.bench.steps import TransformersStep
from electra.workflows.pretraining.config import PretrainConfig

SIZES = [  # preset, rows, length
    ("small", 512, 128), ("modern-small", 64, 1024), ("base", 128, 512), ("modern-base", 32, 1024), ("small", 128, 128),
    ("modern-small", 512, 128),
]  # fmt: skip
WAYS = {
    "compiled with kernels": Way(graphs=False),
    "kernels, CUDA graph": Way(),
    "readable twins, compiled": Way(kernels=False, graphs=False),
}
PROFILED = 3  # steps
LONGEST = 20  # kernels that are listed
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernelEx", "cudaGraphLaunch")


def list_items(options: Options) -> Iterator[Item]:
    """The items by name: our step with its profile, and transformers'."""
    yield Item("machine", measure_machine, limit=60, timed=True)
    for preset, rows, length in SIZES:
        for name, way in WAYS.items():
            run = partial(measure_speed, way, preset, rows, length, options.steps)
            yield Item(f"{preset}, {rows} × {length}: {name}", run, 40, 240, timed=True)
        for compiled in (False, True):
            how = f"transformers{', compiled' if compiled else ''}"
            if isinstance(apply_preset(PretrainConfig(), preset).encoder, ClassicConfig):
                run = partial(measure_transformers, compiled, preset, rows, length, options.steps)
                yield Item(f"{preset}, {rows} × {length}: {how}", run, 40, 240, timed=True)


def measure_machine() -> dict[str, Any]:
    """What the GPU can do: a large product of matrices, a large copy."""
    return {
        "gpu": torch.cuda.get_device_name(), "matmul_flops_per_second": measure_matmul_peak("bfloat16", get_device()),
        "copy_bytes_per_second": measure_copy_bandwidth(get_device()),
    }  # fmt: skip


def measure_speed(way: Way, preset: str, rows: int, length: int, steps: int) -> dict[str, Any]:
    """The figures of our step in bfloat16, and its profile."""
    loop = way.loop(BenchConfig(preset, rows, length, precision="bfloat16"))
    first = time_call(loop.step)
    for _ in range(2 + WARM_UP_PASSES):
        loop.step()
    reset_peak_memory()
    laps = [time_call(loop.step) for _ in range(steps)]
    memory = peak_memory()
    return summarize_laps(laps, rows * length, loop.stages[0].flops) | {
        "peak_memory": memory, "first_step_seconds": first, "free_running_seconds": time_free_running(loop, steps),
    } | profile_steps(loop)  # fmt: skip


def time_free_running(loop: Loop, steps: int) -> float:
    """Seconds a step where nobody waits for the GPU between steps, as in training."""

    def run() -> None:
        for _ in range(steps):
            loop.step()

    return time_call(run) / steps


def profile_steps(loop: Loop) -> dict[str, Any]:
    """Of a step, by torch's profiler: the time of all kernels, launches, waits of the host, and the longest kernels."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        for _ in range(PROFILED):
            loop.step()
        torch.cuda.synchronize()
    events, calls, times = seen.events(), Counter[str](), Counter[str]()
    for event in events:
        if event.device_type == DeviceType.CUDA:
            times[event.name] += event.self_device_time_total
            calls[event.name] += 1
    host = Counter(event.name for event in events if event.device_type == DeviceType.CPU)
    return {
        "kernel_seconds": sum(times.values()) / 1e6 / PROFILED,
        "launches": sum(host[name] for name in LAUNCHES) / PROFILED,
        "waits": sum(host[name] for name in WAITS) / PROFILED,
        "kernels": [
            {"name": name[:120], "calls": calls[name] / PROFILED, "milliseconds": total / 1e3 / PROFILED}
            for name, total in times.most_common(LONGEST)
        ],
    }


def measure_transformers(compiled: bool, preset: str, rows: int, length: int, steps: int) -> dict[str, Any]:
    """The figures of the step with transformers' classes, in bfloat16."""
    config = BenchConfig(preset, rows, length)
    loop = Way(kernels=False, graphs=False, compiled=False).loop(config)
    step = partial(
        TransformersStep(loop.module, load_bench_recipe(config), loop.stages[0], get_device()).step,
        "bfloat16",
        compiled,
    )
    for _ in range(4):
        step()
    reset_peak_memory()
    laps = [time_call(step) for _ in range(steps)]
    return summarize_laps(laps, rows * length, loop.stages[0].flops) | {"peak_memory": peak_memory()}


def summarize_laps(laps: Sequence[float], tokens: int, flops: int) -> dict[str, Any]:
    """The figures of steps that took ``laps`` seconds each."""
    median = statistics.median(laps)
    return {
        "seconds": median, "fastest": min(laps), "slowest": max(laps), "tokens_per_second": tokens / median,
        "flops_per_second": flops / median,
    }  # fmt: skip
