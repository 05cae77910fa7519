"""A model with its kernels says what it says with their readable twins. Without a GPU, Triton interprets a GPU's."""

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="Triton is for Linux")

from compositions import ENCODERS, batch, build, loss, objective
from electra.kernels import Kernels
from electra.model.twins import Twinned, fuse
from electra.objectives.pretrainer import Pretrainer

pytestmark = pytest.mark.compiled  # the hook that checks shapes would change the kernels' source


def step(pretrainer: Pretrainer, kernels: Kernels) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The statistics of a batch with dropout, and the gradient of every parameter."""
    fuse(pretrainer, kernels)
    pretrainer.zero_grad()
    total, statistics = loss(pretrainer, batch())
    total.backward()
    return dict(statistics), {n: p.grad.clone() for n, p in pretrainer.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kernels", ["cpu", "cuda"])
@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("kind", ["electra", "all-tokens-mlm", "coco-lm", "electric"])
def test_fused_and_readable_are_one_model(kind: str, encoder: str, kernels: Kernels) -> None:
    """Samples too: were one token another, statistics and gradients were far apart."""
    pretrainer = build(objective(kind, encoder), encoder)
    assert sum(isinstance(part, Twinned) for part in pretrainer.modules()) >= 3
    readable, fused = step(pretrainer, ""), step(pretrainer, kernels)
    for one, other in zip(readable, fused, strict=True):
        assert set(one) == set(other)
        for name, value in one.items():
            torch.testing.assert_close(
                value, other[name], rtol=1e-4, atol=2e-5, msg=lambda said, name=name: f"{name}: {said}"
            )
