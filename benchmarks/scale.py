"""What a step of several processes costs beside one: whole steps and their parts, over gloo on this machine's CPU; and
the tables of docs/scale.md, which are arithmetic.

    electra demo --out runs/demo          # or any prepared data
    python benchmarks/scale.py --data runs/demo/data --json results/scale.json
    python benchmarks/scale.py --data runs/demo/data --against OTHER/CHECKOUT      # its steps, in turns with ours
    python benchmarks/scale.py --tables   # the arithmetic alone

Each process has one thread. With more processes than cores a figure says what communication costs and nothing of speed.
Uncompiled, float32. Takes under five minutes on two cores.
"""

import argparse
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scale_tables import format_tables

from electra.engine.telemetry import describe_start
from electra.report.tables import format_table

HERE = Path(__file__).resolve()
PRESETS = {"tiny": 8, "modern-tiny": 8}  # rows of a step, of 128 tokens: AdamW and the paper's rows; Muon, packed
LENGTH = 128


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the figures and the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="", help="folder that `electra prepare` wrote")
    parser.add_argument("--processes", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--steps", type=int, default=4, help="steps of a turn")
    parser.add_argument("--turns", type=int, default=3, help="turns of each number of processes, of each checkout")
    parser.add_argument("--against", default="", help="another checkout, whose steps are measured in turns with ours")
    parser.add_argument("--json", default="", help="write the figures to this file")
    parser.add_argument("--tables", action="store_true", help="print the arithmetic and measure nothing")
    options = parser.parse_args(arguments)
    figures: list[dict[str, Any]] = []
    for preset, world in () if options.tables else itertools.product(PRESETS, options.processes):
        figures.append(measure(options, preset, world))
        if options.json:
            write_report(options, figures, arguments or sys.argv[1:])
    if figures:
        print(format_figures(figures), end="\n\n")
    print(format_tables())


def write_report(options: argparse.Namespace, figures: Sequence[dict[str, Any]], arguments: Sequence[str]) -> None:
    """Write what has been measured so far."""
    about = (
        f"steps of {LENGTH} tokens a row, uncompiled, float32, one thread a process, {os.cpu_count()} cores: "
        f"medians of {options.turns} turns of {options.steps} steps; parts: milliseconds, the best of a few"
    )
    command = f"python benchmarks/scale.py {' '.join(arguments)}"
    report = {"about": about, "command": command, "environment": describe_start(), "figures": figures}
    Path(options.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def measure(options: argparse.Namespace, preset: str, world: int) -> dict[str, Any]:
    """Steps of ours, and of the other checkout if there is one, in turns; then the parts of ours."""
    ours = Together(HERE.parents[1], options, preset, world)
    teams = [ours] + ([Together(Path(options.against), options, preset, world)] if options.against else [])
    if len({team.parameters for team in teams}) > 1:
        raise SystemExit(f"the other checkout's {preset} has another number of parameters: not the same step")
    laps: list[list[float]] = [[] for _ in teams]
    for _ in range(options.turns):
        for team, seconds in zip(teams, laps, strict=True):
            seconds += team.ask("steps")
    parts = ours.ask("parts")
    for team in teams:
        team.end()
    figures: dict[str, Any] = {
        "preset": preset, "processes": world, "rows": PRESETS[preset], "length": LENGTH, "parameters": ours.parameters
    }  # fmt: skip
    for name, seconds in zip(("step_seconds", "against_seconds"), laps, strict=False):
        figures |= {name: statistics.median(seconds), f"fastest_{name}": min(seconds)}
    return figures | {"parts": parts}


class Together:
    """Processes of a checkout that share steps, and wait for what to measure."""

    def __init__(self, checkout: Path, options: argparse.Namespace, preset: str, world: int):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        places = os.pathsep.join(str(folder) for folder in (checkout / "src", HERE.parent))
        shared = {"PYTHONPATH": places, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        self.processes = [
            subprocess.Popen(
                [sys.executable, str(HERE.with_name("scale_worker.py")), options.data, preset, str(PRESETS[preset]),
                 str(LENGTH), str(options.steps)],
                env=os.environ | shared | {"WORLD_SIZE": str(world), "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for rank in range(world)
        ]  # fmt: skip
        self.parameters = self.ask("ready")

    def ask(self, what: str) -> Any:
        """Have all of them measure something; what the first says, once all are done."""
        for process in self.processes:
            assert process.stdin
            process.stdin.write(what + "\n")
            process.stdin.flush()
        answers = [process.stdout.readline() if process.stdout else "" for process in self.processes]
        if not all(answers):
            raise SystemExit("a process has ended; its error is above")
        return json.loads(answers[0])

    def end(self) -> None:
        """Have them end, and wait until they have."""
        for process in self.processes:
            process.communicate()


def format_figures(figures: Sequence[dict[str, Any]]) -> str:
    """Tables of the steps and of their parts."""
    alone = {row["preset"]: row["step_seconds"] for row in figures if row["processes"] == 1}
    steps = []
    for row in figures:
        seconds, times = row["step_seconds"], alone.get(row["preset"])
        speed = f"{times / seconds:.2f}" if times else ""
        against, fastest = (
            f"{row[f'{which}step_seconds'] / row[f'{which}against_seconds']:.3f}" if "against_seconds" in row else ""
            for which in ("", "fastest_")
        )
        steps.append([f"{row['preset']}, {row['processes']}", f"{seconds:.3f}", speed, against, fastest])
    names = list(dict.fromkeys(name for row in figures for name in row["parts"]))
    parts = [
        [name, *(f"{row['parts'][name]:.2f}" if name in row["parts"] else "" for row in figures)] for name in names
    ]
    header = ("part, ms", *(f"{row['preset']}, {row['processes']}" for row in figures))
    tables = [
        format_table(
            ("preset, processes", "s a step", "times one", "of the other checkout", "the fastest steps"), steps
        )
    ]
    return "\n\n".join([*tables, format_table(header, parts)])


if __name__ == "__main__":
    main()
