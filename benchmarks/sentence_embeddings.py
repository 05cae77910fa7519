"""Sentence embeddings before and after tuning: STS-B's correlation of an exported encoder.

    electra export runs/s1 --format sentence-transformers --out hub/
    python benchmarks/sentence_embeddings.py hub/ --glue glue/ --out tuned/ --json embeddings.json

It needs the extra ``serve`` and sentence-transformers[train]. The figures are Spearman's correlations on STS-B's dev
split, on which nothing is chosen: GLUE publishes no labels of its test split. A part of the train split is held out to
choose learning rates by. The encoder is tuned by examples/embeddings.py on pairs of the rest with a score of 4 or more,
on sentences of the rest, each with itself, or on all pairs of the rest with their scores (``--ways``). Sentences that
stand in dev or are held out are left out.
"""

import argparse
import importlib.util
import json
import platform
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sentence_transformers
import torch
import transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import pairwise_cos_sim

from electra.corpus.hashing import hash_text
from electra.files import write_whole
from electra.tasks.datasets.glue import load_glue
from electra.tasks.datasets.samples import Sample, Task
from electra.tasks.frozen.depth import measure_depths
from electra.tasks.frozen.probes import sample_key
from electra.tasks.metrics import spearman

ROOT = Path(__file__).parents[1]
ALIKE = 4.0  # of STS-B's scores from 0 to 5: mostly the same meaning
BATCH = 64

Pairs = list[tuple[str, str]]
Scored = list[tuple[str, str, float]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Judge before, choose a learning rate for each way of tuning, tune with each seed, judge after."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="what `electra export --format sentence-transformers` wrote")
    parser.add_argument("--glue", required=True, help="the folder with STS-B/")
    parser.add_argument("--out", required=True, help="folder for the tuned models")
    parser.add_argument("--json", required=True, help="the file to write")
    parser.add_argument("--reference", nargs="*", default=[], help="other folders, which are judged only")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--most", type=int, default=512, help="pairs, and sentences, to tune on; 0: all")
    parser.add_argument("--choose-by", type=int, default=400, help="pairs to choose learning rate and layer by")
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--ways", nargs="+", default=["pairs", "sentences"], choices=["pairs", "sentences", "scored"])
    parser.add_argument("--learning-rates", type=float, nargs="+", default=[1e-4, 5e-4], help="to choose from")
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--name", default="", help="what the encoder is, for the record")
    options = parser.parse_args(arguments)
    task, _ = load_glue("sts-b", Path(options.glue) / "STS-B")
    dev, train = list(task.splits["dev"]), sorted(task.splits["train"], key=lambda pair: hash_text(sample_key(pair)))
    choosing, rest = train[: options.choose_by], train[options.choose_by :]
    judging = set(list_texts((*choosing, *dev)))
    pickers: dict[str, Callable[[Sequence[Sample], set[str]], Pairs | Scored]] = {
        "pairs": pick_pairs,
        "sentences": pick_sentences,
        "scored": pick_scored,
    }
    data = {way: pickers[way](rest, judging)[: options.most or None] for way in options.ways}
    report = describe_run(options)
    after: dict[str, dict[str, Any]] = {}
    for figures in judge_before(options, choosing, dev):
        write_report(options.json, report | figures)
    report |= figures | {"after": after}
    for name, pairs in data.items():
        for figures in tune_and_judge(options, f"{options.out}/{name}", pairs, choosing, dev):
            after[name] = figures
            write_report(options.json, report)
    report["random weights"] = [judge(load_random(options.folder, seed), dev) for seed in options.seeds]
    write_report(options.json, report)
    print(json.dumps(report, indent=1))


def describe_run(options: argparse.Namespace) -> dict[str, Any]:
    """What the figures are of, and what they were made with."""
    git = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    cpu = f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}, {platform.machine()}"
    return {
        "about": "Spearman's correlation of cosines with scores, STS-B dev: 1,500 pairs; test labels are not public",
        "encoder": options.name,
        "command": "python benchmarks/sentence_embeddings.py hub/ --glue glue/ --out tuned/ --json FILE",
        "commit": git.stdout.strip(),
        "machine": f"{cpu}, shared with other work",
        "versions": {module.__name__: module.__version__ for module in (torch, transformers, sentence_transformers)},
        "settings": {
            "epochs": options.epochs,
            "batch": BATCH,
            "dropout": options.dropout,
            "learning_rates": options.learning_rates,
            "seeds": options.seeds,
            "choosing": f"{options.choose_by} pairs of train, which are not trained on",
        },
    }


def judge_before(
    options: argparse.Namespace, choosing: Sequence[Sample], dev: Sequence[Sample]
) -> Iterator[dict[str, Any]]:
    """The figures without tuning, more of them at a time: of the exported encoder, of words in common, of each number
    of the encoder's layers, and of other models."""
    common = spearman(scores_of(dev), np.array([share_words(sample) for sample in dev]))
    figures: dict[str, Any] = {"before": judge(load(options.folder), dev), "words in common": common}
    yield figures
    task = Task("pairs", "score", (), ("spearman",), {"dev": choosing})
    figures["layers kept, choosing"] = measure_depths(Path(options.folder), task, "mean", torch.device("cpu"))
    yield figures
    figures["references"] = {Path(folder).name: judge(load(folder), dev) for folder in options.reference}
    yield figures


def tune_and_judge(
    options: argparse.Namespace, out: str, pairs: Pairs | Scored, choosing: Sequence[Sample], dev: Sequence[Sample]
) -> Iterator[dict[str, Any]]:
    """The figures of one way of tuning, after each run: of every learning rate with the first seed, judged by
    ``choosing``; then of the best one with every seed, judged by ``dev``."""
    tune = load_example().tune
    figures: dict[str, Any] = {"pairs": len(pairs), "choosing": {}, "dev": [], "seconds": []}

    def run(rate: float, seed: int) -> SentenceTransformer:
        begun = time.perf_counter()
        model = tune(options.folder, pairs, out, options.epochs, BATCH, rate, options.dropout, seed)
        figures["seconds"].append(round(time.perf_counter() - begun, 1))
        return model

    tuned = {}
    for rate in options.learning_rates:
        tuned[rate] = run(rate, options.seeds[0])
        figures["choosing"][rate] = judge(tuned[rate], choosing)
        yield figures
    figures["learning_rate"] = rate = max(options.learning_rates, key=figures["choosing"].__getitem__)
    for seed in options.seeds:
        figures["dev"].append(judge(tuned[rate] if seed == options.seeds[0] else run(rate, seed), dev))
        figures["mean"], figures["deviation"] = float(np.mean(figures["dev"])), float(np.std(figures["dev"]))
        yield figures


def pick_pairs(rest: Sequence[Sample], judging: set[str]) -> Pairs:
    """Pairs of one meaning without sentences of ``judging``."""
    alike = [sample for sample, score in zip(rest, scores_of(rest), strict=True) if score >= ALIKE]
    pairs = dict.fromkeys((sample.text, sample.pair or "") for sample in alike)
    return [(one, other) for one, other in pairs if one != other and not {one, other} & judging]


def pick_sentences(rest: Sequence[Sample], judging: set[str]) -> Pairs:
    """Sentences, each with itself, without those of ``judging``."""
    return [(text, text) for text in dict.fromkeys(list_texts(rest)) if text not in judging]


def pick_scored(rest: Sequence[Sample], judging: set[str]) -> Scored:
    """Pairs with their scores, without sentences of ``judging``."""
    scored = [
        (sample.text, sample.pair or "", score) for sample, score in zip(rest, scores_of(rest).tolist(), strict=True)
    ]
    return [pair for pair in scored if not set(pair[:2]) & judging]


def list_texts(samples: Iterable[Sample]) -> Iterator[str]:
    """Both texts of each pair."""
    for sample in samples:
        yield from (sample.text, sample.pair or "")


def judge(model: SentenceTransformer, samples: Sequence[Sample]) -> float:
    """Spearman's correlation of the scores with the cosines."""
    first, second = ([getattr(sample, name) for sample in samples] for name in ("text", "pair"))
    vectors = [model.encode(texts, convert_to_tensor=True, show_progress_bar=False) for texts in (first, second)]
    return spearman(scores_of(samples), pairwise_cos_sim(*vectors).double().cpu().numpy())


def scores_of(samples: Sequence[Sample]) -> np.ndarray:
    """The samples' scores."""
    return np.array([sample.label for sample in samples], dtype=np.float64)


def share_words(sample: Sample) -> float:
    """The share of the different words of a pair that both texts have."""
    one, other = (set(text.lower().split()) for text in (sample.text, sample.pair or ""))
    return len(one & other) / max(1, len(one | other))


def load(folder: str) -> SentenceTransformer:
    """The model in a folder."""
    return SentenceTransformer(folder, local_files_only=True)


def load_random(folder: str, seed: int) -> SentenceTransformer:
    """A model of the same shape whose encoder has fresh weights."""
    model = load(folder)
    torch.manual_seed(seed)
    model[0].model = transformers.AutoModel.from_config(model[0].model.config, trust_remote_code=False).eval()
    return model


def load_example() -> Any:
    """examples/embeddings.py as a module."""
    spec = importlib.util.spec_from_file_location("embeddings", ROOT / "examples" / "embeddings.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_report(path: str, report: dict[str, Any]) -> None:
    """Write what is known so far."""
    with write_whole(Path(path)) as file:
        file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
