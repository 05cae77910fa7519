"""Attention's kernels against float64 and their twin, dropout included: the CPU's, compiled as torch.compile compiles,
and the GPU's, which Triton's interpreter runs where there is none."""

import pytest
import torch
import torch._inductor.config
from torch import Tensor
from torch.nn import functional as F

pytest.importorskip("triton", reason="Triton is for Linux")

from electra.kernels import Kernels, cpu
from electra.kernels.attention import operation as attention_fused
from electra.kernels.attention.operation import attention
from electra.kernels.attention.twin import Direction, explicit_attention, visibility_mask
from electra.kernels.random import derive_streams, fold

pytestmark = pytest.mark.compiled  # the hook that checks shapes would change the kernels' source

CPU = torch.device("cpu")
WHERE = {"cpu": CPU, "cuda": torch.device("cuda" if torch.cuda.is_available() else "cpu")}
SHAPES = [(2, 1, 9, 8), (1, 2, 64, 16), (2, 2, 150, 20), (1, 1, 131, 72)]  # rows, heads, length, a head's size
SIDES: list[Direction] = ["both", "left", "right"]

each_kernel = pytest.mark.parametrize("kernels", list(WHERE))


def inputs(
    shape: tuple[int, int, int, int], device: torch.device, dtype: torch.dtype = torch.float32
) -> tuple[list[Tensor], Tensor]:
    """Queries, keys and values as one product gives them, and documents: several in a row, and padding at its end."""
    rows, heads, length, dim = shape
    random = torch.Generator().manual_seed(length)
    qkv = torch.randn(rows, length, 3, heads, dim, generator=random).to(device, dtype)
    starts = torch.rand(rows, length, generator=random) < 0.03
    documents = starts.cumsum(1) + 1
    documents[:, length - length // 10 :] = 0
    return [tensor.requires_grad_() for tensor in qkv.permute(2, 0, 3, 1, 4).unbind(0)], documents.to(device)


def words(rows: int, device: torch.device) -> Tensor:
    """A stream of random numbers for each row."""
    return derive_streams(fold(torch.arange(rows, dtype=torch.int32), 4), torch.tensor([9], dtype=torch.int32))[0].to(
        device
    )


def both(leaves: list[Tensor], run) -> list[Tensor]:
    """What a way of attention gives, and the gradients of a sum of it."""
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    out = run(*leaves)
    slopes = torch.linspace(-1, 1, out.numel(), device=out.device).reshape(out.shape).to(out.dtype)
    return [out.detach(), *torch.autograd.grad(out, leaves, slopes)]


@each_kernel
@pytest.mark.parametrize("window", [None, 0, 21, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_are_those_of_float64(
    shape: tuple[int, int, int, int], dtype: torch.dtype, window: int | None, kernels: Kernels
) -> None:
    skip_without_kernels(kernels, dtype)
    leaves, documents = inputs(shape, WHERE[kernels], dtype)
    seen = visibility_mask(documents, window)[:, None]
    ours = both(leaves, lambda *qkv: attention(*qkv, documents, window, None, 0.0, "both", kernels))
    exact = both(
        [leaf.double() for leaf in leaves], lambda *qkv: F.scaled_dot_product_attention(*qkv, attn_mask=seen)
    )  # fmt: skip
    close = 1e-5 if dtype == torch.float32 else 0.02
    for one, other in zip(ours, exact, strict=True):
        assert one.dtype == dtype
        torch.testing.assert_close(one.double(), other, rtol=close, atol=close * max(1.0, float(other.abs().max())))


@each_kernel
@pytest.mark.parametrize("direction", SIDES)
@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize("shape", SHAPES[1:3])
def test_what_is_dropped_and_seen_is_what_the_twin_drops_and_sees(
    shape: tuple[int, int, int, int], p: float, direction: Direction, kernels: Kernels
) -> None:
    skip_without_kernels(kernels, torch.float32)
    leaves, documents = inputs(shape, WHERE[kernels])
    stream, window = words(shape[0], WHERE[kernels]), 40
    ours = both(leaves, lambda *qkv: attention(*qkv, documents, window, stream, p, direction, kernels))
    seen = visibility_mask(documents, window, direction)
    theirs = both(leaves, lambda *qkv: explicit_attention(*qkv, seen, stream, p))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@each_kernel
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_a_block_cannot_see_is_not_even_read(dtype: torch.dtype, kernels: Kernels) -> None:
    """Numbers that are none spread to whatever adds them to a sum, be it 0 times. So a block of queries whose document
    ends before a block of keys begins costs nothing there."""
    skip_without_kernels(kernels, dtype)
    leaves, documents = inputs((1, 1, 256, 16), WHERE[kernels], dtype)
    documents[:, :128], documents[:, 128:] = 1, 2
    with torch.no_grad():
        for leaf in leaves:
            leaf[:, :, 128:] = float("nan")
    results = both(leaves, lambda *qkv: attention(*qkv, documents, None, None, 0.0, "both", kernels))
    assert all(tensor[:, :, :128].isfinite().all() for tensor in results)
    assert results[0][:, :, 128:].isnan().all()


@each_kernel
def test_compiled_and_eager_agree_and_trace_without_breaks(kernels: Kernels) -> None:
    skip_without_kernels(kernels, torch.float32)
    leaves, documents = inputs(SHAPES[2], WHERE[kernels])
    stream = words(2, WHERE[kernels])
    run = lambda *qkv: attention(*qkv, documents, None, stream, 0.1, "both", kernels)  # noqa: E731
    for one, other in zip(both(leaves, run), both(leaves, torch.compile(run, fullgraph=True)), strict=True):
        torch.testing.assert_close(one, other)


@each_kernel
def test_the_operations_are_what_pytorch_asks_of_one(kernels: Kernels) -> None:
    skip_without_kernels(kernels, torch.float32)
    leaves, documents = inputs(SHAPES[0], WHERE[kernels])
    stream = words(2, WHERE[kernels])
    torch.library.opcheck(
        attention_fused.attend, (*leaves, documents.int(), stream, 0.2, 5, True, False, kernels)
    )  # fmt: skip


def test_on_a_cpu_the_number_of_threads_changes_nothing() -> None:
    skip_without_kernels("cpu", torch.float32)
    leaves, documents = inputs((3, 2, 70, 16), CPU)
    run = lambda *qkv: attention(*qkv, documents, 20, words(3, CPU), 0.2, "both", "cpu")  # noqa: E731
    threads, results = torch.get_num_threads(), []
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        results.append(both(leaves, run))
    torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(results[0], other, strict=True))


def test_a_cpu_with_narrower_vectors_computes_the_same() -> None:
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        pytest.skip("its vectors are the narrower ones")
    leaves, documents = inputs((2, 2, 150, 20), CPU)
    run = lambda *qkv: attention(*qkv, documents, 40, words(2, CPU), 0.1, "both", "cpu")  # noqa: E731
    wide = both(leaves, run)
    cpu.load_library.cache_clear()
    with torch._inductor.config.patch({"cpp.simdlen": 256}):
        narrow = both(leaves, run)
    cpu.load_library.cache_clear()
    for one, other in zip(wide, narrow, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_heads_of_an_odd_width_keep_the_twin() -> None:
    leaves, documents = inputs((1, 2, 12, 5), CPU)
    ours = both(leaves, lambda *qkv: attention(*qkv, documents, None, None, 0.0, "both", "cpu"))
    theirs = both(leaves, lambda *qkv: attention(*qkv, documents, None, None, 0.0))
    assert all(torch.equal(one, two) for one, two in zip(ours, theirs, strict=True))


def skip_without_kernels(kernels: Kernels, dtype: torch.dtype) -> None:
    """Skip where this CPU has no products as its kernel wants them."""
    if kernels == "cpu" and not cpu.supports_dtype(dtype):
        pytest.skip(f"no kernels for {dtype} on this CPU")
