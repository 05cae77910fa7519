"""How much memory `electra prepare` takes on a corpus of any size: text repeated to so many gigabytes.

    python benchmarks/prepare_large.py --text corpus/*.txt --tokenizer tok/ --gigabytes 5 --workers 2

Memory is the proportional set size of the process and its workers together, read from /proc twice a second (pages that
several map are counted once). Rates are of the whole command.
"""

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

FILE = 1 << 30  # bytes of a file of the corpus, about


def main(arguments: Sequence[str] | None = None) -> None:
    """Prepare a corpus of every size, and print the memory and the rate of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", nargs="+", required=True, help="plain .txt files")
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[5.0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--more", nargs=argparse.REMAINDER, default=[], help="further flags of `electra prepare`")
    parser.add_argument("--json", default="")
    options = parser.parse_args(arguments)
    runs = []
    for size in options.gigabytes:
        with tempfile.TemporaryDirectory() as folder:
            total = repeat_text([Path(path) for path in options.text], Path(folder, "text"), size * 1e9)
            runs.append(measure_prepare(Path(folder), total, options))
            print(json.dumps(runs[-1]), flush=True)
    if options.json:
        flags = f"--gigabytes {' '.join(map(str, options.gigabytes))} --workers {options.workers}"
        report = {"command": f"python benchmarks/prepare_large.py {flags}", "machine": platform.machine(), "runs": runs}
        Path(options.json).write_text(json.dumps(report, indent=1))


def repeat_text(files: Sequence[Path], folder: Path, wanted: float) -> int:
    """Write the files' text again and again into ``folder``, a blank line between: how many bytes."""
    folder.mkdir()
    total, number = 0, 0
    while total < wanted:
        with (folder / f"{number:03d}.txt").open("wb") as out:
            while out.tell() < FILE and total + out.tell() < wanted:
                for path in files:
                    with path.open("rb") as file:
                        shutil.copyfileobj(file, out, 1 << 20)
                    out.write(b"\n\n")
            total += out.tell()
        number += 1
    return total


def measure_prepare(folder: Path, size: int, options: argparse.Namespace) -> dict[str, float]:
    """The figures of one run of `electra prepare` on ``folder``/text, of ``size`` bytes."""
    where = ["--data", str(folder / "text"), "--out", str(folder / "data"), "--tokenizer", options.tokenizer]
    command = [sys.executable, "-m", "electra", "prepare", *where, "--workers", str(options.workers), *options.more]
    began, peak = time.monotonic(), 0
    process = subprocess.Popen(command)
    while process.poll() is None:
        peak = max(peak, sum(map(proportional_set_size, list_processes(process.pid))))
        time.sleep(0.5)
    if process.returncode:
        sys.exit(process.returncode)
    seconds = time.monotonic() - began
    return {"bytes": size, "peak_memory": peak, "seconds": seconds, "megabytes_per_second": size / 1e6 / seconds}


def list_processes(pid: int) -> Iterator[int]:
    """The ids of a process and of those that it started."""
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return
    for child in children:
        yield from list_processes(int(child))


def proportional_set_size(pid: int) -> int:
    """Bytes of memory of a process, pages shared by n processes counted as 1/n; 0 for one that has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


if __name__ == "__main__":
    main()
