"""Retrieval of replaced tokens: what is read off its curve, on the positions that the held-out figures count."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from electra.dataset.layout import Paper
from electra.dataset.rows import Rows
from electra.dataset.shards import Shards
from electra.engine.parallel import Parallel
from electra.errors import UserError
from electra.model.config import ClassicConfig
from electra.objectives.build import CorpusFacts, Electra, Mlm
from electra.objectives.pretrainer import Pretrainer
from electra.tasks.frozen.held_out import evaluate_held_out
from electra.tasks.frozen.retrieval import compute_retrieval, judge_batches, score_tokens

CPU = torch.device("cpu")
CONFIG = ClassicConfig(
    vocab_size=1000, hidden_size=32, layers=1, heads=2, intermediate_size=64, embedding_size=16, max_positions=32
)


@pytest.fixture
def rows(prepared: Path) -> Rows:
    return Rows(Shards.open(prepared, "held-out"), Paper(), 32, seed=1)


def fresh(objective: Electra | Mlm) -> Pretrainer:
    torch.manual_seed(0)
    return objective.build(CONFIG, CorpusFacts(4), seed=1)


def test_recall_at_a_precision_is_the_most_that_can_be_had() -> None:
    scores = np.array([6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    retrieval = compute_retrieval(scores, np.array([True, False, True, True, False, True]))
    assert [retrieval.recall_at(each) for each in (0.5, 0.7, 0.9)] == [1.0, 0.75, 0.25]
    assert retrieval.average == pytest.approx((1 + 2 / 3 + 3 / 4 + 4 / 6) / 4) and retrieval.chance == 4 / 6
    wrong = compute_retrieval(scores, np.array([False, False, False, False, False, True]))
    assert wrong.recall_at(0.9) == 0.0
    assert wrong.figures() == pytest.approx(
        {
            "average_precision": 1 / 6,
            "chance": 1 / 6,
            "recall_at_precision_0.5": 0.0,
            "recall_at_precision_0.9": 0.0,
        }
    )


@pytest.mark.parametrize("on", ["all", "chosen"])
def test_it_reads_what_the_held_out_figures_count(rows: Rows, on: str) -> None:
    pretrainer = fresh(Electra(generator_width=0.5, detection_on=on))
    scores, labels = score_tokens(judge_batches(pretrainer, rows, 60, 8, CPU))
    figures = evaluate_held_out(pretrainer, rows, 60, 8, Parallel.alone())
    assert labels.mean() == pytest.approx(figures["discriminator/replaced_rate"])
    if on == "all":  # a fresh generator's samples are never right: the chosen positions are all replaced
        assert roc_auc_score(labels, scores) == pytest.approx(figures["discriminator/auc"], abs=0.01), "bins are coarse"
    one, two = (compute_retrieval(*score_tokens(judge_batches(pretrainer, rows, 60, size, CPU))) for size in (8, 13))
    assert one.average == pytest.approx(two.average, rel=1e-4) and one.chance == two.chance == labels.mean()


def test_a_detector_that_knows_finds_all(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """A generator that writes one rare word, and a detector that knows it."""
    pretrainer = fresh(Electra(generator_width=0.5))
    with torch.no_grad():
        pretrainer.corrupt.generator.tower.head.bias[999] = 50.0
    ids: list[torch.Tensor] = []
    hidden = pretrainer.encoder.hidden
    monkeypatch.setattr(pretrainer.encoder, "hidden", lambda read, *rest: (ids.append(read), hidden(read, *rest))[1])
    monkeypatch.setattr(pretrainer.encoder, "detection_logits", lambda states: (ids[-1] == 999).double())
    retrieval = compute_retrieval(*score_tokens(judge_batches(pretrainer, rows, 60, 8, CPU)))
    assert retrieval.average > 0.99 and retrieval.recall_at(0.9) > 0.99


def test_what_detects_nothing_is_told(rows: Rows) -> None:
    with pytest.raises(UserError, match="it detects nothing"):
        score_tokens(judge_batches(fresh(Mlm()), rows, 8, 8, CPU))
