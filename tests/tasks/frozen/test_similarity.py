"""Similarity: the correlation of cosines, sentence by sentence and by hand."""

import random

import numpy as np
import pytest
import torch
from scipy import stats

from electra.errors import UserError
from electra.interchange.encoders import Inputs, TowerReader
from electra.model.config import ClassicConfig
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower
from electra.tasks.datasets.samples import Sample, Task
from electra.tasks.finetuning.examples import encode_texts
from electra.tasks.frozen.similarity import cosine_similarity, measure_similarity
from electra.tokenization.tokenizer import Tokenizer
from electra.tokenization.training import train_tokenizer

CPU = torch.device("cpu")
CONFIG = ClassicConfig(
    vocab_size=200, hidden_size=32, layers=2, heads=2, intermediate_size=64, embedding_size=16, max_positions=32
)


def sentences(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices([f"w{n}" for n in range(30)], k=draw.randint(3, 9))) for _ in range(count)]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(sentences(300, 0), 200)


@pytest.fixture(scope="module")
def reader() -> TowerReader:
    torch.manual_seed(0)
    return TowerReader(Tower.detection(CONFIG, build_embeddings(CONFIG)))


def of_pairs(count: int) -> Task:
    """The share of words that two sentences have in common, some scores equal; a sentence may come twice."""
    pairs = list(zip(sentences(count, 1), sentences(count, 2), strict=True))
    pairs += [(first, first) for first, _ in pairs[:5]]
    words = [(set(first.split()), set(second.split())) for first, second in pairs]
    samples = [
        Sample(first, second, float(round(5 * len(a & b) / len(a | b))))
        for (first, second), (a, b) in zip(pairs, words, strict=True)
    ]
    return Task("pairs", "score", (), ("spearman",), {"dev": samples})


def test_it_is_what_a_loop_computes(tokenizer: Tokenizer, reader: TowerReader) -> None:
    task = of_pairs(40)
    cosines: list[list[float]] = [[] for _ in reader.sizes]
    for sample in task.splits["dev"]:
        vectors = []
        for text in (sample.text, sample.pair):
            ((ids, segments),) = encode_texts([(text, None)], tokenizer, 16)
            row = torch.tensor([ids])
            with torch.no_grad():
                positions = torch.arange(len(ids))[None]
                states = reader.hidden_states(
                    Inputs(row, positions, torch.tensor([segments]), torch.ones_like(row)), None
                )
            vectors.append([layer[0].mean(0) for layer in states])
        for of_layer, one, two in zip(cosines, *vectors, strict=True):
            of_layer.append(float(torch.cosine_similarity(one, two, dim=0)))
    gold = [sample.label for sample in task.splits["dev"]]
    expected = {layer: stats.spearmanr(gold, of_layer)[0] for layer, of_layer in enumerate(cosines)}
    correlations = measure_similarity(reader, tokenizer, task, 16, CPU)
    assert correlations == pytest.approx(expected, abs=2e-3), "equal texts' cosines are 1 but for rounding"
    assert correlations[0] > 0.2, "words in common show in the embeddings"
    assert measure_similarity(reader, tokenizer, task, 16, CPU, layers=(1,)) == {1: correlations[1]}


def test_nothing_is_like_nothing() -> None:
    one, two = np.array([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0]]), np.array([[6.0, 8.0], [1.0, 0.0], [0.0, 2.0]])
    assert cosine_similarity(one, two).tolist() == [1.0, 0.0, 0.0]


def test_what_cannot_be_asked_is_told(tokenizer: Tokenizer, reader: TowerReader) -> None:
    task = of_pairs(5)
    with pytest.raises(UserError, match="layer 3: this encoder has 0"):
        measure_similarity(reader, tokenizer, task, 16, CPU, layers=(1, 3))
    alone = Task("alone", "score", (), ("spearman",), {"dev": [Sample("w1", label=1.0)]})
    classes = Task("classes", "class", ("a", "b"), ("accuracy",), {"dev": [Sample("w1", "w2", 1)]})
    train = Task("train", "score", (), ("spearman",), {"train": task.splits["dev"]})
    for wrong in (alone, classes, train):
        with pytest.raises(UserError, match=f"{wrong.name}: similarity needs a dev split of pairs"):
            measure_similarity(reader, tokenizer, wrong, 16, CPU)
