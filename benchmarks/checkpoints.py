"""What a checkpoint a minute costs a run of ELECTRA-Small: hashing, fsync and the writing thread's CPU time included.

    python benchmarks/checkpoints.py --json checkpoints.json

Stretches of a few steps take turns in one process: none with a checkpoint, one that a thread writes while the steps go
on (as a run does), one that the loop waits for. What a stretch with a checkpoint takes longer than the one without, in
the same turn, is what the checkpoint costs; its share is of a minute. Each stretch is longer than the write: that is
checked. CPU seconds are those of all threads of the process, and apart those of the writing thread.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from electra import recipes
from electra.engine import checkpoint
from electra.engine.parallel import flush_denormals
from electra.engine.telemetry import describe_start
from electra.engine.train import Loop
from electra.report.tables import format_table
from electra.workflows.bench.loop import build_bench_loop
from electra.workflows.pretraining.config import PretrainConfig

MINUTE = 60.0
WARM_UP = 3  # steps before the first stretch, and as many checkpoints: the copy's memory is there, old ones go
WAYS = ("none", "thread", "waiting")


@dataclass
class Stretch:
    """Seconds that a stretch took, of all cores' time in the process, and of its checkpoint: until the loop went on,
    in the writing thread, and of that thread's CPU time."""

    wall: float
    cpu: float
    stopped: float = 0.0
    write: float = 0.0
    write_cpu: float = 0.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the medians of what a checkpoint costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="small")
    parser.add_argument("--rows", type=int, default=16, help="rows a step")
    parser.add_argument("--length", type=int, default=128, help="tokens a row")
    parser.add_argument("--steps", type=int, default=8, help="steps of a stretch")
    parser.add_argument("--turns", type=int, default=12, help="pairs of stretches")
    parser.add_argument("--compile", default="auto", choices=["auto", "never"], help="never: a quick try")
    parser.add_argument("--folder", default=".", help="checkpoints are written below it: the disk that is measured")
    parser.add_argument("--json", default="", help="write the figures to this file")
    options = parser.parse_args(arguments)
    recipe = recipes.apply_preset(PretrainConfig(), options.preset)
    recipe = replace(recipe, engine=replace(recipe.engine, compile=options.compile))
    loop = build_bench_loop(recipe, options.rows, options.length)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder, flush_denormals(), loop.writer:
        loop.folder = Path(folder)
        for _ in range(WARM_UP):
            run_stretch(loop, 1, "waiting")
        size = sum(file.stat().st_size for file in checkpoint.list_checkpoints(loop.folder)[-1].iterdir())
        turns = [run_turn(loop, options.steps, number) for number in range(options.turns)]
    costs = {way: summarize_costs(turns, way) for way in WAYS[1:]}
    print(format_costs(costs, turns, size))
    if options.json:
        report = {
            "command": "python benchmarks/checkpoints.py", "config": vars(options) | {"json": "", "folder": ""},
            "cores": os.cpu_count(), "environment": describe_start(), "checkpoint_bytes": size, "costs": costs,
            "turns": [{way: asdict(stretch) for way, stretch in turn.items()} for turn in turns],
        }  # fmt: skip
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def run_turn(loop: Loop, steps: int, number: int) -> dict[str, Stretch]:
    """A stretch of each way; another one is the first each time."""
    first = number % len(WAYS)
    turn = {way: run_stretch(loop, steps, way) for way in WAYS[first:] + WAYS[:first]}
    print(
        f"turn {number + 1}: {', '.join(f'{way} {stretch.wall:.2f} s' for way, stretch in sorted(turn.items()))}",
        flush=True,
    )
    return turn


def run_stretch(loop: Loop, steps: int, way: str) -> Stretch:
    """A checkpoint, if the way has one, and so many steps."""
    write_times: list[tuple[float, float]] = []
    save = checkpoint.save_checkpoint

    def save_and_time(*given: Any) -> None:
        began = time.perf_counter(), time.thread_time()
        save(*given)
        write_times.append((time.perf_counter() - began[0], time.thread_time() - began[1]))

    with mock.patch.object(checkpoint, "save_checkpoint", save_and_time):
        began, cpu = time.perf_counter(), time.process_time()
        if way != "none":
            loop.save()
        if way == "waiting":
            loop.writer.wait()
        stopped = time.perf_counter() - began
        for _ in range(steps):
            loop.step()
        stretch = Stretch(time.perf_counter() - began, time.process_time() - cpu)
        if way != "none":
            if loop.writer.writing and not loop.writer.writing.done():
                raise SystemExit("a checkpoint is still being written when its stretch ends: more --steps")
            loop.writer.wait()
            (stretch.write, stretch.write_cpu), stretch.stopped = write_times[0], stopped
    return stretch


def summarize_costs(turns: Sequence[dict[str, Stretch]], way: str) -> dict[str, float]:
    """Medians over the turns: what a checkpoint of a way costs in seconds, and as a share of a minute.

    ``cpu_share``: of a minute of the cores that torch computes on.
    """
    pairs = [(turn[way], turn["none"]) for turn in turns]
    walls = sorted(one.wall - none.wall for one, none in pairs)
    cpus = [one.cpu - none.cpu for one, none in pairs]
    a_minute = MINUTE * torch.get_num_threads()
    return {
        "wall": statistics.median(walls), "wall_least": walls[0], "wall_most": walls[-1],
        "wall_share": statistics.median(walls) / MINUTE,
        "cpu": statistics.median(cpus), "cpu_share": statistics.median(cpus) / a_minute,
        "stopped": statistics.median(one.stopped for one, _ in pairs),
        "write": statistics.median(one.write for one, _ in pairs),
        "write_cpu": statistics.median(one.write_cpu for one, _ in pairs),
    }  # fmt: skip


def format_costs(costs: dict[str, dict[str, float]], turns: Sequence[dict[str, Stretch]], size: int) -> str:
    """A table of the medians."""
    rows = [
        [
            way, f"{cost['wall']:.3f}", f"{cost['wall_least']:.3f} to {cost['wall_most']:.3f}",
            f"{100 * cost['wall_share']:.2f} %", f"{cost['cpu']:.3f}", f"{100 * cost['cpu_share']:.2f} %",
            f"{cost['stopped']:.3f}", f"{cost['write']:.3f}", f"{cost['write_cpu']:.3f}",
        ]
        for way, cost in costs.items()
    ]  # fmt: skip
    header = (
        f"a checkpoint of {size / 1e6:.0f} MB", "costs, s", "least to most", "of a minute", "CPU s",
        "of the cores", "loop stands, s", "write, s", "its CPU s",
    )  # fmt: skip
    return f"{format_table(header, rows)}\nmedians of {len(turns)} turns"


if __name__ == "__main__":
    main()
