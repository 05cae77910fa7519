"""Sentence embeddings before and after tuning: STS-B's correlation of an exported encoder.

    electra export runs/s1 --format sentence-transformers --out hub/
    python benchmarks/sentence_embeddings.py hub/encoder --glue glue/ --out tuned/ --json embeddings.json

It needs the extra ``serve`` and sentence-transformers[train]. The figures are Spearman's correlations on STS-B's dev
split, on which nothing is chosen: GLUE publishes no labels of its test split. A fifth of the train split is held out to
choose learning rates by. The encoder is tuned by examples/embeddings.py on pairs of the rest with a score of 4 or more
and paraphrases of MRPC's, or on sentences of both, each with itself. What stands in dev or is held out is left out.
"""

import argparse
import importlib.util
import json
import platform
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from sentence_transformers import SentenceTransformer, __version__
from sentence_transformers.util import pairwise_cos_sim

from electra.files import write_whole
from electra.tasks.datasets.glue import load_glue
from electra.tasks.datasets.samples import Sample, Task
from electra.tasks.frozen.depth import measure_depths
from electra.tasks.frozen.probes import choose_held_out
from electra.tasks.metrics import spearman

ROOT = Path(__file__).parents[1]
ALIKE = 4.0  # of STS-B's scores from 0 to 5: mostly the same meaning
LEARNING_RATES = (5e-5, 2e-4, 8e-4)
BATCH, DROPOUT = 64, 0.1

Pairs = list[tuple[str, str]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Judge before, choose a learning rate for each way of tuning, tune with each seed, judge after."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="what `electra export --format sentence-transformers` wrote")
    parser.add_argument("--glue", required=True, help="the folder with STS-B/ and MRPC/")
    parser.add_argument("--out", required=True, help="folder for the tuned models")
    parser.add_argument("--json", required=True, help="the file to write")
    parser.add_argument("--reference", nargs="*", default=[], help="other folders, which are judged only")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--most", type=int, default=1500, help="pairs, and sentences, to tune on")
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--name", default="", help="what the encoder is, for the record")
    options = parser.parse_args(arguments)
    train, dev = load_pairs(Path(options.glue))
    held_out = choose_held_out(train, "held out")
    choosing = [sample for sample, held in zip(train, held_out, strict=True) if held]
    rest = [sample for sample, held in zip(train, held_out, strict=True) if not held]
    mrpc = load_glue("mrpc", Path(options.glue) / "MRPC")[0].splits["train"]
    judging = set(list_texts((*choosing, *dev)))
    report: dict[str, Any] = {
        "about": "Spearman's correlation of cosines with scores, STS-B dev: 1,500 pairs; test labels are not public",
        "encoder": options.name,
        "command": "python benchmarks/sentence_embeddings.py hub/encoder --glue glue/ --out tuned/ "
        "--reference minilm/ --json FILE",
        "commit": run_git("rev-parse", "--short", "HEAD"),
        "machine": f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}, "
        f"{platform.machine()}, shared with other work",
        "versions": {module.__name__: module.__version__ for module in (torch, transformers)}
        | {"sentence_transformers": __version__},
        "settings": {"epochs": options.epochs, "batch": BATCH, "dropout": DROPOUT, "learning_rates": LEARNING_RATES,
                     "seeds": options.seeds, "chosen_on": f"{len(choosing)} pairs of train"},
        "layers kept": {
            "chosen_on": measure_layers(options.folder, choosing),
            "dev": measure_layers(options.folder, dev),
        },
        "words in common": spearman(scores_of(dev), np.array([share_words(sample) for sample in dev])),
        "before": judge(load(options.folder), dev),
        "before, chosen_on": judge(load(options.folder), choosing),
        "random weights": [judge(load_random(options.folder, seed), dev) for seed in options.seeds],
        "references": {Path(folder).name: judge(load(folder), dev) for folder in options.reference},
        "after": {},
    }  # fmt: skip
    data = {
        "pairs": pick_pairs(rest, mrpc, judging, options.most),
        "sentences": pick_sentences(rest, mrpc, judging, options.most),
    }
    for name, pairs in data.items():
        for figures in tune_and_judge(options, f"{options.out}/{name}", pairs, choosing, dev):
            report["after"][name] = figures
            with write_whole(Path(options.json)) as file:
                file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1))


def tune_and_judge(
    options: argparse.Namespace, out: str, pairs: Pairs, choosing: Sequence[Sample], dev: Sequence[Sample]
) -> Iterator[dict[str, Any]]:
    """The figures of one way of tuning, after each run: of every learning rate with the first seed, judged by
    ``choosing``; then of the best one with every seed, judged by ``dev``."""
    tune = load_example().tune
    figures: dict[str, Any] = {"pairs": len(pairs), "chosen_on": {}, "dev": [], "seconds": []}

    def run(rate: float, seed: int) -> SentenceTransformer:
        begun = time.perf_counter()
        model = tune(options.folder, pairs, out, options.epochs, BATCH, rate, DROPOUT, seed)
        figures["seconds"].append(round(time.perf_counter() - begun, 1))
        return model

    tuned = {}
    for rate in LEARNING_RATES:
        tuned[rate] = run(rate, options.seeds[0])
        figures["chosen_on"][rate] = judge(tuned[rate], choosing)
        yield figures
    figures["learning_rate"] = rate = max(LEARNING_RATES, key=figures["chosen_on"].__getitem__)
    for seed in options.seeds:
        figures["dev"].append(judge(tuned[rate] if seed == options.seeds[0] else run(rate, seed), dev))
        figures["mean"], figures["deviation"] = float(np.mean(figures["dev"])), float(np.std(figures["dev"]))
        yield figures


def load_pairs(glue: Path) -> tuple[list[Sample], list[Sample]]:
    """STS-B's train and dev."""
    task, _ = load_glue("sts-b", glue / "STS-B")
    return list(task.splits["train"]), list(task.splits["dev"])


def measure_layers(folder: str, samples: Sequence[Sample]) -> dict[int, float]:
    """Number of layers kept, the lowest → correlation: what ``electra export`` chooses a layer by."""
    task = Task("pairs", "score", (), ("spearman",), {"dev": samples})
    return measure_depths(Path(folder), task, "mean", torch.device("cpu"))


def pick_pairs(rest: Sequence[Sample], mrpc: Sequence[Sample], judging: set[str], most: int) -> Pairs:
    """Pairs of one meaning, STS-B's first, without sentences of ``judging``."""
    alike = [sample for sample, score in zip(rest, scores_of(rest), strict=True) if score >= ALIKE]
    alike += [sample for sample in mrpc if sample.label]
    pairs = dict.fromkeys((sample.text, sample.pair or "") for sample in alike)
    return [(one, other) for one, other in pairs if one != other and not {one, other} & judging][:most]


def pick_sentences(rest: Sequence[Sample], mrpc: Sequence[Sample], judging: set[str], most: int) -> Pairs:
    """Sentences, each with itself, without those of ``judging``: every n-th of all, so that they are of both sets."""
    others = [text for text in dict.fromkeys(list_texts((*rest, *mrpc))) if text not in judging]
    return [(text, text) for text in others[:: max(1, len(others) // most)]][:most]


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


def run_git(*words: str) -> str:
    """What git says."""
    return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
