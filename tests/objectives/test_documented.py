"""The example in docs/objectives.md does what the page says."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from compositions import batch, build, gradients
from electra.objectives.build import Electra

PAGE = Path(__file__).parents[2] / "docs" / "objectives.md"


def example() -> dict[str, Any]:
    """The names that the page's code defines."""
    names: dict[str, Any] = {"__name__": "documented"}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, str(PAGE), "exec", dont_inherit=True), names)
    return names


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_focal_electra_is_electra_where_gamma_is_0(gamma: float) -> None:
    focal = example()["FocalElectra"](gamma=gamma)
    assert focal.kind == "focal-electra"
    ours, theirs = gradients(build(focal), batch()), gradients(build(Electra()), batch())
    same = {name: torch.allclose(ours[name], theirs[name], rtol=1e-5, atol=1e-7) for name in theirs}
    assert all(same.values()) is (gamma == 0.0)
    assert same["corrupt.generator.tower.head.bias"], "the generator learns the same"
