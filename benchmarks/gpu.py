"""Everything that only a GPU can show, in one command, on a bare machine:

    python benchmarks/gpu.py --json gpu.json                       # goes on where it stopped
    python benchmarks/gpu.py --json gpu.json --data data/ --tasks glue/ --minutes-left 9

1. The kernels in Triton against float64.
2. Whole steps: kernels, compilation and CUDA graphs against the readable step; resumes; several processes.
3. Tokens a second of each preset, with the kernels that take longest; transformers' classes beside them.
4. With ``--data``, encoders trained by several objectives at equal operations; with ``--tasks``, how they do there.

Needs torch, transformers, tokenizers, safetensors, triton, numpy and jaxtyping; `electra` need not be installed. Each
item runs in a process of its own with a time limit. What it gave, or the end of its traceback, is written at once;
the same command skips what is there (``--again`` repeats what failed), so that the work can be cut into short calls.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from threading import Lock
from typing import Any

HERE = Path(__file__).resolve().parent
PLACES = [str(HERE.parent / "src"), str(HERE)]
sys.path[:0] = PLACES

import gpu_correctness  # noqa: E402
import gpu_speed  # noqa: E402
import gpu_training  # noqa: E402
from gpu_items import Item, Options  # noqa: E402

SIDE_BY_SIDE = 6  # items that are not timed share the GPU
SHORTEST = 20.0  # seconds: with less left, no item is started
TAIL = 1500  # characters of an output that failed


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the items that have no result yet."""
    options = parse_arguments(arguments)
    items = [item for item in list_all_items(options) if any(words in item.name for words in options.only)]
    if options.list:
        print("\n".join(item.name for item in items))
    else:
        run_all(items, options)


def list_all_items(options: Options) -> list[Item]:
    """What there is to show, in its order."""
    return [*gpu_correctness.list_items(options), *gpu_speed.list_items(options), *gpu_training.list_items(options)]


def parse_arguments(arguments: Sequence[str] | None) -> Options:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", required=True, help="file with the figures; what is in it is not run again")
    parser.add_argument("--data", default="", help="folder that `electra prepare` wrote, to train on")
    parser.add_argument("--tasks", default="", help="folder with CoLA/, MRPC/, STS-B/ and conll2000/")
    parser.add_argument("--out", default="gpu-runs", help="folder of those runs")
    parser.add_argument("--flops", type=float, default=1e16, help="floating-point operations of each run")
    parser.add_argument(
        "--minutes-left", type=float, default=0.0, help="start nothing that would end later; 0: no limit"
    )
    parser.add_argument("--steps", type=int, default=20, help="measured steps of each way")
    parser.add_argument("--only", nargs="*", default=[""], help="only items with one of these in their name")
    parser.add_argument("--again", action="store_true", help="repeat items that failed")
    parser.add_argument("--list", action="store_true", help="print the names of the items")
    return parser.parse_args(arguments, Options())


def run_all(items: Sequence[Item], options: Options) -> None:
    """Run each item in a process of its own; those that are not timed, several at a time."""
    os.environ["PYTHONPATH"] = os.pathsep.join([*PLACES, os.environ.get("PYTHONPATH", "")])  # for what is started
    ends = time.monotonic() + 60 * options.minutes_left if options.minutes_left else float("inf")
    report = Report(Path(options.json), options.again)
    wanted = [item for item in items if item.name not in report.results]

    def run(item: Item) -> None:
        left = ends - time.monotonic()
        if left < max(SHORTEST, item.expected):
            print(f"-- {item.name}: no time left", flush=True)
            return
        report.add(item.name, run_apart(item, options, min(item.limit, left)))

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        list(pool.map(run, [item for item in wanted if not item.timed and not item.judges]))
        for item in (each for each in wanted if each.timed):
            run(item)
        list(pool.map(run, [item for item in wanted if item.judges]))
    failed = [name for name, result in report.results.items() if "error" in result]
    print(f"\n{len(report.results) - len(failed)} items done, {len(failed)} failed: {', '.join(failed) or 'none'}")


def run_apart(item: Item, options: Options, seconds: float) -> dict[str, Any]:
    """An item's result from a process of its own; ``error`` and the end of its output where it gave none."""
    began = time.monotonic()
    # A server that has imported everything, and has not touched the GPU, forks: an import takes ten seconds.
    processes = get_context("forkserver")
    processes.set_forkserver_preload(["gpu_correctness", "gpu_speed", "gpu_training", "transformers", "torch._dynamo"])
    with tempfile.TemporaryDirectory() as folder:
        result, output = Path(folder, "result.json"), Path(folder, "output")
        process = processes.Process(target=run_here, args=(item.name, options, result, output))
        process.start()
        process.join(seconds)
        error = "" if result.exists() else f"exit code {process.exitcode}"
        if process.is_alive() and process.pid:
            error = f"not done after {seconds:.0f} s"
            os.killpg(process.pid, signal.SIGKILL)
            process.join()
        took = {"took_seconds": round(time.monotonic() - began, 1)}
        if error:
            return {"error": error, "output": output.read_text(errors="replace")[-TAIL:]} | took
        return json.loads(result.read_text(encoding="utf-8")) | took


def run_here(name: str, options: Options, result: Path, output: Path) -> None:
    """Run an item in this process, which has its own group, and write what it gives and what it prints."""
    os.setpgid(0, 0)
    with output.open("wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    try:
        figures = next(item for item in list_all_items(options) if item.name == name).run()
    except Exception:
        traceback.print_exc()
        sys.exit(1)
    partial = result.with_suffix(".partial")
    partial.write_text(json.dumps(figures), encoding="utf-8")
    partial.replace(result)


class Report:
    """The results by item, in a file that is whole after each."""

    def __init__(self, path: Path, again: bool):
        self.path, self.lock = path, Lock()
        self.results: dict[str, dict[str, Any]] = {}
        if path.exists():
            self.results = json.loads(path.read_text(encoding="utf-8"))
        if again:
            self.results = {name: result for name, result in self.results.items() if "error" not in result}

    def add(self, name: str, result: dict[str, Any]) -> None:
        """Keep a result, on disk too, and show it."""
        with self.lock:
            self.results[name] = result
            partial = self.path.with_name(self.path.name + ".partial")
            partial.write_text(json.dumps(self.results, indent=1) + "\n", encoding="utf-8")
            partial.replace(self.path)
            print(f"\n== {name} ({result['took_seconds']} s)", flush=True)
            for key, value in result.items():
                shown = f"{value:.6g}" if isinstance(value, float) else value
                if key not in ("took_seconds", "kernels"):
                    print(f"   {key}: {shown}", flush=True)


if __name__ == "__main__":
    main()
