"""``electra plan``: from a few steps, how long a preset takes on this machine, in how much memory, at what cost."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any, TypedDict

import torch

from electra import recipes
from electra.config import check_ranges
from electra.engine.compiling import Compile
from electra.engine.parallel import Parallel, Precision, resolve_precision
from electra.engine.scaling import Stretch, cut_phases, find_scale, limit_first, refuse_two_lengths
from electra.engine.train import Loop
from electra.errors import UserError
from electra.objectives.build import CorpusFacts
from electra.progress import print_progress, print_warnings
from electra.ranges import Count, CountOrZero, NotNegative
from electra.report.plain_json import format_json
from electra.report.tables import format_table
from electra.workflows.bench.loop import WARM_UP_STEPS, build_bench_loop, read_data_of
from electra.workflows.bench.machine import device_memory, median_seconds, peak_memory, reset_peak_memory
from electra.workflows.bench.parts import time_optimizer
from electra.workflows.bench.steps import MASK
from electra.workflows.pretraining.config import PretrainConfig
from electra.workflows.pretraining.stages import advise_smaller_steps, share_steps

MICRO_TOKENS, MICRO_TOKENS_ON_GPU = 1024, 32_768  # tokens of the smaller of two measured micro-batches, about
MEMORY_SHARE = 0.9  # share of the machine's memory that a run may take


@dataclass(frozen=True)
class PlanConfig:
    """How long a preset takes on this machine, how much memory, how large its micro-batches may be: a few steps of each
    of its phases and stages are measured, with two sizes of micro-batch, and the rest is arithmetic."""

    preset: str = "small"
    """Whose model, objective, optimizer and phases."""
    data: str = ""
    """Prepared data, whose vocabulary the model has and whose rows it reads. Or the preset's, and rows are made up."""
    tokens: NotNegative = 0.0
    """Tokens to train on, padding included; 0: as many as the preset says."""
    flops: NotNegative = 0.0
    """Floating-point operations (`electra.flops`) to train for instead."""
    hours: NotNegative = 0.0
    """Hours of this machine to train for instead: what they are enough for."""
    price: NotNegative = 0.0
    """Of an hour of this machine, in any currency; 0: nobody asked."""
    micro_rows: CountOrZero = 0
    """Rows of the smaller micro-batch that is measured; 0: about 1,024 tokens on a CPU, 32,768 on a GPU."""
    steps: Count = 3
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
class StepCost:
    """What a step of a phase, ``rows`` rows of ``length`` tokens that train one objective, costs.

    ``objective``: its kind. ``flops``: of a step. ``micro_rows``: rows of the larger measured micro-batch. ``memory``:
    bytes that a step with it takes. ``row_memory``: bytes for each row more. ``most_rows``: rows of the largest
    micro-batch that fits.
    """

    objective: str
    rows: int
    length: int
    flops: int
    micro_rows: int
    step_seconds: float
    tokens_per_second: float
    memory: int
    row_memory: float
    most_rows: int


@dataclass(frozen=True)
class PhasePlan(StepCost):
    """``steps`` steps of a phase that train one objective, and what each costs."""

    steps: int

    @property
    def tokens(self) -> int:
        """Of the whole phase, padding included."""
        return self.steps * self.rows * self.length

    @property
    def hours(self) -> float:
        """Of the whole phase."""
        return self.steps * self.step_seconds / 3600


class PlanFigures(TypedDict):
    """The whole plan. ``memory``: bytes of the machine; ``cost``: None without a price; ``phases``: ``PhasePlan``s."""

    preset: str
    precision: str
    hours: float
    tokens: int
    flops: int
    cost: float | None
    memory: int
    phases: list[dict[str, Any]]


def plan(config: PlanConfig) -> PlanFigures:
    """Measure, print and return the figures.

    Raises:
        UserError: no such preset or data, numbers that make no plan, or a micro-batch that does not fit into memory.
    """
    check_ranges(config)
    refuse_two_lengths(config.tokens, config.flops, config.hours)
    recipe, device = load_plan_recipe(config), Parallel.alone().device
    cut = divide_recipe(recipe)

    @cache
    def find_cost(phase: int, module: int) -> StepCost:
        return measure_phase(take_part(recipe, phase, module), config.micro_rows, config.steps, device)

    def plan_phases(scale: float) -> list[PhasePlan]:
        """A run that is ``scale`` times as long."""
        return [
            PhasePlan(**asdict(find_cost(stretch.phase, stretch.module)), steps=max(1, round(stretch.steps * scale)))
            for stretch in cut(scale)
        ]

    def rescale(scale: float) -> float:
        """By what the steps of a run that is cut for this scale are to be multiplied, for the length that is asked."""
        steps = [(find_cost(stretch.phase, stretch.module), stretch.steps) for stretch in cut(scale)]
        if config.tokens:
            return config.tokens / sum(cost.rows * cost.length * count for cost, count in steps)
        if config.flops:
            return config.flops / sum(cost.flops * count for cost, count in steps)
        return 3600 * config.hours / sum(cost.step_seconds * count for cost, count in steps) if config.hours else 1.0

    plans = plan_phases(find_scale(rescale))
    hours = sum(phase.hours for phase in plans)
    figures: PlanFigures = {
        "preset": config.preset, "precision": resolve_precision(config.precision, device), "hours": hours,
        "tokens": sum(phase.tokens for phase in plans), "flops": sum(phase.steps * phase.flops for phase in plans),
        "cost": hours * config.price if config.price else None,
        "memory": device_memory(device), "phases": [asdict(phase) for phase in plans],
    }  # fmt: skip
    print(format_json(figures) if config.json else format_plan(figures, plans), flush=True)
    print_warnings(advise_smaller_steps(recipe.phases, sum(phase.steps for phase in plans)), aside=True)
    return figures


def load_plan_recipe(config: PlanConfig) -> PretrainConfig:
    """The preset with the data and the engine's settings of ``config``.

    Raises:
        UserError: no such preset or data.
    """
    recipe = read_data_of(recipes.apply_preset(PretrainConfig(), config.preset), config.data)
    engine = replace(
        recipe.engine, activation_checkpointing=config.activation_checkpointing, precision=config.precision,
        compile=config.compile,
    )  # fmt: skip
    return replace(recipe, engine=engine)


def divide_recipe(recipe: PretrainConfig) -> Callable[[float], list[Stretch]]:
    """Given a scale, the stretches of a run that is so many times as long, each of one stage of the objective in one
    phase; their steps are not yet multiplied by it."""
    length, corpus = recipe.phases[-1].length, CorpusFacts(MASK)
    costs = [
        objective.build(recipe.encoder, corpus, recipe.seed).flops(length) for _, objective in recipe.objective.stages
    ]
    shares, most = share_steps(recipe, costs)
    phases = [(phase.steps, phase.goes_on) for phase in recipe.phases]
    return lambda scale: list(cut_phases(phases, limit_first(shares, most / scale)))


def take_part(recipe: PretrainConfig, phase: int, module: int) -> PretrainConfig:
    """The recipe of one stage of the objective, by its number, in one phase."""
    _, objective = recipe.objective.stages[module]
    return replace(recipe, objective=objective, phases=(recipe.phases[phase],))


def measure_phase(recipe: PretrainConfig, micro_rows: int, steps: int, device: torch.device) -> StepCost:
    """Measure steps of two sizes of micro-batch, both of which divide the rows of the recipe's only phase, and derive
    what a whole step costs.

    A step of several micro-batches takes as long as they do one after another, and moves the parameters once.
    ``micro_rows``: rows of the smaller micro-batch at most; 0: as many as have about ``MICRO_TOKENS``.

    Raises:
        UserError: a micro-batch does not fit into memory.
    """
    (phase,), objective = recipe.phases, recipe.objective.kind
    default = (MICRO_TOKENS_ON_GPU if device.type == "cuda" else MICRO_TOKENS) // phase.length
    small = largest_divisor(phase.rows, micro_rows or max(1, default))
    large = largest_divisor(phase.rows, 2 * small)
    seconds, memories, optimizer_seconds, flops = [], [], 0.0, 0
    for rows in dict.fromkeys((small, large)):
        print_progress(f"{objective}, {phase.rows} × {phase.length}: {steps} steps of {rows} rows")
        try:
            loop = build_bench_loop(recipe, rows, phase.length)
            step_seconds, peak = measure_step(loop, steps)
        except torch.OutOfMemoryError as error:
            raise UserError(f"--micro-rows {rows}: of {phase.length} tokens do not fit into memory") from error
        seconds.append(step_seconds)
        memories.append(peak)
        optimizer_seconds, flops = time_optimizer(loop, steps), loop.stages[0].flops // rows * phase.rows
        del loop
    micro_batches = phase.rows // large
    whole_step = micro_batches * max(seconds[-1] - optimizer_seconds, 0.0) + optimizer_seconds
    row_memory = max(0.0, memories[-1] - memories[0]) / (large - small) if large > small else 0.0
    most_rows = phase.rows
    if row_memory:
        room = MEMORY_SHARE * device_memory(device) - (memories[0] - small * row_memory)
        most_rows = largest_divisor(phase.rows, max(small, int(room / row_memory)))
    return StepCost(
        objective, phase.rows, phase.length, flops, large, whole_step, phase.rows * phase.length / whole_step,
        memories[-1], row_memory, most_rows,
    )  # fmt: skip


def measure_step(loop: Loop, count: int) -> tuple[float, int]:
    """Seconds of a step, the median of ``count``, and the most bytes held meanwhile, once everything is compiled."""
    for _ in range(WARM_UP_STEPS):
        loop.step()
    reset_peak_memory()
    return median_seconds(loop.step, count), peak_memory()


def largest_divisor(rows: int, most: int) -> int:
    """The largest divisor of ``rows`` that is not above ``most``."""
    return next(divisor for divisor in range(min(rows, most), 0, -1) if rows % divisor == 0)


def format_hours(hours: float) -> str:
    """Hours, or minutes where they are less than one."""
    return f"{hours:,.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"


def format_plan(figures: PlanFigures, phases: list[PhasePlan]) -> str:
    """A table of the phases, and a line of what they come to."""
    rows = [
        [
            phase.objective, f"{phase.rows} × {phase.length}", phase.steps, phase.tokens,
            round(phase.tokens_per_second), phase.hours, phase.micro_rows, f"{phase.memory / 1e9:.2f} GB",
            phase.most_rows,
        ]
        for phase in phases
    ]  # fmt: skip
    header = (
        "objective", "a step", "steps", "tokens", "tokens/s", "hours", "micro-batch", "its memory", "largest that fits",
    )  # fmt: skip
    cost = "" if figures["cost"] is None else f", at a cost of {figures['cost']:,.2f}"
    return (
        f"{format_table(header, rows)}\n\n{figures['preset']} in {figures['precision']}: {figures['tokens']:.3g} "
        f"tokens, {figures['flops']:.3g} operations, take {format_hours(figures['hours'])} on this machine{cost}; "
        f"it has {figures['memory'] / 1e9:.0f} GB"
    )
