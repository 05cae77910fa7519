"""How fast rows are laid out and batches made, in one process and in several, with nothing else to do.

    electra demo --out runs/demo          # or any prepared data
    python benchmarks/data_path.py --data runs/demo/data

Tokens are positions of a batch, padding included. A run takes batches for a few seconds in every process at once, each
on a thread of its own and in an order of its own; its figure is the sum over the processes.
"""

import argparse
import itertools
import json
import multiprocessing
import statistics
import time
from collections.abc import Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path

import torch

from electra.dataset.layout import Layout, Packed, Paper
from electra.dataset.rows import Place, Rows
from electra.dataset.shards import Shards
from electra.engine.parallel import keep_memory
from electra.engine.telemetry import describe_environment
from electra.report.tables import format_table

WARM_UP = 4  # batches that are not counted
LAYOUTS: tuple[Layout, ...] = (Paper(), Packed())
barrier: Barrier  # set in the processes of a pool alone, which wait at it


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every layout, row length and number of processes, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder that `electra prepare` wrote")
    parser.add_argument("--lengths", nargs="+", type=int, default=[128, 512], help="tokens a row")
    parser.add_argument("--processes", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--tokens", type=int, default=32_768, help="tokens a batch")
    parser.add_argument("--runs", type=int, default=5, help="runs of which the median is given")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long a run lasts")
    parser.add_argument("--json", default="", help="write the figures to this file")
    options = parser.parse_args(arguments)
    figures = []
    for layout, length, processes in itertools.product(LAYOUTS, options.lengths, options.processes):
        runs = [measure_together(options, layout, length, processes) for _ in range(options.runs)]
        figures.append(
            {
                "layout": layout.kind, "length": length, "processes": processes,
                "tokens_per_second": statistics.median(runs), "slowest": min(runs), "fastest": max(runs),
            }
        )  # fmt: skip
    numbers = ("tokens_per_second", "slowest", "fastest")
    rows = [
        [f"{row['layout']}, {row['length']}", row["processes"], *(round(row[key]) for key in numbers)]
        for row in figures
    ]
    print(format_table(("layout, length", "processes", "tokens/s", "slowest", "fastest"), rows))
    if options.json:
        about = (
            f"medians of {options.runs} runs of {options.seconds:g} s, batches of {options.tokens} tokens, "
            f"{Shards.open(Path(options.data), 'train').tokens} tokens of text"
        )
        report = {"about": about, "environment": describe_environment(), "figures": figures}
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")


def measure_together(options: argparse.Namespace, layout: Layout, length: int, processes: int) -> float:
    """Tokens a second of so many processes at once, which begin when all of them are ready."""
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Barrier(processes)
    with spawn.Pool(processes, initializer=keep_barrier, initargs=(ready,)) as pool:
        calls = [(options.data, layout, length, options.tokens, options.seconds, seed) for seed in range(processes)]
        return sum(pool.starmap(measure_alone, calls, chunksize=1))


def keep_barrier(ready: Barrier) -> None:
    """In a process of a pool: keep the barrier at which all of them wait."""
    global barrier
    barrier = ready


def measure_alone(data: str, layout: Layout, length: int, tokens: int, seconds: float, seed: int) -> float:
    """Tokens a second of one thread."""
    torch.set_num_threads(1)
    rows = Rows(Shards.open(Path(data), "train"), layout, length, seed)
    keep_memory()  # as training does
    place, _ = make_batches(rows, Place(), WARM_UP, tokens)
    barrier.wait()
    done, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        place, read = make_batches(rows, place, 1, tokens)
        done += read
    return done / passed


def make_batches(rows: Rows, place: Place, batches: int, tokens: int) -> tuple[Place, int]:
    """Make so many batches of about ``tokens`` tokens: the place after them, and how many tokens they had."""
    done = 0
    for _ in range(batches):
        refs, place = rows.take(place, max(1, tokens // rows.length))
        done += rows.batch(refs).ids.numel()
    return place, done


if __name__ == "__main__":
    main()
