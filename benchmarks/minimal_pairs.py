"""Minimal pairs: how fast BLiMP's 67,000 pairs are scored.

    python benchmarks/minimal_pairs.py --pairs blimp/ --tokenizer bert-base-uncased-vocab.txt --cores 2
    python benchmarks/minimal_pairs.py --pairs blimp/ --model runs/s1/final/discriminator --limit 10

Without ``--model``, ELECTRA-Small's two towers with random weights, whose scores mean nothing and take as long as any:
its discriminator (replaced-token score) and its generator (pseudo-log-likelihood). With ``--limit``, only the first so
many pairs of each paradigm are scored, and the time for all of them is extrapolated from these.
"""

import argparse
import json
import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from electra.engine.parallel import Parallel
from electra.model.config import ClassicConfig, generator_config
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower
from electra.report.tables import format_table
from electra.tasks.frozen.minimal_pairs import HEADER, evaluate_pairs, read_pairs, tabulate_pairs
from electra.tasks.frozen.sentence_scores import Scorer, choose_scorer, load_scorer
from electra.tokenization.loading import load_tokenizer

GENERATOR_WIDTH = 0.25  # ELECTRA, table 6: Small


def main(arguments: Sequence[str] | None = None) -> None:
    """Time every score, and print pairs a second."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", required=True, help="folder of .jsonl files, or one such file")
    parser.add_argument("--model", default="", help="a model folder; ELECTRA-Small with random weights if none")
    parser.add_argument("--tokenizer", default="", help="a vocab.txt or a tokenizer folder, for random weights")
    parser.add_argument("--within-word", action="store_true", help="mask the later pieces of a word with each piece")
    parser.add_argument("--cores", type=int, default=os.cpu_count())
    parser.add_argument("--limit", type=int, default=0, help="pairs of each paradigm; 0: all")
    parser.add_argument("--json", default="", help="write the figures to this file")
    options = parser.parse_args(arguments)
    if not options.model and not options.tokenizer:
        parser.error("random weights need a --tokenizer")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    torch.set_num_threads(options.cores)
    pairs, notes = read_pairs(Path(options.pairs))
    print("\n".join([f"{len(pairs):,} pairs", *notes]))
    report = {
        "about": f"{len(pairs)} pairs in {options.model or 'ELECTRA-Small, random weights'}, float32",
        "machine": f"{options.cores} cores, {torch.backends.cpu.get_cpu_capability()}, {platform.machine()}",
        "torch": torch.__version__,
        "limit": options.limit,
        "results": {name: time_scorer(name, scorer, options, len(pairs)) for name, scorer in load_scorers(options)},
    }
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")


def load_scorers(options: argparse.Namespace) -> Iterator[tuple[str, Scorer]]:
    """The name of each model, and its scorer."""
    if options.model:
        yield options.model, load_scorer(Path(options.model), Parallel.local_device(), options.within_word)
        return
    torch.manual_seed(0)
    tokenizer, small = load_tokenizer(Path(options.tokenizer)), ClassicConfig()
    yield "discriminator", choose_scorer(Tower.detection(small, build_embeddings(small)), tokenizer)
    narrow = generator_config(small, GENERATOR_WIDTH, 1.0)
    yield "generator", choose_scorer(Tower.token(narrow, build_embeddings(narrow)), tokenizer, options.within_word)


def time_scorer(name: str, scorer: Scorer, options: argparse.Namespace, total: int) -> dict[str, object]:
    """The figures of one score, which are printed."""
    result = evaluate_pairs(Path(options.pairs), scorer, options.limit)
    rate = result["pairs"] / result["seconds"]
    whole = result["seconds"] * total / result["pairs"]
    measured = "measured" if result["pairs"] == total else f"extrapolated from {result['pairs']:,}"
    if options.model:
        print(format_table(HEADER, tabulate_pairs(result)))
    print(f"{name}, {scorer.name}: {rate:.1f} pairs/s; all {total:,} in {whole:,.0f} s ({measured})")
    print(f"  {result['tokens']:,} tokens scored, {result['rows']:,} rows read", flush=True)
    return {
        "score": scorer.name,
        "pairs": result["pairs"],
        "tokens": result["tokens"],
        "rows": result["rows"],
        "seconds": result["seconds"],
        "pairs_per_second": rate,
        "seconds_for_all": whole,
        "seconds_for_all_is": measured,
    }


if __name__ == "__main__":
    main()
