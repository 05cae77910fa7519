"""``electra bench``: what a training step costs on this machine, and what the same step costs elsewhere."""

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from electra import recipes
from electra.dataset.batches import Rows
from electra.dataset.layout import SHORTEST_PIECE
from electra.dataset.shards import Shards
from electra.engine.compiling import Compile, will_compile
from electra.engine.optim import collect_parameters
from electra.engine.parallel import Parallel, Precision, resolve_precision
from electra.engine.telemetry import SilentRecorder, describe_environment
from electra.engine.train import Loop, RowSource, Stage
from electra.errors import UserError
from electra.model.config import ClassicConfig
from electra.objectives.build import CorpusFacts
from electra.report.tables import format_table
from electra.workflows.bench.apart import SeparateProcess
from electra.workflows.bench.machine import measure_copy_bandwidth, measure_matmul_peak, peak_memory, time_call
from electra.workflows.bench.parts import time_parts
from electra.workflows.bench.steps import MASK, RandomRows, TransformersStep
from electra.workflows.pretrain import PretrainConfig, describe_corpus

WARM_UP_STEPS = 2  # steps after the first that are not counted
STEPS_A_TURN = 2  # steps until it is the next one's turn
DATA_PATH_SECONDS = 3.0  # seconds that the data path is timed for
OURS = "electra"


@dataclass(frozen=True)
class BenchConfig:
    """Measure whole training steps of a preset, and their parts: tokens a second, share of this machine's peak, memory,
    time to compile."""

    preset: str = "small"
    """Whose model, objective and optimizer."""
    rows: int = 16
    """Rows a step."""
    length: int = 128
    """Tokens a row, special tokens and padding included."""
    steps: int = 10
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
    threads: int = 0
    """PyTorch's threads; 0: as many as it takes by itself."""
    json: bool = False
    """Print one JSON object in place of the table."""


def bench(config: BenchConfig) -> dict[str, Any]:
    """Measure, print and give the figures: times in seconds, memory in bytes, work in floating-point operations.

    Raises:
        UserError: no such preset, sizes that make no step, or nothing to compare the preset with.
    """
    recipe, threads = load_bench_recipe(config), torch.get_num_threads()
    torch.set_num_threads(config.threads or threads)
    try:
        figures = measure_figures(config, recipe)
    finally:
        torch.set_num_threads(threads)
    print(json.dumps(figures) if config.json else format_bench(figures), flush=True)
    return figures


def load_bench_recipe(config: BenchConfig) -> PretrainConfig:
    """The preset. Raises ``UserError`` as ``bench``."""
    recipe = recipes.apply_preset(PretrainConfig(), config.preset)
    for name, least in (("rows", 1), ("length", SHORTEST_PIECE), ("steps", 1), ("threads", 0)):
        if getattr(config, name) < least:
            raise UserError(f"--{name} {getattr(config, name)}: at least {least}")
    if config.length > recipe.encoder.max_positions:
        raise UserError(f"--length {config.length}: {config.preset} has {recipe.encoder.max_positions} positions")
    if config.against == "transformers" and not isinstance(recipe.encoder, ClassicConfig):
        raise UserError(f"--against transformers: its ELECTRA classes have no encoder like that of {config.preset}")
    if config.data:
        vocabulary = Shards.open(Path(config.data), "train").vocab_size
        recipe = replace(recipe, data=config.data, encoder=replace(recipe.encoder, vocab_size=vocabulary))
    return recipe


def measure_figures(config: BenchConfig, recipe: PretrainConfig) -> dict[str, Any]:
    """All figures; our memory is read before anything else is built."""
    loop = build_bench_loop(config, recipe)
    device, stage = loop.parallel.device, loop.stages[0]
    precision = resolve_precision(config.precision, device)
    compiled = will_compile(config.compile, device)
    print_progress(f"{OURS}: first step{', which compiles' if compiled else ''}")
    first = time_call(loop.step)
    for _ in range(WARM_UP_STEPS):
        loop.step()
    memory, steps = peak_memory(), {OURS: loop.step}
    if config.against == "transformers":
        print_progress("transformers: building, first steps; compiled ones take minutes")
        names = [("float32", False), ("bfloat16", False), *([(precision, True)] if compiled else [])]
        theirs = SeparateProcess(partial(build_transformers_step, config, recipe))
        steps |= {
            f"transformers {number}{' compiled' * fast}": partial(theirs.do, number, fast) for number, fast in names
        }
        for step in [steps[name] for name in steps if name != OURS] * WARM_UP_STEPS:
            step()
    speeds = time_in_turns(steps, config.steps, stage)
    ours, *others = (speed["tokens_per_second"] for speed in speeds.values())
    return {
        "preset": config.preset, "rows": config.rows, "length": config.length, "precision": precision,
        "compiled": compiled, "compile_seconds": max(0.0, first - speeds[OURS]["seconds"]) if compiled else None,
        "peak_memory": memory, "flops_per_step": stage.flops,
        "matmul_flops_per_second": measure_matmul_peak(precision, device),
        "copy_bytes_per_second": measure_copy_bandwidth(device), "speeds": speeds,
        "ratio": ours / max(others) if others else None,
        "parts": time_parts(loop, config.steps, print_progress) if config.parts else None,
        "data_tokens_per_second": measure_data_path(stage) if config.data else None,
        "environment": describe_environment(),
    }  # fmt: skip


def build_transformers_step(config: BenchConfig, recipe: PretrainConfig) -> Callable[[Precision, bool], None]:
    """The step of transformers' classes, on our rows, in a process where nothing is set as we set it."""
    torch.set_num_threads(config.threads or torch.get_num_threads())
    device = Parallel.local_device()
    loop = build_bench_loop(replace(config, compile="never"), recipe, Parallel(0, 1, device))
    return TransformersStep(loop.module, recipe, loop.stages[0], device).step


def build_bench_loop(config: BenchConfig, recipe: PretrainConfig, parallel: Parallel | None = None) -> Loop:
    """The loop of ``electra pretrain`` without a folder, on prepared rows or on some that are made up."""
    parallel = parallel or Parallel.alone()
    source: RowSource = RandomRows(recipe.encoder.vocab_size, config.length)
    corpus = CorpusFacts(MASK)
    if recipe.data:
        shards = Shards.open(Path(recipe.data), "train")
        source, corpus = Rows(shards, recipe.layout, config.length, recipe.seed), describe_corpus(shards)
    torch.manual_seed(recipe.seed)
    pretrainer = recipe.objective.build(recipe.encoder, corpus, recipe.seed)
    work = config.rows * pretrainer.flops(config.length)
    parameters = collect_parameters(pretrainer, pretrainer.towers())
    stage = Stage(pretrainer, parameters, source, 1_000_000, config.rows, config.rows * config.length, work)
    engine = replace(recipe.engine, micro_rows=0, precision=config.precision, compile=config.compile)
    how = recipe.optimizer, recipe.schedule, engine, parallel, None, SilentRecorder()
    return Loop([stage], *how)


def measure_data_path(stage: Stage) -> float:
    """Tokens a second of reading and laying out rows, in one thread, with nothing else to do."""
    place, tokens, began = stage.source.start, 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < DATA_PATH_SECONDS:
        refs, place = stage.source.take(place, stage.rows)
        tokens += stage.source.batch(refs).ids.numel()
    return tokens / passed


def time_in_turns(steps: Mapping[str, Callable[[], object]], count: int, stage: Stage) -> dict[str, dict[str, float]]:
    """The speed of each over ``count`` steps, a block at a time: what else the machine does hits all alike.

    Operations are the model's, whatever someone computes beside.
    """
    times: dict[str, list[float]] = {name: [] for name in steps}
    for done in range(0, count, STEPS_A_TURN):
        for name, step in steps.items():
            times[name] += [time_call(step) for _ in range(min(STEPS_A_TURN, count - done))]
            print_progress(
                f"{name}: {len(times[name])} of {count} steps, {statistics.median(times[name]):.3f} s a step"
            )
    return {
        name: {
            "steps": count, "seconds": (median := statistics.median(laps)), "fastest": min(laps), "slowest": max(laps),
            "tokens_per_second": stage.tokens / median, "flops_per_second": stage.flops / median,
        }
        for name, laps in times.items()
    }  # fmt: skip


def format_bench(figures: Mapping[str, Any]) -> str:
    """The figures for a person."""
    machine, peak, speeds = figures["environment"], figures["matmul_flops_per_second"], figures["speeds"]
    compiling = f"compiled in {figures['compile_seconds']:.0f} s" if figures["compiled"] else "not compiled"
    rows = []
    for name, one in speeds.items():
        tokens, work = round(one["tokens_per_second"]), one["flops_per_second"]
        laps = [one[key] for key in ("seconds", "fastest", "slowest")]
        rows.append([name, tokens, *laps, round(work / 1e9), f"{work / peak:.0%}"])
    lines = [
        f"machine  {machine['gpu'] or machine['processor']}, {machine['threads']} threads",
        f"step     {figures['preset']}, {figures['rows']} × {figures['length']} tokens, "
        f"{figures['flops_per_step'] / 1e9:,.0f} GFLOP; medians of {speeds[OURS]['steps']} steps",
        f"electra  {figures['precision']}, {compiling}, peak memory {figures['peak_memory'] / 1e9:.2f} GB",
        f"peak     {peak / 1e9:,.0f} GFLOP/s: one large {figures['precision']} product alone; "
        f"copies {figures['copy_bytes_per_second'] / 1e9:,.0f} GB/s, read and written",
        "",
        format_table(("", "tokens/s", "s a step", "fastest", "slowest", "GFLOP/s", "of peak"), rows),
    ]
    if figures["ratio"]:
        lines.append(f"\n{figures['ratio']:.2f} times the tokens/s of the best of transformers'")
    if figures["parts"]:
        whole, parts = speeds[OURS]["seconds"], figures["parts"]
        shares = [[name, seconds * 1e3, f"{seconds / whole:.1%}"] for name, seconds in parts.items()]
        lines += ["", format_table(("part by itself", "ms", "of the step"), shares)]
        lines.append(f"parts together {sum(parts.values()):.3f} s, the step {whole:.3f} s; the data is read beside it")
    if figures["data_tokens_per_second"]:
        lines.append(f"\ndata path alone, one thread: {figures['data_tokens_per_second']:,.0f} tokens/s")
    return "\n".join(lines)


def print_progress(line: str) -> None:
    """Progress, apart from the result."""
    print(line, file=sys.stderr, flush=True)
