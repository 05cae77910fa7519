"""In bfloat16 the last product of every head is not rounded to it: what is ranked or drawn by it would be alike."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from compositions import ENCODERS
from electra.kernels.vocabulary.twin import LogitsProduct
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower

STATES = 300
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def near(width: int) -> Tensor:
    """States that differ by a hundredth of their size."""
    random = torch.Generator().manual_seed(1)
    return torch.randn(1, width, generator=random) + 0.01 * torch.randn(STATES, width, generator=random)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_logits_of_states_that_are_alike_are_told_apart(encoder: str) -> None:
    config = ENCODERS[encoder]
    torch.manual_seed(0)
    detects, predicts = (make(config, build_embeddings(config)) for make in (Tower.detection, Tower.token))
    with torch.autocast("cpu", torch.bfloat16):
        logits = [detects.detection_logits(near(64)), *predicts.token_logits(near(64))[:, :3].unbind(1)]
    for tensor in logits:
        assert tensor.dtype == torch.float32 and len(tensor.unique()) > 0.9 * STATES


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_vocabulary_s_logits_are_exact_sums_of_what_is_multiplied(dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(2)
    shapes = (40, 24), (300, 24), (40, 300)
    states, table, slopes = (torch.randn(shape, generator=random).to(DEVICE) for shape in shapes)
    ours, theirs = ([tensor.to(dtype).requires_grad_() for tensor in (states, table)] for _ in range(2))
    with torch.autocast(DEVICE.type, torch.bfloat16):
        logits = LogitsProduct.apply(*ours)
    expected = F.linear(*(tensor.double() for tensor in theirs))
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits.double(), expected, rtol=1e-5, atol=1e-5)
    logits.backward(slopes)
    expected.backward(slopes.double())
    for one, other in zip(ours, theirs, strict=True):
        close = 1e-5 if dtype == torch.float32 else 0.02
        torch.testing.assert_close(one.grad, other.grad, rtol=close, atol=close * float(other.grad.abs().max()))
