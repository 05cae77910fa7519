"""Attention's kernel against float64 and its twin, dropout included. Without a GPU Triton's interpreter runs it."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

pytest.importorskip("triton", reason="Triton is for Linux")

from electra.kernels import attention_triton as kernel
from electra.kernels.attention import Direction, attention, explicit_attention, visible
from electra.kernels.random import fold, streams

pytestmark = pytest.mark.compiled  # the hook that checks shapes would change the kernels' source

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SHAPES = [(2, 1, 9, 8), (1, 2, 64, 16), (2, 2, 150, 20), (1, 1, 131, 72)]  # rows, heads, length, a head's size
SIDES: list[Direction] = ["both", "left", "right"]


def given(shape: tuple[int, int, int, int], number: torch.dtype = torch.float32) -> tuple[list[Tensor], Tensor]:
    """Queries, keys and values as one product gives them, and documents: several in a row, and padding at its end."""
    rows, heads, length, dim = shape
    random = torch.Generator().manual_seed(length)
    qkv = torch.randn(rows, length, 3, heads, dim, generator=random).to(DEVICE, number)
    starts = torch.rand(rows, length, generator=random) < 0.03
    documents = starts.cumsum(1) + 1
    documents[:, length - length // 10 :] = 0
    return [each.requires_grad_() for each in qkv.permute(2, 0, 3, 1, 4).unbind(0)], documents.to(DEVICE)


def words(rows: int) -> Tensor:
    """A stream of random numbers for each row."""
    return streams(fold(torch.arange(rows, dtype=torch.int32), 4), torch.tensor([9], dtype=torch.int32))[0].to(DEVICE)


def both(leaves: list[Tensor], run) -> list[Tensor]:
    """What a way of attention gives, and the gradients of a sum of it."""
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    out = run(*leaves)
    slopes = torch.linspace(-1, 1, out.numel(), device=DEVICE).reshape(out.shape).to(out.dtype)
    return [out.detach(), *torch.autograd.grad(out, leaves, slopes)]


@pytest.mark.parametrize("window", [None, 0, 21, 64])
@pytest.mark.parametrize("number", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_are_those_of_float64(
    shape: tuple[int, int, int, int], number: torch.dtype, window: int | None
) -> None:
    leaves, documents = given(shape, number)
    seen = visible(documents, window)[:, None]
    ours = both(leaves, lambda *qkv: kernel.fused_attention(*qkv, documents, window, None, 0.0))
    exact = both(
        [leaf.double() for leaf in leaves], lambda *qkv: F.scaled_dot_product_attention(*qkv, attn_mask=seen)
    )  # fmt: skip
    close = 1e-5 if number == torch.float32 else 0.02
    for one, other in zip(ours, exact, strict=True):
        assert one.dtype == number
        torch.testing.assert_close(one.double(), other, rtol=close, atol=close * max(1.0, float(other.abs().max())))


@pytest.mark.parametrize("direction", SIDES)
@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize("shape", SHAPES[1:3])
def test_what_is_dropped_and_seen_is_what_the_twin_drops_and_sees(
    shape: tuple[int, int, int, int], p: float, direction: Direction
) -> None:
    leaves, documents = given(shape)
    stream, window = words(shape[0]), 40
    ours = both(leaves, lambda *qkv: kernel.fused_attention(*qkv, documents, window, stream, p, direction))
    seen = visible(documents, window, direction)
    theirs = both(leaves, lambda *qkv: explicit_attention(*qkv, seen, stream, p))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_compiled_and_eager_agree_and_trace_without_breaks() -> None:
    leaves, documents = given(SHAPES[2])
    stream = words(2)
    run = lambda *qkv: attention(*qkv, documents, None, stream, 0.1, "both", fused=True)  # noqa: E731
    for one, other in zip(both(leaves, run), both(leaves, torch.compile(run, fullgraph=True)), strict=True):
        torch.testing.assert_close(one, other)


def test_the_operations_are_what_pytorch_asks_of_one() -> None:
    leaves, documents = given(SHAPES[0])
    torch.library.opcheck(kernel.attend, (*leaves, documents.int(), words(2), 0.2, 5, True, False))
