"""Whether a run on 10¹² tokens begins in seconds and in bounded memory: prepared data of that size, by sparse files.

    python benchmarks/sparse.py --json results/sparse.json

One shard of 268 million tokens is written: its tokens are a hole in the file, its offsets are real ones (a unit for
every 25 tokens, a document for every 500). The other thousands are hard links to it, so the folder takes 100 MB. Then a
process opens it as a run does, takes rows in its middle, as a resumed run does, and makes a batch of them.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from electra.dataset.layout import Packed
from electra.dataset.rows import Place, Rows
from electra.dataset.shards import (
    DATA_FORMAT,
    HEADER_BYTES,
    MANIFEST,
    SHARD_TOKENS,
    ShardHeader,
    Shards,
    compute_checksum,
)
from electra.engine.telemetry import describe_start
from electra.workflows.bench.machine import peak_memory, reset_peak_memory

UNIT, DOCUMENT = 25, 500  # tokens
LENGTH, ROWS = 512, 2048  # of a step, as Large's
SPECIAL = {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the data, measure, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=float, default=1e12)
    parser.add_argument("--folder", default="", help="where to make the data; else a temporary folder")
    parser.add_argument("--json", default="", help="write the figures to this file")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.folder or None) as folder:
        write_sparse_data(Path(folder), options.tokens)
        figures = measure(Path(folder))
    for name, value in figures.items():
        print(f"{name:<52} {value:,.3f}" if isinstance(value, float) else f"{name:<52} {value:,}")
    if options.json:
        command = "python benchmarks/sparse.py " + " ".join(arguments or sys.argv[1:])
        report = {"command": command, "environment": describe_start(), "figures": figures}
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def write_sparse_data(folder: Path, tokens: float, shard_tokens: int = SHARD_TOKENS) -> None:
    """Write prepared data of about so many tokens into a folder, without a tokenizer."""
    header = ShardHeader("sparse", "uint16", shard_tokens, shard_tokens // UNIT, shard_tokens // DOCUMENT)
    path = folder / "train-00000-000.shard"
    with path.open("wb") as file:
        file.seek(header.index)
        for step, count, end in (
            (UNIT, header.units, header.tokens),
            (DOCUMENT // UNIT, header.documents, header.units),
        ):
            starts = step * np.arange(count + 1, dtype="<u8")
            starts[-1] = end
            file.write(starts.data)
    header = replace(header, checksum=compute_checksum(path))
    with path.open("r+b") as file:
        file.write(json.dumps(asdict(header)).ljust(HEADER_BYTES).encode())
    names = [path.name]
    for number in range(1, round(tokens / shard_tokens)):
        names.append(f"train-{number:05d}-000.shard")
        os.link(path, folder / names[-1])
    shards = [{"file": name, "source": "sparse"} | asdict(header) for name in names]
    manifest = {
        "format": DATA_FORMAT, "tokenizer": "sparse", "vocab_size": 30_522, "special": SPECIAL, "sources": {},
        "weights": {}, "splits": {"train": {"shards": shards}, "held-out": {"shards": []}}, "skipped": {},
    }  # fmt: skip
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def measure(folder: Path) -> dict[str, float | int]:
    """Seconds and bytes of what a process does before its first step, and for its next ones."""
    figures: dict[str, float | int] = {}

    def timed(name: str, call: Callable[[], object]) -> None:
        reset_peak_memory()
        before, began = peak_memory(), time.perf_counter()
        call()
        figures[f"{name}, seconds"] = time.perf_counter() - began
        figures[f"{name}, peak bytes more"] = peak_memory() - before
        figures[f"{name}, bytes held"] = read_own_memory()

    opened: list[Shards] = []
    timed("opened", lambda: opened.append(Shards.open(folder, "train")))
    (shards,) = opened
    figures |= {"tokens": shards.tokens, "shards": len(shards.files), "bytes on disk": count_bytes(folder)}
    timed("fingerprint", lambda: shards.fingerprint)
    rows = Rows(shards, Packed(), LENGTH, seed=1)
    timed("blocks put in order", lambda: rows.block_order(0))
    figures["order kept, bytes"] = rows.block_order(0).nbytes
    middle = Place(0, rows.count_groups(0) // 2, 100)
    batches: list[tuple] = []
    timed("a step's rows in the middle", lambda: batches.append(rows.take(middle, ROWS)))
    refs, place = batches.pop()
    timed("a batch of 256 of them", lambda: rows.batch(refs[:256]))

    def go_on(place: Place, steps: int) -> None:
        for _ in range(steps):
            refs, place = rows.take(place, ROWS)
            rows.batch(refs[:256])

    timed("20 more steps", lambda: go_on(place, 20))
    shards.verify_later()
    timed("a shard compared with its checksum", lambda: shards.read_file(0))
    return figures


def read_own_memory() -> int:
    """Bytes that this process holds, without pages of mapped files: those are the system's cache, which it takes back
    when it needs the room."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("RssAnon")).split()[1])


def count_bytes(folder: Path) -> int:
    """Bytes that the files of a folder take on the disk; what has several names counts once."""
    return 512 * sum({entry.inode(): entry.stat().st_blocks for entry in os.scandir(folder)}.values())


if __name__ == "__main__":
    main()
