"""``electra plan``: from a few steps, how long a preset takes on this machine, in how much memory, at what cost."""

import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from electra import config as configs
from electra import recipes
from electra.engine.compiling import Compile
from electra.engine.parallel import Parallel, Precision, resolve_precision
from electra.engine.train import Loop
from electra.errors import UserError
from electra.report.tables import format_table
from electra.workflows.bench.bench import WARM_UP_STEPS, BenchConfig, build_bench_loop
from electra.workflows.bench.machine import device_memory, peak_memory, reset_peak_memory, time_call
from electra.workflows.bench.parts import time_optimizer
from electra.workflows.pretrain import Phase, PretrainConfig

MICRO_TOKENS, MICRO_TOKENS_ON_GPU = 1024, 32_768  # tokens of the smaller of two measured micro-batches, about
MEMORY_SHARE = 0.9  # share of the machine's memory that a run may take


@dataclass(frozen=True)
class PlanConfig:
    """How long a preset takes on this machine, how much memory, how large its micro-batches may be: a few steps of each
    of its phases are measured, with two sizes of micro-batch, and the rest is arithmetic."""

    preset: str = "small"
    """Whose model, objective, optimizer and phases."""
    tokens: float = 0.0
    """Tokens to train on, padding included; 0: as many as the preset says."""
    price: float = 0.0
    """Of an hour of this machine, in any currency; 0: nobody asked."""
    micro_rows: int = 0
    """Rows of the smaller micro-batch that is measured; 0: about 1,024 tokens on a CPU, 32,768 on a GPU."""
    steps: int = 3
    """Measured steps of each size."""
    activation_checkpointing: bool = False
    """Layers compute again for the backward pass what they would keep."""
    precision: Precision = "auto"
    """Number type of the products. auto: bfloat16 where it is faster here."""
    compile: Compile = "auto"
    """auto: torch.compile where a compiler is found."""
    json: bool = False
    """Print one JSON object in place of the table."""


@dataclass(frozen=True)
class PhasePlan:
    """A phase: rows × length a step, and what a step costs. Memory in bytes, times in seconds.

    ``micro_rows`` were measured, ``most_rows`` fit by ``row_memory`` for each row more.
    """

    steps: int
    rows: int
    length: int
    micro_rows: int
    step_seconds: float
    tokens_per_second: float
    memory: int
    row_memory: float
    most_rows: int

    @property
    def tokens(self) -> int:
        """Of the whole phase, padding included."""
        return self.steps * self.rows * self.length

    @property
    def hours(self) -> float:
        """Of the whole phase."""
        return self.steps * self.step_seconds / 3600


def plan(config: PlanConfig) -> dict[str, Any]:
    """Measure, print and give the figures.

    Raises:
        UserError: no such preset, numbers that make no plan, or a micro-batch that does not fit into memory.
    """
    recipe = load_plan_recipe(config)
    device = Parallel.alone().device
    share = config.tokens / sum(each.steps * each.rows * each.length for each in recipe.phases) if config.tokens else 1
    phases = [replace(each, steps=max(1, round(each.steps * share))) for each in recipe.phases]
    planned = [plan_phase(config, recipe, each, device) for each in phases]
    hours = sum(each.hours for each in planned)
    figures = {
        "preset": config.preset, "precision": resolve_precision(config.precision, device), "hours": hours,
        "tokens": sum(each.tokens for each in planned), "cost": hours * config.price if config.price else None,
        "memory": device_memory(device), "phases": [asdict(each) for each in planned],
    }  # fmt: skip
    print(json.dumps(figures) if config.json else format_plan(figures, planned), flush=True)
    return figures


def load_plan_recipe(config: PlanConfig) -> PretrainConfig:
    """The preset. Raises ``UserError`` as ``plan``."""
    recipe = configs.load_config(PretrainConfig(), recipes.find_preset(config.preset))
    for name, least in (("tokens", 0), ("price", 0), ("micro_rows", 0), ("steps", 1)):
        if getattr(config, name) < least:
            raise UserError(f"--{name.replace('_', '-')} {getattr(config, name):g}: at least {least}")
    return replace(
        recipe, engine=replace(recipe.engine, activation_checkpointing=config.activation_checkpointing)
    )  # fmt: skip


def plan_phase(config: PlanConfig, recipe: PretrainConfig, phase: Phase, device: torch.device) -> PhasePlan:
    """A phase's plan. Its micro-batches divide its rows."""
    at_once = MICRO_TOKENS_ON_GPU if device.type == "cuda" else MICRO_TOKENS
    wanted = config.micro_rows or max(1, at_once // phase.length)
    small = largest_divisor(phase.rows, wanted)
    large = largest_divisor(phase.rows, 2 * small)
    seconds, memories, moving = [], [], 0.0
    for rows in dict.fromkeys((small, large)):
        print_progress(f"{phase.rows} × {phase.length}: {config.steps} steps of {rows} rows")
        try:
            loop = build_bench_loop(BenchConfig(config.preset, rows, phase.length, precision=config.precision,
                                        compile=config.compile), recipe)  # fmt: skip
            lap, peak = measure_step(loop, config.steps)
        except torch.OutOfMemoryError as error:
            raise UserError(f"--micro-rows {rows}: of {phase.length} tokens do not fit into memory") from error
        seconds.append(lap)
        memories.append(peak)
        moving = time_optimizer(loop, config.steps)
        del loop
    parts = phase.rows // large
    whole = parts * max(seconds[-1] - moving, 0.0) + moving
    row = max(0.0, memories[-1] - memories[0]) / (large - small) if large > small else 0.0
    most = phase.rows
    if row:
        room = MEMORY_SHARE * device_memory(device) - (memories[0] - small * row)
        most = largest_divisor(phase.rows, max(small, int(room / row)))
    return PhasePlan(
        phase.steps, phase.rows, phase.length, large, whole, phase.rows * phase.length / whole, memories[-1], row, most
    )


def measure_step(loop: Loop, count: int) -> tuple[float, int]:
    """Seconds of a step, median, and the most memory that is held meanwhile, once everything is compiled."""
    for _ in range(WARM_UP_STEPS):
        loop.step()
    reset_peak_memory()
    return statistics.median(time_call(loop.step) for _ in range(count)), peak_memory()


def largest_divisor(rows: int, most: int) -> int:
    """The largest number of rows up to ``most`` that divides a step's."""
    return next(each for each in range(min(rows, most), 0, -1) if rows % each == 0)


def format_plan(figures: dict[str, Any], planned: Sequence[PhasePlan]) -> str:
    """The figures for a person."""
    rows = [
        [f"{each.rows} × {each.length}", each.steps, each.tokens, round(each.tokens_per_second), each.hours,
         each.micro_rows, f"{each.memory / 1e9:.2f} GB", each.most_rows]
        for each in planned
    ]  # fmt: skip
    heads = ("a step", "steps", "tokens", "tokens/s", "hours", "micro-batch", "its memory", "largest that fits")
    cost = "" if figures["cost"] is None else f", at a cost of {figures['cost']:,.2f}"
    return (
        f"{format_table(heads, rows)}\n\n{figures['preset']} in {figures['precision']}: "
        f"{figures['tokens']:.3g} tokens take "
        f"{figures['hours']:,.1f} hours on this machine{cost}; it has {figures['memory'] / 1e9:.0f} GB"
    )


def print_progress(line: str) -> None:
    """Progress, apart from the result."""
    print(line, file=sys.stderr, flush=True)
