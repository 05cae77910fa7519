"""The fast path against the readable one: the same run compiled and not, and what the difference is worth.

    electra demo --out runs/demo          # or any prepared data
    python benchmarks/agreement.py --data runs/demo/data

Three runs of the same steps: uncompiled, compiled, and uncompiled with another seed. Rounding makes two runs drift
apart; what is asked is whether compiled and uncompiled stay nearer than two seeds do, and end at the same losses.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean

import torch

from electra import config as configs
from electra import recipes
from electra.engine.compiling import Compile
from electra.engine.telemetry import describe_environment, read_metrics
from electra.report.tables import format_table
from electra.workflows.pretrain import pretrain
from electra.workflows.pretraining.config import PretrainConfig

LOSSES = ("generator/loss", "discriminator/loss")
RUNS: dict[str, tuple[Compile, int]] = {  # name → compile, seed
    "uncompiled": ("never", 1), "compiled": ("auto", 1), "seed 2": ("never", 2)
}  # fmt: skip
EARLY = 40  # steps in which compiled and uncompiled should hardly have drifted


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the three runs, and print how far their losses are apart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder that `electra prepare` wrote")
    parser.add_argument("--preset", default="tiny", help="dropout on: tiny, small")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--json", default="", help="write the figures to this file")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        runs = {
            name: train_losses(options, Path(folder) / name.replace(" ", "-"), compile, seed)
            for name, (compile, seed) in RUNS.items()
        }
    reference = runs.pop("uncompiled")
    apart = {name: measure_differences(reference, losses) for name, losses in runs.items()}
    rows = [[loss, *(apart[name][loss][key] for name in apart for key in ("early", "all", "last"))] for loss in LOSSES]
    heads = [f"{name}, {key}" for name in apart for key in (f"steps 1–{EARLY}", "all steps", "last fifth")]
    print("mean of |difference| between a run and the uncompiled one, in nats; last fifth: of the means\n")
    print(format_table(("", *heads), rows))
    if options.json:
        about = f"{options.steps} steps of preset {options.preset}, {options.rows} rows × 128, losses every step"
        report = {"about": about, "torch": torch.__version__, "environment": describe_environment(), "apart": apart}
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")


def train_losses(options: argparse.Namespace, out: Path, compile: Compile, seed: int) -> dict[str, list[float]]:
    """The losses of a run into ``out``, step by step."""
    recipe = configs.load_config(PretrainConfig(), recipes.find_preset(options.preset))
    phase = replace(recipe.phases[0], steps=options.steps, rows=options.rows, length=128)
    engine = replace(recipe.engine, compile=compile, log_every=1, evaluate_every=0, save_every=0, precision="float32")
    schedule = replace(recipe.schedule, warmup=options.steps // 10)
    pretrain(
        replace(
            recipe, data=options.data, out=str(out), phases=(phase,), engine=engine, schedule=schedule, seed=seed,
            held_out_rows=16,
        )
    )  # fmt: skip
    lines = [line for line in read_metrics(out / "metrics.jsonl") if line["split"] == "train"]
    return {name: [line[name] for line in lines] for name in LOSSES}


def measure_differences(one: dict[str, list[float]], other: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """By loss: mean |difference| over the first steps and over all, and |difference| of the means of the last fifth."""
    differences = {}
    for name in LOSSES:
        apart = [abs(a - b) for a, b in zip(one[name], other[name], strict=True)]
        last = max(1, len(apart) // 5)
        differences[name] = {
            "early": mean(apart[:EARLY]), "all": mean(apart),
            "last": abs(mean(one[name][-last:]) - mean(other[name][-last:])),
        }  # fmt: skip
    return differences


if __name__ == "__main__":
    main()
