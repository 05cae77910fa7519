"""What the demo's encoders are worth: macro-F1 at telling which package a docstring is from."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from electra.interchange import huggingface
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower
from electra.report.tables import format_table
from electra.tasks.datasets.packages import PackageTask, score_bag_of_words
from electra.tasks.finetuning.classify import classify_texts
from electra.tasks.metrics import macro_f1
from electra.tokenization import load_tokenizer
from electra.workflows.package_task import TUNING

Scores = Mapping[str, Mapping[str, Sequence[float]]]  # encoder → training texts a class → macro-F1 of each seed


def score_encoders(task: PackageTask, folders: Mapping[str, Path], seeds: int) -> Scores:
    """Fine-tune each encoder, given by name and folder, with few and with many labels and with several seeds.

    The same is done with random weights, and a linear model of the texts' bags of words is fitted.
    """
    towers = {name: huggingface.load_tower(folder) for name, folder in folders.items()}
    tokenizer = load_tokenizer(next(iter(folders.values())))
    config = next(iter(towers.values())).config
    scores: dict[str, dict[str, list[float]]] = {}
    for per_class, tuning in TUNING.items():
        for seed in range(seeds):
            texts, labels = task.draw_subset(per_class, seed)
            torch.manual_seed(seed)
            fresh = Tower.detection(config, build_embeddings(config))
            for name, tower in {**towers, "random weights": fresh}.items():
                predicted = classify_texts(tower, tokenizer, texts, labels, task.test_texts, tuning, seed)
                score = macro_f1(np.array(task.test_labels), np.array(predicted))
                scores.setdefault(name, {}).setdefault(str(per_class), []).append(score)
                print(f"{name}, {per_class} a class, seed {seed}: macro-F1 {score:.3f}", flush=True)
            score = score_bag_of_words(texts, labels, task.test_texts, task.test_labels)
            scores.setdefault("bag of words", {}).setdefault(str(per_class), []).append(score)
    return scores


def format_demo_scores(scores: Scores) -> str:
    """A table: a row for each encoder, a column for each number of texts, mean ± standard deviation over the seeds."""
    header = ["macro-F1", *(f"{per_class} a class" for per_class in TUNING)]
    rows = [[name, *map(format_mean_deviation, by_texts.values())] for name, by_texts in scores.items()]
    return format_table(header, rows)


def format_mean_deviation(values: Sequence[float]) -> str:
    """Mean ± standard deviation; of one value the deviation is written as 0."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.3f} ± {deviation:.3f}"
