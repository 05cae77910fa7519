"""Attention against a twin that loops over positions, where something is dropped and where nothing is."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from electra.kernels.attention.operation import KEPT_LENGTH, attention
from electra.kernels.attention.twin import explicit_attention, visibility_mask
from electra.kernels.random import derive_streams, drop, fold

ROWS, HEADS, LENGTH, DIM = 3, 2, 20, 8


def documents() -> Tensor:
    """One whole row, one of two documents and padding, one that is padding alone."""
    rows = torch.zeros(ROWS, LENGTH, dtype=torch.int64)
    rows[0], rows[1, :9], rows[1, 9:15] = 1, 1, 2
    return rows


def inputs(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(ROWS, HEADS, LENGTH, DIM).to(dtype).requires_grad_() for _ in range(3)]


def stream() -> Tensor:
    return derive_streams(fold(torch.arange(ROWS, dtype=torch.int32), 4), torch.tensor([9], dtype=torch.int32))[0]


def twin(q: Tensor, k: Tensor, v: Tensor, documents: Tensor, window: int | None, dropped: Tensor) -> Tensor:
    """Position by position; ``dropped`` [rows, heads, length, length] multiplies the probabilities."""
    out = torch.empty_like(v)
    for row in range(q.shape[0]):
        for head in range(q.shape[1]):
            for i in range(q.shape[2]):
                seen = [
                    j
                    for j in range(k.shape[2])
                    if documents[row, i] == documents[row, j] and (window is None or abs(i - j) <= window // 2)
                ]
                weights = ((k[row, head, seen] @ q[row, head, i]).float() / math.sqrt(q.shape[3])).softmax(0)
                out[row, head, i] = (weights * dropped[row, head, i, seen]).to(v.dtype) @ v[row, head, seen]
    return out


@pytest.mark.parametrize("window", [None, 6, 7])
@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.bfloat16, 3e-2)])
def test_equals_its_twin_in_values_and_gradients(
    window: int | None, p: float, dtype: torch.dtype, tolerance: float
) -> None:
    dropped = drop(torch.ones(ROWS, HEADS, LENGTH, LENGTH), stream(), p)
    ours, theirs = inputs(dtype), inputs(dtype)
    one = attention(*ours, documents(), window, stream(), p)
    two = twin(*theirs, documents(), window, dropped)
    assert one.dtype == dtype
    torch.testing.assert_close(one, two, rtol=tolerance, atol=tolerance)
    weights = torch.randn(one.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    for a, b in zip(torch.autograd.grad(one, ours, weights), torch.autograd.grad(two, theirs, weights), strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=2 * tolerance)


@pytest.mark.parametrize("window", [None, 6])
def test_where_nothing_is_dropped_it_is_the_explicit_product(window: int | None) -> None:
    q, k, v = inputs()
    explicit = explicit_attention(q, k, v, visibility_mask(documents(), window), None, 0.0)
    for stream_or_none, p in ((None, 0.1), (stream(), 0.0)):
        torch.testing.assert_close(
            attention(q, k, v, documents(), window, stream_or_none, p), explicit, rtol=1e-5, atol=1e-6
        )


def long_rows() -> tuple[list[Tensor], Tensor]:
    """Rows whose probabilities are not kept, and their documents."""
    length = KEPT_LENGTH + 30
    torch.manual_seed(0)
    leaves = [torch.randn(ROWS, HEADS, length, DIM).requires_grad_() for _ in range(3)]
    return leaves, torch.arange(length).expand(ROWS, -1) // 120 + 1


def test_long_rows_drop_at_their_addresses_too() -> None:
    """And not by the history of a generator, which knows neither resumes nor processes."""
    leaves, documents = long_rows()
    whole, history = [], torch.get_rng_state()
    for way in (
        lambda *qkv: attention(*qkv, documents, 40, stream(), 0.3),
        lambda *qkv: explicit_attention(*qkv, visibility_mask(documents, 40), stream(), 0.3),
    ):
        out = way(*leaves)
        whole.append([out, *torch.autograd.grad(out.square().sum(), leaves)])
    assert torch.equal(torch.get_rng_state(), history)
    for one, other in zip(*whole, strict=True):
        torch.testing.assert_close(one, other)
    last = attention(*(x[2:] for x in leaves), documents[2:], 40, stream()[:, 2:], 0.3)
    torch.testing.assert_close(whole[0][0][2:], last)


def test_never_across_documents() -> None:
    """Law 9: what stands in one document or in the padding changes nothing elsewhere."""
    q, k, v = (x.detach() for x in inputs())
    before = attention(q, k, v, documents(), None, None, 0.0)
    k[1, :, 9:], v[1, :, 9:] = 100.0, 100.0
    after = attention(q, k, v, documents(), None, None, 0.0)
    assert torch.equal(before[1, :, :9], after[1, :, :9])
    assert after.isfinite().all()


def test_window_is_modernberts() -> None:
    from transformers.masking_utils import sliding_window_bidirectional_overlay

    at = torch.arange(LENGTH)
    for window in (2, 6, 128):
        expected = sliding_window_bidirectional_overlay(window // 2)(0, 0, at[:, None], at[None, :])
        assert torch.equal(visibility_mask(torch.ones(1, LENGTH, dtype=torch.int64), window)[0], expected)


def test_rows_are_independent_of_their_micro_batch() -> None:
    whole = attention(*inputs(), documents(), None, stream(), 0.2)
    last = attention(*(x[2:] for x in inputs()), documents()[2:], None, stream()[:, 2:], 0.2)
    torch.testing.assert_close(whole[2:], last)


@pytest.mark.compiled
@pytest.mark.parametrize("long", [False, True])
def test_compiled_and_eager_agree(long: bool) -> None:
    (one, numbers), (two, _) = (long_rows() if long else (inputs(), documents()) for _ in range(2))

    def weighted(q: Tensor, k: Tensor, v: Tensor, stream: Tensor) -> Tensor:
        return (attention(q, k, v, numbers, 6, stream, 0.3) * F.gelu(v)).sum()

    compiled = torch.compile(weighted)
    ours, theirs = compiled(*one, stream()), weighted(*two, stream())
    torch.testing.assert_close(ours, theirs)
    for a, b in zip(torch.autograd.grad(ours, one), torch.autograd.grad(theirs, two), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
