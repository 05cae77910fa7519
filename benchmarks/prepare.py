"""Text to tokens on disk: `electra prepare` beside `datasets.map`, with the same tokenizer on the same cores.

    python benchmarks/prepare.py --text corpus/*.txt --tokenizer tok/ --cores 2 --turns 3

The text is written as one .jsonl file, a document a line. Both sides start from that file and end with tokens on disk;
of `datasets` only the map is timed (in both ways of using the cores: processes, and the tokenizer's threads), of
`electra prepare` everything, from the start of the process to the manifest. The sides take turns, and the tokens of
every document are compared.
"""

import argparse
import hashlib
import itertools
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from electra.corpus.documents import Skipped, TextFormat
from electra.corpus.readers import read_documents
from electra.corpus.sources import find_sources
from electra.dataset.shards import Shards

MAP = """
import sys, time
import datasets, transformers
path, tokenizer, processes, out = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
fast = transformers.AutoTokenizer.from_pretrained(tokenizer, trust_remote_code=False)
data = datasets.load_dataset("json", data_files=path, split="train", cache_dir=out)
def encode(batch):
    return {"input_ids": fast(batch["text"], add_special_tokens=False, return_attention_mask=False,
                              return_token_type_ids=False, verbose=False)["input_ids"]}
began = time.monotonic()
done = data.map(encode, batched=True, num_proc=processes or None, remove_columns=data.column_names)
seconds = time.monotonic() - began
done.save_to_disk(out + "/saved")
print(seconds)
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Prepare the same file on every side in turns, compare the tokens, and print MB a second."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", nargs="+", default=["builtin"], help="what `electra prepare --data` takes")
    parser.add_argument("--tokenizer", required=True, help="a tokenizer folder")
    parser.add_argument("--cores", type=int, default=os.cpu_count())
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json", default="", help="write the figures to this file")
    options = parser.parse_args(arguments)
    os.sched_setaffinity(0, range(options.cores))
    with tempfile.TemporaryDirectory() as folder:
        path, size = write_one_file(options.text, Path(folder))
        sides: dict[str, list[float]] = {"electra": [], "map, processes": [], "map, threads": []}
        for turn in range(options.turns):
            for name, seconds in sides.items():
                out = Path(folder, f"{name}-{turn}".replace(", ", "-"))
                seconds.append(
                    time_prepare(path, options, out) if name == "electra" else time_map(path, options, out, name)
                )
                print(f"turn {turn + 1}: {name}: {size / seconds[-1]:.1f} MB/s", flush=True)
                if turn == options.turns - 1:
                    digests = hash_shards(out) if name == "electra" else hash_arrow(out)
                    print(f"  {len(digests):,} documents")
                    if name == "electra":
                        wanted = digests
                    elif digests != wanted:
                        sys.exit("the tokens differ")
                shutil.rmtree(out)
    rates = {name: statistics.median(size / turn for turn in seconds) for name, seconds in sides.items()}
    best = max(rate for name, rate in rates.items() if name != "electra")
    report = {
        "command": f"python benchmarks/prepare.py --cores {options.cores} --turns {options.turns}",
        "megabytes": size,
        "cores": options.cores,
        "machine": platform.processor() or platform.machine(),
        "seconds": sides,
        "megabytes_per_second": rates,
        "ratio": rates["electra"] / best,
        "tokens": "identical for every document",
    }
    print(f"median MB/s: {', '.join(f'{name} {rate:.1f}' for name, rate in rates.items())}")
    print(f"electra prepare / the better map: {report['ratio']:.2f}; tokens identical")
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1))


def write_one_file(patterns: Sequence[str], folder: Path) -> tuple[Path, float]:
    """Write all documents as one .jsonl: its path, and its size in MB."""
    path = folder / "text.jsonl"
    text_format = TextFormat()
    with path.open("w") as file:
        for source in find_sources(patterns):
            for span in source.spans:
                for document in read_documents(span, text_format, Skipped()):
                    file.write(json.dumps({"text": document.text}, ensure_ascii=False) + "\n")
    return path, path.stat().st_size / 1e6


def time_prepare(path: Path, options: argparse.Namespace, out: Path) -> float:
    """Seconds of a whole `electra prepare`."""
    command = [sys.executable, "-m", "electra", "prepare", "--data", str(path), "--tokenizer", options.tokenizer,
               "--out", str(out), "--workers", str(options.cores)]  # fmt: skip
    began = time.monotonic()
    run_command(command)
    return time.monotonic() - began


def time_map(path: Path, options: argparse.Namespace, out: Path, name: str) -> float:
    """Seconds of the map of ``datasets`` alone."""
    processes = options.cores if name.endswith("processes") else 0
    environment = {"TOKENIZERS_PARALLELISM": "false" if processes else "true"}
    command = [sys.executable, "-c", MAP, str(path), options.tokenizer, str(processes), str(out)]
    return float(run_command(command, environment).split()[-1])


def run_command(command: Sequence[str], environment: Mapping[str, str] = {}) -> str:
    """What a command prints; where it fails, its errors end this program. ``environment``: what is set besides ours."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, **environment})
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def hash_shards(out: Path) -> list[bytes]:
    """A hash of each document's tokens, sorted."""
    found = []
    for split in ("train", "held-out"):
        for shard in Shards.open(out, split).files:
            edges = shard.units[shard.documents].tolist()
            found += [shard.tokens[a:b].astype("<u4").tobytes() for a, b in itertools.pairwise(edges)]
    return sorted(hashlib.blake2b(each, digest_size=8).digest() for each in found)


def hash_arrow(out: Path) -> list[bytes]:
    """A hash of each document's tokens in what `datasets` saved, sorted; documents without tokens are left out."""
    import datasets
    import numpy as np

    rows = datasets.load_from_disk(str(out / "saved")).with_format("numpy")
    found = (np.asarray(row["input_ids"], dtype="<u4") for row in rows)
    return sorted(hashlib.blake2b(each.tobytes(), digest_size=8).digest() for each in found if len(each))


if __name__ == "__main__":
    main()
