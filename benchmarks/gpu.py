"""Everything that wants measuring on a GPU, in one command:

    python benchmarks/gpu.py --json gpu.json
    python benchmarks/gpu.py --json gpu.json --data data/ --minutes 5    # and trains small and modern-small

1. Whether a step with the kernels in Triton, and one replayed from a CUDA graph, are the readable step: losses,
   samples and every gradient, in float32.
2. Tokens a second, share of the measured peak, and memory of each preset: the readable twins compiled, with the
   kernels, with CUDA graphs too, and transformers' classes, uncompiled and compiled.
3. With ``--data``: runs of ``--minutes`` each, whose folders are left in ``--out``.

The file is written after each item, so that what was measured stays if the time is up.
"""

import argparse
import gc
import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from electra import config as configs
from electra import recipes
from electra.engine.passes import WARM_UP
from electra.engine.telemetry import environment, read_metrics
from electra.engine.train import Loop
from electra.errors import UserError
from electra.model.config import ClassicConfig
from electra.model.twins import fuse
from electra.report.tables import table
from electra.workflows.bench import BenchConfig, checked, our_loop
from electra.workflows.bench_machine import copy_bandwidth, fresh_peak, matmul_peak, peak_memory, timed
from electra.workflows.bench_steps import Theirs
from electra.workflows.pretrain import PretrainConfig, pretrain

SIZES = [  # preset, rows, length
    ("small", 512, 128), ("small", 128, 128), ("base", 128, 512), ("base", 32, 512), ("modern-small", 512, 128),
    ("modern-small", 64, 1024), ("modern-base", 64, 1024),
]  # fmt: skip
FURTHEST = 1e-3  # two ways of adding the same float32 numbers, relative to the largest


@dataclass(frozen=True)
class Way:
    """How our step is computed."""

    kernels: bool = True
    graphs: bool = True
    compiled: bool = True

    def loop(self, preset: str, rows: int, length: int, precision: str) -> Loop:
        """A loop that computes so, before its first step."""
        config = BenchConfig(
            preset, rows, length, precision=precision, compile="auto" if self.compiled else "never"
        )  # fmt: skip
        recipe = checked(config)
        loop = our_loop(config, replace(recipe, engine=replace(recipe.engine, cuda_graphs=self.graphs)))
        fuse(loop.module, "cuda" if self.kernels else "")
        return loop


WAYS = {
    "readable twins, compiled": Way(kernels=False, graphs=False),
    "kernels": Way(graphs=False),
    "kernels, CUDA graph": Way(),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", required=True, help="file to write the figures to")
    parser.add_argument("--steps", type=int, default=20, help="measured steps of each way")
    parser.add_argument("--presets", nargs="*", default=sorted({each[0] for each in SIZES}))
    parser.add_argument("--data", default="", help="folder that `electra prepare` wrote, to train on")
    parser.add_argument("--out", default="gpu-runs", help="folder of those runs")
    parser.add_argument("--minutes", type=float, default=5.0, help="of each run")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        parser.error("no CUDA GPU here")
    report: dict[str, Any] = {"environment": environment()}
    for name, item in items(options):
        print(f"\n== {name}", flush=True)
        try:
            report[name] = item()
        except torch.OutOfMemoryError as error:
            report[name] = f"out of memory: {error}"
        print(told(report[name]), flush=True)
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        gc.collect()
        torch.compiler.reset()


def items(options: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What is to be measured, by name."""
    device = torch.device("cuda")
    yield "machine", lambda: {
        "matmul_flops_per_second": matmul_peak("bfloat16", device), "copy_bytes_per_second": copy_bandwidth(device),
    }  # fmt: skip
    for preset in ("small", "modern-small"):
        for name, way in {"kernels": Way(graphs=False, compiled=False), "kernels, CUDA graph": Way()}.items():
            yield f"{preset}: {name} against the readable step", lambda p=preset, w=way: distance(p, w)
    for preset, rows, length in (each for each in SIZES if each[0] in options.presets):
        for name, way in WAYS.items():
            asked = (preset, rows, length, options.steps)
            yield f"{preset}, {rows} × {length}: {name}", lambda w=way, a=asked: speed(w, *a)
        for compiled in (False, True):
            how = f"transformers{', compiled' if compiled else ''}"
            yield f"{preset}, {rows} × {length}: {how}", lambda c=compiled, a=asked: theirs(c, *a)
    if options.data:
        for preset in ("small", "modern-small"):
            yield f"{preset}: trained", lambda p=preset: trained(p, options)


def distance(preset: str, way: Way) -> dict[str, float]:
    """How far statistics and gradients of one step are from the readable ones, relative to the largest of each tensor.

    Raises:
        SystemExit: further than rounding can be.
    """
    found = []
    for each in (Way(kernels=False, graphs=False, compiled=False), way):
        loop = each.loop(preset, 8, 128, "float32")
        (batch, *_), _ = loop.batches(loop.stages[0], loop.stages[0].source.start)
        device, progress = loop.parallel.device, torch.tensor(0.5)
        divisors = {name: count.clamp(min=1) for name, count in loop.counts([batch], progress).items()}
        sums = loop.passes(batch.to(device), divisors, progress.to(device))
        gradients = {name: p.grad for name, p in loop.module.named_parameters() if p.grad is not None}
        found.append((sums, gradients))
    apart = {
        what: max(
            float((one[name] - value).abs().max() / value.abs().max().clamp(min=1e-6))
            for name, value in other.items()
        )
        for what, other, one in zip(("statistics", "gradients"), *found, strict=True)
    }  # fmt: skip
    if max(apart.values()) > FURTHEST:
        raise SystemExit(f"{preset}: {apart}: further apart than {FURTHEST:g}")
    return apart


def speed(way: Way, preset: str, rows: int, length: int, steps: int) -> dict[str, float]:
    """Of our step."""
    loop = way.loop(preset, rows, length, "bfloat16")
    first = timed(loop.step)
    for _ in range(2 + WARM_UP):
        loop.step()
    fresh_peak()
    laps = [timed(loop.step) for _ in range(steps)]
    return figures(laps, rows * length, loop.stages[0].flops) | {"first_step_seconds": first}


def theirs(compiled: bool, preset: str, rows: int, length: int, steps: int) -> dict[str, float] | str:
    """Of the step with transformers' classes."""
    recipe = checked(BenchConfig(preset, rows, length))
    if not isinstance(recipe.encoder, ClassicConfig):
        return "its ELECTRA classes have no such encoder"
    loop = Way(False, False, False).loop(preset, rows, length, "bfloat16")
    step = Theirs(loop.module, recipe, loop.stages[0], loop.parallel.device).step
    for _ in range(4):
        step("bfloat16", compiled)
    fresh_peak()
    return figures(
        [timed(lambda: step("bfloat16", compiled)) for _ in range(steps)], rows * length, loop.stages[0].flops
    )


def figures(laps: Sequence[float], tokens: int, flops: int) -> dict[str, float]:
    """Of steps that took so many seconds each."""
    median = statistics.median(laps)
    return {
        "seconds": median, "fastest": min(laps), "slowest": max(laps), "tokens_per_second": tokens / median,
        "flops_per_second": flops / median, "peak_memory": peak_memory(),
    }  # fmt: skip


def trained(preset: str, options: argparse.Namespace) -> dict[str, Any]:
    """A run: its last held-out figures, and its rate."""
    recipe = configs.load(PretrainConfig(), recipes.path(preset))
    phase = replace(recipe.phases[0], rows=512, length=128)
    engine = replace(recipe.engine, cuda_graphs=True, evaluate_every=500, save_every=0, log_every=50)
    out = Path(options.out) / preset
    try:
        run = pretrain(
            replace(
                recipe, data=options.data, out=str(out), phases=(phase,), engine=engine, hours=options.minutes / 60
            )
        )  # fmt: skip
    except UserError as error:
        return {"error": str(error)}
    lines = read_metrics(run / "metrics.jsonl")
    rates = [line["tokens_per_second"] for line in lines if line["split"] == "train"]
    held_out = [line for line in lines if line["split"] == "held-out"][-1]
    return {"tokens_per_second": statistics.median(rates), "held_out": held_out}


def told(found: Any) -> str:
    """Figures for a person."""
    if not isinstance(found, dict):
        return str(found)
    return table(("", ""), [[name, value] for name, value in found.items() if not isinstance(value, dict)])


if __name__ == "__main__":
    main()
