"""``electra bench``: what a training step costs on this machine, and what the same step costs elsewhere."""

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch

from electra import config as configs
from electra import recipes
from electra.engine.optim import parameters_of
from electra.engine.parallel import Parallel, Precision, can_compile, chosen
from electra.engine.telemetry import Silent, environment
from electra.engine.train import Loop, Stage
from electra.errors import UserError
from electra.model.config import ClassicConfig
from electra.objectives.build import Corpus
from electra.report.tables import table
from electra.text.layout import SHORTEST
from electra.workflows.bench_steps import MASK, RandomRows, Theirs
from electra.workflows.pretrain import PretrainConfig

WARM_UP = 2  # steps after the first that are not counted
BLOCK = 2  # steps until it is the next one's turn
OURS = "electra"


@dataclass(frozen=True)
class BenchConfig:
    """Measure whole training steps of a preset: tokens a second, time to compile, memory."""

    preset: str = "small"
    """Whose model, objective and optimizer."""
    rows: int = 16
    """Rows a step."""
    length: int = 128
    """Tokens a row, special tokens and padding included."""
    steps: int = 10
    """Measured steps; the first ones come on top."""
    against: Literal["nothing", "transformers"] = "nothing"
    """transformers: take turns with the same step written with its ELECTRA classes, in float32 and bfloat16."""
    precision: Precision = "auto"
    """Number type of our products. auto: bfloat16 where the machine has units for it."""
    compile: Literal["auto", "never"] = "auto"
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
    recipe, threads = checked(config), torch.get_num_threads()
    torch.set_num_threads(config.threads or threads)
    try:
        figures = measured(config, recipe)
    finally:
        torch.set_num_threads(threads)
    print(json.dumps(figures) if config.json else told(figures), flush=True)
    return figures


def checked(config: BenchConfig) -> PretrainConfig:
    """The preset. Raises ``UserError`` as ``bench``."""
    recipe = configs.load(PretrainConfig(), recipes.path(config.preset))
    for name, least in (("rows", 1), ("length", SHORTEST), ("steps", 1), ("threads", 0)):
        if getattr(config, name) < least:
            raise UserError(f"--{name} {getattr(config, name)}: at least {least}")
    if config.length > recipe.encoder.max_positions:
        raise UserError(f"--length {config.length}: {config.preset} has {recipe.encoder.max_positions} positions")
    if config.against == "transformers" and not isinstance(recipe.encoder, ClassicConfig):
        raise UserError(f"--against transformers: its ELECTRA classes have no encoder like that of {config.preset}")
    return recipe


def measured(config: BenchConfig, recipe: PretrainConfig) -> dict[str, Any]:
    """All figures; our memory is read before anything else is built."""
    loop = our_loop(config, recipe)
    device, stage = loop.parallel.device, loop.stages[0]
    precision = chosen(config.precision, device)
    compiled = config.compile == "auto" and can_compile(device)
    say(f"{OURS}: first step{', which compiles: minutes' if compiled else ''}")
    first = timed(loop.step)
    for _ in range(WARM_UP):
        loop.step()
    memory, steps = peak_memory(), {OURS: loop.step}
    if config.against == "transformers":
        say("transformers: building, first steps")
        theirs = Theirs(loop.module, recipe, stage, device)
        steps |= {f"transformers {number}": partial(theirs.step, number) for number in ("float32", "bfloat16")}
        for step in [steps[name] for name in steps if name != OURS] * WARM_UP:
            step()
    speeds = in_turns(steps, config.steps, stage)
    ours, *others = (speed["tokens_per_second"] for speed in speeds.values())
    return {
        "preset": config.preset, "rows": config.rows, "length": config.length, "precision": precision,
        "compiled": compiled, "compile_seconds": max(0.0, first - speeds[OURS]["seconds"]) if compiled else None,
        "peak_memory": memory, "flops_per_step": stage.flops, "matmul_flops_per_second": matmul_peak(precision, device),
        "speeds": speeds, "ratio": ours / max(others) if others else None, "environment": environment(),
    }  # fmt: skip


def our_loop(config: BenchConfig, recipe: PretrainConfig) -> Loop:
    """The loop of ``electra pretrain`` on rows that are made up, without a folder."""
    parallel, source = Parallel.alone(), RandomRows(recipe.encoder.vocab_size, config.length)
    torch.manual_seed(recipe.seed)
    pretrainer = recipe.objective.build(recipe.encoder, Corpus(MASK), recipe.seed).to(parallel.device)
    work = config.rows * pretrainer.flops(config.length)
    parameters = parameters_of(pretrainer, pretrainer.towers())
    stage = Stage(pretrainer, parameters, source, 1_000_000, config.rows, config.rows * config.length, work)
    engine = replace(recipe.engine, micro_rows=0, precision=config.precision, compile=config.compile)
    how = recipe.optimizer, recipe.schedule, engine, parallel, None, Silent()
    return Loop([stage], *how)


def in_turns(steps: Mapping[str, Callable[[], object]], count: int, stage: Stage) -> dict[str, dict[str, float]]:
    """The speed of each over ``count`` steps, a block at a time: what else the machine does hits all alike.

    Operations are the model's, whatever someone computes beside.
    """
    times: dict[str, list[float]] = {name: [] for name in steps}
    for done in range(0, count, BLOCK):
        for name, step in steps.items():
            times[name] += [timed(step) for _ in range(min(BLOCK, count - done))]
            say(f"{name}: {len(times[name])} of {count} steps, {statistics.median(times[name]):.3f} s a step")
    return {
        name: {
            "steps": count, "seconds": (median := statistics.median(laps)), "fastest": min(laps), "slowest": max(laps),
            "tokens_per_second": stage.tokens / median, "flops_per_second": stage.flops / median,
        }
        for name, laps in times.items()
    }  # fmt: skip


def timed(step: Callable[[], object]) -> float:
    """Seconds that a step takes, its work on a GPU included."""
    wait = torch.cuda.synchronize if torch.cuda.is_available() else int
    wait()
    began = time.perf_counter()
    step()
    wait()
    return time.perf_counter() - began


def matmul_peak(precision: Precision, device: torch.device) -> float:
    """Operations a second of a large product alone, the best of a few."""
    size = 8192 if device.type == "cuda" else 2048
    one = torch.randn(size, size, device=device, dtype=getattr(torch, precision))
    return 2 * size**3 / min(timed(lambda: one @ one) for _ in range(5))


def peak_memory() -> int:
    """The most bytes that this process has held: on the GPU where there is one, else resident."""
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else resident


def told(figures: Mapping[str, Any]) -> str:
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
        f"peak     {peak / 1e9:,.0f} GFLOP/s: one large {figures['precision']} product alone",
        "",
        table(("", "tokens/s", "s a step", "fastest", "slowest", "GFLOP/s", "of peak"), rows),
    ]
    if figures["ratio"]:
        lines.append(f"\n{figures['ratio']:.2f} times the tokens/s of the better of transformers' two")
    return "\n".join(lines)


def say(line: str) -> None:
    """Progress, apart from the result."""
    print(line, file=sys.stderr, flush=True)
