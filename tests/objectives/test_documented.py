"""The example in docs/objectives.md does what the page says."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from electra.model.config import ClassicConfig
from electra.objectives.build import Corpus, Electra
from electra.text.batches import Batch

PAGE = Path(__file__).parents[2] / "docs" / "objectives.md"
ENCODER = ClassicConfig(
    vocab_size=120, hidden_size=64, layers=2, heads=2, intermediate_size=64, embedding_size=32, max_positions=32
)


def example() -> dict[str, Any]:
    """The names that the page's code defines."""
    found: dict[str, Any] = {"__name__": "documented"}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, str(PAGE), "exec", dont_inherit=True), found)
    return found


def batch() -> Batch:
    ids = torch.randint(5, 120, (8, 32), generator=torch.Generator().manual_seed(0))
    ids[:, 0], ids[:, -1] = 2, 3
    one, at = torch.ones_like(ids), torch.arange(8, dtype=torch.int32)
    return Batch(ids, one.cumsum(1) - 1, 0 * ids, one, ids > 4, torch.stack([0 * at, 0 * at, at], 1))


def gradients(objective: Electra) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    pretrainer = objective.build(ENCODER, Corpus(4), seed=1)
    divisors = {name: torch.tensor(float(count)) for name, count in pretrainer.counts(batch()).items()}
    pretrainer(batch(), divisors, True)[0].backward()
    return {name: value.grad for name, value in pretrainer.named_parameters()}


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_focal_electra_is_electra_where_gamma_is_0(gamma: float) -> None:
    focal = example()["FocalElectra"](gamma=gamma)
    assert focal.kind == "focal-electra"
    ours, theirs = gradients(focal), gradients(Electra())
    same = {name: torch.allclose(ours[name], theirs[name], rtol=1e-5, atol=1e-7) for name in theirs}
    assert all(same.values()) is (gamma == 0.0)
    assert same["corrupt.generator.tower.head.bias"], "the generator learns the same"
