"""Similarity of sentences by an encoder that was not tuned for it: STS-B's correlation, layer by layer."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float

from electra.errors import UserError
from electra.interchange.encoders import Reader
from electra.tasks.datasets.samples import Task
from electra.tasks.finetuning.heads import mean_pool
from electra.tasks.frozen.probes import Pool, extract_features
from electra.tasks.frozen.texts import batch_texts
from electra.tasks.metrics import spearman
from electra.tokenization.tokenizer import Tokenizer


def scores_pairs(task: Task) -> bool:
    """Whether a task's dev split says how similar two texts are, as STS-B's does."""
    samples = task.splits["dev"] if "dev" in task.evaluated else ()
    return task.kind == "score" and bool(samples) and all(sample.pair is not None for sample in samples)


def measure_similarity(
    reader: Reader,
    tokenizer: Tokenizer,
    task: Task,
    length: int,
    device: torch.device,
    layers: Sequence[int] = (),
    pool: Pool = mean_pool,
) -> dict[int, float]:
    """Layer (0: the embeddings) → Spearman's correlation of dev's scores with the cosines of the sentences' vectors.

    A sentence is read alone; its vector is the mean of the layer's states, or what ``pool`` makes of them. ``layers``:
    all if none is named.

    Raises:
        UserError: a task that does not score pairs, one without a dev split, or a layer that is not there.
    """
    if not scores_pairs(task):
        raise UserError(f"{task.name}: similarity needs a dev split of pairs of texts with scores, as STS-B has")
    samples = task.splits["dev"]
    last = len(reader.sizes) - 1
    for layer in layers:
        if not 0 <= layer <= last:
            raise UserError(f"layer {layer}: this encoder has 0 (its embeddings) to {last}")
    sentences = [sample.text for sample in samples] + [sample.pair or "" for sample in samples]
    numbers = {sentence: number for number, sentence in enumerate(dict.fromkeys(sentences))}
    batches = batch_texts([(sentence, None) for sentence in numbers], tokenizer, min(length, reader.longest))
    vectors = extract_features(reader, batches, device, pool)
    first, second = np.array([numbers[sentence] for sentence in sentences]).reshape(2, -1)
    gold = np.array([sample.label for sample in samples], dtype=np.float64)
    return {
        layer: spearman(gold, cosine_similarity(vectors[layer][first], vectors[layer][second]))
        for layer in layers or range(last + 1)
    }


def cosine_similarity(
    one: Float[np.ndarray, "pairs width"], two: Float[np.ndarray, "pairs width"]
) -> Float[np.ndarray, " pairs"]:
    """The cosine of each pair of vectors, float64; 0 if one of them is zero."""
    one, two = one.astype(np.float64), two.astype(np.float64)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
    return (one * two).sum(1) / np.where(lengths > 0, lengths, np.inf)
