"""GELU's kernel for a CPU against float64 and its twin."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from electra.kernels import cpu
from electra.kernels.gelu.operation import apply_gelu, gelu

pytestmark = pytest.mark.compiled  # needs the compiler, and the hook that checks shapes cannot be traced

NUMBERS = {torch.float32: 2e-6, torch.bfloat16: 8e-3}
SHAPES = [(1, 32), (3, 43, 96), (67, 160)]


def inputs(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """What is activated, from far below 0 to far above, biases, and the gradient of the result."""
    random = torch.Generator().manual_seed(1)
    x = 4 * torch.randn(shape, generator=random)
    x.view(-1)[:4] = torch.tensor([0.0, -60.0, 60.0, -12.0])
    bias, slopes = torch.randn(shape[-1], generator=random), torch.randn(shape, generator=random)
    return x.to(dtype), bias, slopes.to(dtype)


def both(run, x: Tensor, bias: Tensor, slopes: Tensor) -> tuple[Tensor, ...]:
    """The result and the gradients of x and the biases."""
    x, bias = (tensor.detach().clone().requires_grad_() for tensor in (x, bias))
    out = run(x, bias)
    return out.detach(), *torch.autograd.grad(out, (x, bias), slopes)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", NUMBERS)
def test_values_and_gradients_are_those_of_float64(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    skip_without_kernels(dtype)
    x, bias, slopes = inputs(shape, dtype)
    ours = both(lambda x, bias: gelu(x, bias, "cpu"), x, bias, slopes)
    exact = both(lambda x, bias: F.gelu(x + bias), x.double(), bias.double(), slopes.double())
    assert [tensor.dtype for tensor in ours] == [dtype, dtype, torch.float32]
    for one, other in zip(ours, exact, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=NUMBERS[dtype], atol=NUMBERS[dtype])


def test_sizes_that_are_no_whole_vectors_keep_the_twin() -> None:
    x, bias, slopes = inputs((5, 48), torch.float32)
    ours = both(lambda x, bias: gelu(x, bias, "cpu"), x, bias, slopes)
    theirs = both(gelu, x, bias, slopes)
    assert all(torch.equal(one, two) for one, two in zip(ours, theirs, strict=True))


def test_the_number_of_threads_changes_nothing() -> None:
    skip_without_kernels(torch.float32)
    threads, results = torch.get_num_threads(), []
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        results.append(both(lambda x, bias: gelu(x, bias, "cpu"), *inputs((200, 64), torch.float32)))
    torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(results[0], other, strict=True))


def test_compiled_and_eager_agree_and_trace_without_breaks() -> None:
    skip_without_kernels(torch.float32)
    run = lambda x, bias: gelu(2 * x, bias, "cpu") * 3  # noqa: E731
    eager = both(run, *inputs(SHAPES[1], torch.float32))
    compiled = both(torch.compile(run, fullgraph=True), *inputs(SHAPES[1], torch.float32))
    for one, other in zip(eager, compiled, strict=True):
        torch.testing.assert_close(one, other)


def test_the_operation_is_what_pytorch_asks_of_one() -> None:
    skip_without_kernels(torch.float32)
    x, bias, _ = inputs(SHAPES[1], torch.float32)
    torch.library.opcheck(apply_gelu, (x.requires_grad_(), bias.requires_grad_()))


def skip_without_kernels(dtype: torch.dtype) -> None:
    """Skip where this CPU has no kernels."""
    if not cpu.supports_dtype(dtype):
        pytest.skip(f"no kernels for {dtype} on this CPU")
