"""Held-out figures: the same every time, and what token identity alone can tell."""

from pathlib import Path

import pytest
import torch

from electra.dataset.layout import Paper
from electra.dataset.rows import Rows
from electra.dataset.shards import Shards
from electra.engine.parallel import Parallel
from electra.model.config import ClassicConfig
from electra.objectives.build import CorpusFacts, Electra
from electra.objectives.pretrainer import Pretrainer
from electra.tasks.frozen.held_out import evaluate_held_out, measure_identity_auc

SIZES = {"vocab_size": 1000, "hidden_size": 32, "layers": 1, "heads": 2, "intermediate_size": 64, "embedding_size": 16}


@pytest.fixture
def pretrainer() -> Pretrainer:
    torch.manual_seed(0)
    return Electra(generator_width=0.5).build(ClassicConfig(**SIZES), CorpusFacts(4), seed=1)


@pytest.fixture
def rows(prepared: Path) -> Rows:
    return Rows(Shards.open(prepared, "held-out"), Paper(), 32, seed=1)


def test_figures_depend_on_weights_and_rows_alone(pretrainer: Pretrainer, rows: Rows) -> None:
    one = evaluate_held_out(pretrainer, rows, 60, 8, Parallel.alone())
    pretrainer.seed = 99
    two = evaluate_held_out(pretrainer, rows, 60, 13, Parallel.alone())
    assert pretrainer.seed == 99
    assert one.keys() == two.keys() and one == pytest.approx(two, rel=1e-5)
    assert 0.4 < one["discriminator/auc"] < 0.6, "fresh weights know nothing"
    assert one["discriminator/replaced_rate"] == pytest.approx(0.13, abs=0.03)


def test_a_generator_that_always_says_the_same_is_known_by_its_word(
    pretrainer: Pretrainer, rows: Rows, prepared: Path
) -> None:
    train = Rows(Shards.open(prepared, "train"), Paper(), 32, seed=1)
    uniform = measure_identity_auc(pretrainer, train, rows, 60, 8, torch.device("cpu"))
    assert 0.7 < uniform < 0.999, "a fresh generator writes rare words"
    with torch.no_grad():
        pretrainer.corrupt.generator.tower.head.bias[999] = 50.0
    assert measure_identity_auc(pretrainer, train, rows, 60, 8, torch.device("cpu")) > 0.99
