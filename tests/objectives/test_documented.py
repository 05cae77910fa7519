"""The objective in examples/new_objective.py does what docs/objectives.md says."""

import runpy
from pathlib import Path

import pytest
import torch

from compositions import batch, build, gradients
from electra.errors import UserError
from electra.objectives.build import OWN_KINDS, Electra, add_objective

EXAMPLE = Path(__file__).parents[2] / "examples" / "new_objective.py"


@pytest.fixture
def focal_electra(own_objectives: None) -> type[Electra]:
    """The example's class, which this process knows until the test is over."""
    return runpy.run_path(str(EXAMPLE))["FocalElectra"]


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_focal_electra_is_electra_where_gamma_is_0(focal_electra: type[Electra], gamma: float) -> None:
    focal = focal_electra(gamma=gamma)  # type: ignore[call-arg]
    assert focal.kind == "focal-electra"
    ours, theirs = gradients(build(focal), batch()), gradients(build(Electra()), batch())
    same = {name: torch.allclose(ours[name], theirs[name], rtol=1e-5, atol=1e-7) for name in theirs}
    assert all(same.values()) is (gamma == 0.0)
    assert same["corrupt.generator.tower.head.bias"], "the generator learns the same"


def test_an_objective_of_ones_own_takes_no_name_that_is_there(focal_electra: type[Electra]) -> None:
    assert OWN_KINDS.added == [focal_electra]
    assert add_objective(focal_electra) is focal_electra and OWN_KINDS.added == [focal_electra], "a cell run again"
    with pytest.raises(UserError, match="objective Electra: electra is there already"):
        add_objective(Electra)
