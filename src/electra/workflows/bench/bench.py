"""``electra bench``: what a training step costs on this machine, and what the same step costs elsewhere."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch

from electra import recipes
from electra.config import check_ranges
from electra.dataset.layout import RowLength
from electra.engine.compiling import Compile, will_compile
from electra.engine.parallel import Parallel, Precision, resolve_precision
from electra.engine.stages import Stage
from electra.engine.telemetry import describe_environment
from electra.errors import UserError
from electra.model.config import ClassicConfig
from electra.progress import print_progress
from electra.ranges import Count, CountOrZero
from electra.report.plain_json import format_json
from electra.workflows.bench.figures import OURS, BenchFigures, StepSpeed, format_bench
from electra.workflows.bench.loop import WARM_UP_STEPS, build_bench_loop, read_data_of
from electra.workflows.bench.machine import measure_copy_bandwidth, measure_matmul_peak, peak_memory, time_call
from electra.workflows.bench.parts import time_parts
from electra.workflows.bench.separate_process import SeparateProcess
from electra.workflows.bench.steps import TransformersStep
from electra.workflows.pretraining.config import PretrainConfig

STEPS_A_TURN = 2  # steps until it is the next one's turn
DATA_PATH_SECONDS = 3.0  # for which the data path is timed


@dataclass(frozen=True)
class BenchConfig:
    """Measure whole training steps of a preset, and their parts: tokens a second, share of this machine's peak, memory,
    time to compile."""

    preset: str = "small"
    """Whose model, objective and optimizer."""
    rows: Count = 16
    """Rows a step."""
    length: RowLength = 128
    """Tokens a row, special tokens and padding included."""
    steps: Count = 10
    """Measured steps; the first ones come on top."""
    against: Literal["nothing", "transformers"] = "nothing"
    """transformers: take turns with the same step written with its ELECTRA classes, in a process of its own, in float32
    and bfloat16, and compiled in the type that ours takes."""
    data: str = ""
    """Prepared data: rows come from there, in the preset's layout, and the data path is timed alone. Else rows are made
    up."""
    parts: bool = True
    """Say too where a step's time goes."""
    precision: Precision = "auto"
    """Number type of our products. auto: bfloat16 where it is faster here."""
    compile: Compile = "auto"
    """auto: torch.compile where a compiler is found."""
    threads: CountOrZero = 0
    """PyTorch's threads; 0: as many as it takes by itself."""
    json: bool = False
    """Print one JSON object in place of the table."""


def bench(config: BenchConfig) -> BenchFigures:
    """Measure, print and return the figures.

    Raises:
        UserError: no such preset, sizes that make no step, or nothing to compare the preset with.
    """
    check_ranges(config)
    recipe, threads = load_bench_recipe(config), torch.get_num_threads()
    torch.set_num_threads(config.threads or threads)
    try:
        figures = measure_figures(config, recipe)
    finally:
        torch.set_num_threads(threads)
    print(format_json(figures) if config.json else format_bench(figures), flush=True)
    return figures


def load_bench_recipe(config: BenchConfig) -> PretrainConfig:
    """The preset with the config's precision, compilation and data. Raises ``UserError`` as ``bench``."""
    recipe = recipes.apply_preset(PretrainConfig(), config.preset)
    if config.length > recipe.encoder.max_positions:
        raise UserError(f"--length {config.length}: {config.preset} has {recipe.encoder.max_positions} positions")
    if config.against == "transformers" and not isinstance(recipe.encoder, ClassicConfig):
        raise UserError(f"--against transformers: its ELECTRA classes have no encoder like that of {config.preset}")
    recipe = read_data_of(recipe, config.data)
    return replace(recipe, engine=replace(recipe.engine, precision=config.precision, compile=config.compile))


def measure_figures(config: BenchConfig, recipe: PretrainConfig) -> BenchFigures:
    """All figures; our memory is read before anything else is built."""
    loop = build_bench_loop(recipe, config.rows, config.length)
    device, stage = loop.parallel.device, loop.stages[0]
    precision, compiled = resolve_precision(config.precision, device), will_compile(config.compile, device)
    print_progress(f"{OURS}: first step{', which compiles' if compiled else ''}")
    first_seconds = time_call(loop.step)
    for _ in range(WARM_UP_STEPS):
        loop.step()
    memory = peak_memory()
    steps: dict[str, Callable[[], object]] = {OURS: loop.step}
    if config.against == "transformers":
        steps |= start_transformers_steps(config, recipe, precision, compiled)
    speeds = time_in_turns(steps, config.steps, stage)
    ours, *others = (speed["tokens_per_second"] for speed in speeds.values())
    return {
        "preset": config.preset, "rows": config.rows, "length": config.length, "precision": precision,
        "compiled": compiled,
        "compile_seconds": max(0.0, first_seconds - speeds[OURS]["seconds"]) if compiled else None,
        "peak_memory": memory, "flops_per_step": stage.flops,
        "matmul_flops_per_second": measure_matmul_peak(precision, device),
        "copy_bytes_per_second": measure_copy_bandwidth(device), "speeds": speeds,
        "ratio": ours / max(others) if others else None,
        "parts": time_parts(loop, config.steps) if config.parts else None,
        "data_tokens_per_second": measure_data_path(stage) if config.data else None,
        "environment": describe_environment(),
    }  # fmt: skip


def start_transformers_steps(
    config: BenchConfig, recipe: PretrainConfig, precision: Precision, compiled: bool
) -> Mapping[str, Callable[[], object]]:
    """The step of transformers' classes in each number type, and compiled in ours if ours is; all are warm."""
    print_progress("transformers: building, first steps; compiled ones take minutes")
    variants: list[tuple[Precision, bool]] = [("float32", False), ("bfloat16", False)]
    if compiled:
        variants.append((precision, True))
    process = SeparateProcess(partial(build_transformers_step, config, recipe))
    steps = {
        f"transformers {dtype}{' compiled' * compiled}": partial(process.call, dtype, compiled)
        for dtype, compiled in variants
    }
    for step in [*steps.values()] * WARM_UP_STEPS:
        step()
    return steps


def build_transformers_step(config: BenchConfig, recipe: PretrainConfig) -> Callable[[Precision, bool], None]:
    """The step of transformers' classes on the rows of ours; for a process in which none of our settings are made."""
    torch.set_num_threads(config.threads or torch.get_num_threads())
    device = Parallel.local_device()
    recipe = replace(recipe, engine=replace(recipe.engine, compile="never"))
    loop = build_bench_loop(recipe, config.rows, config.length, Parallel(0, 1, device))
    return TransformersStep(loop.module, recipe, loop.stages[0], device).step


def measure_data_path(stage: Stage) -> float:
    """Tokens a second of reading and laying out rows, in one thread, with nothing else to do."""
    place, tokens, began = stage.source.start, 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < DATA_PATH_SECONDS:
        refs, place = stage.source.take(place, stage.rows)
        tokens += stage.source.batch(refs).ids.numel()
    return tokens / passed


def time_in_turns(steps: Mapping[str, Callable[[], object]], count: int, stage: Stage) -> dict[str, StepSpeed]:
    """The speed of each step, called ``count`` times, a few calls a turn, so that whatever else the machine does slows
    all of them alike.

    FLOPs are the model's, whatever a step computes besides.
    """
    times: dict[str, list[float]] = {name: [] for name in steps}
    for done in range(0, count, STEPS_A_TURN):
        for name, step in steps.items():
            times[name] += [time_call(step) for _ in range(min(STEPS_A_TURN, count - done))]
            median = statistics.median(times[name])
            print_progress(f"{name}: {len(times[name])} of {count} steps, {median:.3f} s a step")
    return {
        name: {
            "steps": count, "seconds": (median := statistics.median(laps)), "fastest": min(laps), "slowest": max(laps),
            "tokens_per_second": stage.tokens / median, "flops_per_second": stage.flops / median,
        }
        for name, laps in times.items()
    }  # fmt: skip
