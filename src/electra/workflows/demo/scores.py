"""What the demo's encoders are worth: macro-F1 at telling which package a docstring is from."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from electra.interchange import huggingface
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower
from electra.report.tables import format_table
from electra.tasks.bootstrap import Interval, bootstrap_difference
from electra.tasks.datasets.packages import PackageTask, classify_by_words
from electra.tasks.finetuning.classify import classify_texts
from electra.tasks.metrics import macro_f1
from electra.tokenization.loading import load_tokenizer
from electra.workflows.package_task import LABELS, RANDOM_TUNING, TUNING

ENCODER, RANDOM, WORDS = "encoder", "random weights", "bag of words"


class DemoScores(NamedTuple):
    """By model and training texts a class: ``macro_f1``, a value for each draw; and ``ahead``, how much better the
    encoder is than the model."""

    macro_f1: Mapping[str, Mapping[str, Sequence[float]]]
    ahead: Mapping[str, Mapping[str, Interval]]


def score_encoders(task: PackageTask, folders: Mapping[str, Path], draws: int) -> DemoScores:
    """Fine-tune encoders, given by name and folder, with few and with many labels, each drawn several times.

    Encoders are tuned as `electra finetune` does by default; random weights with what was best for them on dev, as are
    the settings of a linear model of the texts' bags of words. All are judged by the test split, from which no setting
    was chosen.
    """
    towers = {name: huggingface.load_tower(folder) for name, folder in folders.items()}
    tokenizer = load_tokenizer(folders[ENCODER])
    config, gold = towers[ENCODER].config, np.array(task.test_labels)
    predictions: dict[str, dict[str, list[np.ndarray]]] = {}
    for per_class in LABELS:
        for draw in range(draws):
            texts, labels = task.draw_subset(per_class, draw)
            torch.manual_seed(draw)
            fresh = Tower.detection(config, build_embeddings(config))
            tuned = {name: (tower, TUNING) for name, tower in towers.items()} | {RANDOM: (fresh, RANDOM_TUNING)}
            classified = {
                name: classify_texts(tower, tokenizer, texts, labels, task.test_texts, tuning, draw, "kernels")
                for name, (tower, tuning) in tuned.items()
            }
            classified[WORDS] = classify_by_words(texts, labels, task.test_texts)
            for name, classes in classified.items():
                predictions.setdefault(name, {}).setdefault(str(per_class), []).append(np.array(classes))
            scores = ", ".join(f"{name} {macro_f1(gold, np.array(of)):.3f}" for name, of in classified.items())
            print(f"{per_class} a class, draw {draw + 1} of {draws}: {scores}", flush=True)
    return DemoScores(
        {
            name: {size: [macro_f1(gold, of) for of in by_draw] for size, by_draw in by_size.items()}
            for name, by_size in predictions.items()
        },
        {
            name: {
                size: bootstrap_difference(macro_f1, gold, predictions[ENCODER][size], by_draw)
                for size, by_draw in by_size.items()
            }
            for name, by_size in predictions.items()
            if name != ENCODER
        },
    )


def format_demo_scores(scores: DemoScores) -> str:
    """A table: a row for each model, a column for each number of texts, mean ± standard deviation over the draws; and
    how far the encoder is ahead of the others."""
    sizes = [f"{per_class} a class" for per_class in LABELS]
    rows = [[name, *map(format_mean_deviation, by_size.values())] for name, by_size in scores.macro_f1.items()]
    ahead = [[f"{ENCODER} − {name}", *map(str, by_size.values())] for name, by_size in scores.ahead.items()]
    return format_table(["macro-F1", *sizes], rows) + "\n\n" + format_table(["ahead by", *sizes], ahead)


def format_mean_deviation(values: Sequence[float]) -> str:
    """Mean ± standard deviation; of one value the deviation is written as 0."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.3f} ± {deviation:.3f}"
