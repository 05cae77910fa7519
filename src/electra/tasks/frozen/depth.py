"""At which layer an encoder of sentences should end: how similar sentences seem to its lowest layers, one more of them
at a time."""

from dataclasses import replace
from pathlib import Path

import torch

from electra.interchange.encoders import load_encoder
from electra.interchange.sentence_transformers import Pooling
from electra.tasks.datasets.labelled import Columns, load_labelled
from electra.tasks.datasets.samples import Task
from electra.tasks.finetuning.heads import mean_pool, take_first
from electra.tasks.frozen.probes import Pool
from electra.tasks.frozen.similarity import measure_similarity

POOLS: dict[Pooling, Pool] = {"mean": mean_pool, "cls": take_first}


def read_scored_pairs(file: Path, columns: Columns) -> Task:
    """The pairs of texts in a .csv, .tsv, .jsonl or .parquet file as the dev split of a task, with a score for each.

    Raises:
        UserError: as ``load_labelled``.
    """
    task = load_labelled(file.name, {"train": file}, columns, "score")
    return replace(task, splits={"dev": task.splits["train"]})


def measure_depths(folder: Path, task: Task, pooling: Pooling, device: torch.device) -> dict[int, float]:
    """Number of layers kept, the lowest → Spearman's correlation of ``measure_similarity``, texts read as far as the
    encoder can. The encoder in ``folder`` is loaded with each number of layers, so that it is what is exported that is
    judged: a norm after the last layer follows the last one kept.

    Raises:
        UserError: as ``load_encoder`` and ``measure_similarity``.
    """
    whole, tokenizer = load_encoder(folder)
    correlations: dict[int, float] = {}
    for depth in range(1, len(whole.sizes)):
        reader, _ = load_encoder(folder, keep_layers=depth)
        correlations |= measure_similarity(reader, tokenizer, task, reader.longest, device, (depth,), POOLS[pooling])
    return correlations
