"""The cloze probe: it recovers what stands in frozen states, whatever stands in the blank, and changes no encoder."""

from pathlib import Path

import pytest
import torch

from electra.dataset.data import Data
from electra.interchange.encoders import TowerReader
from electra.model.config import ModernConfig
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower
from electra.objectives.masking import Mask
from electra.tasks.frozen import cloze
from electra.tasks.frozen.cloze import choose_tokens, iterate_batches, probe_cloze

CONFIG = ModernConfig(vocab_size=1000, hidden_size=32, layers=2, heads=2, intermediate_size=48, max_positions=128)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(prepared: Path) -> Data:
    return Data.open(prepared)


def reader() -> TowerReader:
    torch.manual_seed(0)
    return TowerReader(Tower.detection(CONFIG, build_embeddings(CONFIG)))


def test_the_encoder_stays_as_it_was_and_the_figures_repeat(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"STEPS": 20, "WARMUP": 2, "JUDGED_ROWS": 32}.items():
        monkeypatch.setattr(cloze, name, value)
    one = reader()
    before = {name: value.clone() for name, value in one.named_parameters()}
    figures = probe_cloze(one, data, CPU)
    assert all(torch.equal(value, before[name]) for name, value in one.named_parameters())
    assert not one.embeddings.tokens._forward_hooks, "no blank is put where others read"
    assert set(figures) == {"learned vector", "random token"} and all(0 < value < 1 for value in figures.values())
    assert probe_cloze(reader(), data, CPU) == figures


def test_a_token_that_is_not_hidden_is_recovered(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing in the blank but the token itself the head reads it off: states, positions and targets belong
    together."""
    for name, value in {"STEPS": 120, "WARMUP": 2, "JUDGED_ROWS": 32}.items():
        monkeypatch.setattr(cloze, name, value)
    monkeypatch.setattr(Mask, "write", lambda self, ids, chosen, where, tokens: ids)
    encoder = reader().requires_grad_(False)
    assert cloze.fit_and_judge(encoder, data, "random", CPU) > 0.4


def test_blanks_are_the_same_positions_for_both_and_never_special_tokens(data: Data) -> None:
    mask = Mask(data.train.mask_id, cloze.RATE, 1.0)
    batch = next(iterate_batches(data, "train", cloze.ROWS, cloze.LENGTH))
    learned, random = (choose_tokens(batch, mask, blank, data.vocab_size) for blank in ("learned", "random"))
    assert torch.equal(learned.positions, random.positions) and torch.equal(learned.tokens, random.tokens)
    assert len(learned.tokens) == pytest.approx(cloze.RATE * cloze.ROWS * cloze.LENGTH, rel=0.1)
    assert batch.choosable[learned.rows, learned.positions].all()
    assert (learned.inputs.ids[learned.rows, learned.positions] == mask.mask_id).all()
    assert len(random.inputs.ids[random.rows, random.positions].unique()) > 100
    changed = learned.inputs.ids != batch.ids
    assert int(changed.sum()) == len(learned.tokens)
