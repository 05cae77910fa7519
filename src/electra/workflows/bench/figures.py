"""The figures of ``electra bench``, and the text in which a person reads them."""

from typing import TypedDict

from electra.report.tables import format_table

OURS = "electra"  # the name of our step; others begin with the library's


class StepSpeed(TypedDict):
    """How fast a step is: seconds of the median, shortest and longest; tokens and FLOPs a second of the median."""

    steps: int
    seconds: float
    fastest: float
    slowest: float
    tokens_per_second: float
    flops_per_second: float


class BenchFigures(TypedDict):
    """All that is measured: times in seconds, memory in bytes, work in floating-point operations.

    ``ratio``: our tokens a second by those of the fastest other step. ``parts``: seconds of each part of our step.
    """

    preset: str
    rows: int
    length: int
    precision: str
    compiled: bool
    compile_seconds: float | None
    peak_memory: int
    flops_per_step: float
    matmul_flops_per_second: float
    copy_bytes_per_second: float
    speeds: dict[str, StepSpeed]
    ratio: float | None
    parts: dict[str, float] | None
    data_tokens_per_second: float | None
    environment: dict[str, object]


def format_bench(figures: BenchFigures) -> str:
    """The figures in lines and tables."""
    environment, peak, speeds = figures["environment"], figures["matmul_flops_per_second"], figures["speeds"]
    seconds = figures["compile_seconds"]
    compiling = "not compiled" if seconds is None else f"compiled in {seconds:.0f} s"
    lines = [
        f"machine  {environment['gpu'] or environment['processor']}, {environment['threads']} threads",
        f"step     {figures['preset']}, {figures['rows']} × {figures['length']} tokens, "
        f"{figures['flops_per_step'] / 1e9:,.0f} GFLOP; medians of {speeds[OURS]['steps']} steps",
        f"electra  {figures['precision']}, {compiling}, peak memory {figures['peak_memory'] / 1e9:.2f} GB",
        f"peak     {peak / 1e9:,.0f} GFLOP/s: one large {figures['precision']} product alone; "
        f"copies {figures['copy_bytes_per_second'] / 1e9:,.0f} GB/s, read and written",
        "",
        format_speeds(speeds, peak),
    ]
    if figures["ratio"]:
        lines.append(f"\n{figures['ratio']:.2f} times the tokens/s of the best of transformers'")
    if figures["parts"]:
        lines += ["", format_parts(figures["parts"], speeds[OURS]["seconds"])]
    if figures["data_tokens_per_second"]:
        lines.append(f"\ndata path alone, one thread: {figures['data_tokens_per_second']:,.0f} tokens/s")
    return "\n".join(lines)


def format_speeds(speeds: dict[str, StepSpeed], peak: float) -> str:
    """A row for each step; its FLOPs a second also as a share of the machine's ``peak``."""
    rows = [
        [
            name, round(speed["tokens_per_second"]), speed["seconds"], speed["fastest"], speed["slowest"],
            round(speed["flops_per_second"] / 1e9), f"{speed['flops_per_second'] / peak:.0%}",
        ]
        for name, speed in speeds.items()
    ]  # fmt: skip
    return format_table(("", "tokens/s", "s a step", "fastest", "slowest", "GFLOP/s", "of peak"), rows)


def format_parts(parts: dict[str, float], step_seconds: float) -> str:
    """A row for each part of our step, and what they come to together."""
    rows = [[name, seconds * 1e3, f"{seconds / step_seconds:.1%}"] for name, seconds in parts.items()]
    total = f"parts together {sum(parts.values()):.3f} s, the step {step_seconds:.3f} s; the data is read beside it"
    return f"{format_table(('part by itself', 'ms', 'of the step'), rows)}\n{total}"
