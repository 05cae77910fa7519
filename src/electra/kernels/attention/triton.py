"""Attention inside documents in one pass, for a GPU: the scores are never stored (FlashAttention-2, Dao, 2023).

A program holds a block of queries and goes over the keys that they may see, block by block, with a running maximum and
sum. Which blocks those are it finds by itself: a packed row's documents stand side by side, so from the block's first
position it looks back as long as the document goes on, and ahead from its last. Rows of many short documents and narrow
windows cost what they see, not the square of the row.

The backward pass computes the probabilities again, twice: for the queries' gradients, and for the keys' and values',
so that no sum depends on the order in which programs run.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 64  # queries, and keys, of a program's product
WARPS = 8  # with 4 the keys' gradients do not fit into a Hopper GPU's registers


@triton.jit
def _span(documents, first, length, block: tl.constexpr, reach: tl.constexpr, back: tl.constexpr, ahead: tl.constexpr):
    """From where to where the positions of a block see, at most: in whole blocks, or to the end of the row."""
    low = first
    if back:
        own = tl.load(documents + first)
        while (low > 0) & (tl.load(documents + tl.maximum(low - 1, 0)) == own):
            low -= block
        if reach >= 0:
            low = tl.maximum(low, tl.maximum(first - reach, 0) // block * block)
    high = tl.minimum(first + block, length)
    if ahead:
        own = tl.load(documents + high - 1)
        while (high < length) & (tl.load(documents + tl.minimum(high, length - 1)) == own):
            high = tl.minimum(high + block, length)
        if reach >= 0:
            high = tl.minimum(high, first + block + reach)
    return low, high


@triton.jit
def _load(base, strides, row, head, at, length, dim: tl.constexpr, width: tl.constexpr):
    """[positions, width] of a row and head: 0 beyond the row and beyond the head."""
    inner = tl.arange(0, width)
    there = (at < length)[:, None] & (inner < dim)[None, :]
    base += row.to(tl.int64) * strides[0] + head * strides[1]
    return tl.load(base + at[:, None] * strides[2] + inner[None, :], mask=there, other=0.0)


@triton.jit
def _store(values, base, strides, row, head, at, length, dim: tl.constexpr, width: tl.constexpr):
    """The same the other way."""
    inner = tl.arange(0, width)
    there = (at < length)[:, None] & (inner < dim)[None, :]
    base += row.to(tl.int64) * strides[0] + head * strides[1]
    tl.store(base + at[:, None] * strides[2] + inner[None, :], values.to(base.dtype.element_ty), mask=there)


@triton.jit
def _product(one, other, upcast: tl.constexpr):
    """one · other, summed in float32."""
    if upcast:  # the interpreter multiplies the bits of bfloat16
        one, other = one.to(tl.float32), other.to(tl.float32)
    return tl.dot(one, other, input_precision="ieee")


@triton.jit
def _scores(q, k, i, j, documents, length, scale, reach: tl.constexpr, back: tl.constexpr, ahead: tl.constexpr,
            upcast: tl.constexpr):  # fmt: skip
    """float32 [queries i, keys j]: q kᵀ · scale, −∞ where i does not see j."""
    here = tl.load(documents + i, mask=i < length, other=-1)
    there = tl.load(documents + j, mask=j < length, other=-2)
    seen = here[:, None] == there[None, :]
    if reach >= 0:
        seen &= tl.abs(i[:, None] - j[None, :]) <= reach
    if not ahead:
        seen &= j[None, :] <= i[:, None]
    if not back:
        seen &= j[None, :] >= i[:, None]
    return tl.where(seen, _product(q, tl.trans(k), upcast) * scale, float("-inf"))


@triton.jit
def _xor_shift(bits, by: tl.constexpr):
    """bits ^ (bits >> by), the shift a logical one."""
    return bits ^ (bits >> by)


@triton.jit
def _kept(words, row, rows, head, i, j, length, threshold):
    """Whether the probability of a pair is kept: ``random.drop`` at the pair's address, bit for bit."""
    counters = ((head * length + i[:, None]) * length + j[None, :]).to(tl.uint32, bitcast=True)
    first = tl.load(words + row).to(tl.uint32, bitcast=True)
    second = tl.load(words + rows + row).to(tl.uint32, bitcast=True)
    bits = _xor_shift(counters + first, 16) * 0x7FEB352D + second
    bits = _xor_shift(_xor_shift(bits, 15) * 0x846CA68B, 16).to(tl.int32, bitcast=True)
    return (bits >> 1) >= threshold


@triton.jit
def _forward(q, k, v, out, sums, documents, words, q_strides, k_strides, v_strides, o_strides, rows, heads, length,
             scale, threshold, larger, dim: tl.constexpr, width: tl.constexpr, block: tl.constexpr, drops: tl.constexpr,
             reach: tl.constexpr, back: tl.constexpr, ahead: tl.constexpr, upcast: tl.constexpr):  # fmt: skip
    """A block of queries: what it reads, and the logarithm of the sum of its exponentials."""
    row, head, first = tl.program_id(0) // heads, tl.program_id(0) % heads, tl.program_id(1) * block
    documents += row * length
    i = first + tl.arange(0, block)
    query = _load(q, q_strides, row, head, i, length, dim, width)
    top = tl.full((block,), float("-inf"), tl.float32)
    total, read = tl.zeros((block,), tl.float32), tl.zeros((block, width), tl.float32)
    low, high = _span(documents, first, length, block, reach, back, ahead)
    for start in range(low, high, block):
        j = start + tl.arange(0, block)
        key = _load(k, k_strides, row, head, j, length, dim, width)
        value = _load(v, v_strides, row, head, j, length, dim, width)
        scores = _scores(query, key, i, j, documents, length, scale, reach, back, ahead, upcast)
        higher = tl.maximum(top, tl.max(scores, 1))
        safe = tl.where(higher == float("-inf"), 0.0, higher)  # where nothing is seen so far
        weights, before = tl.exp(scores - safe[:, None]), tl.exp(top - safe)
        total = total * before + tl.sum(weights, 1)
        if drops:
            weights = tl.where(_kept(words, row, rows, head, i, j, length, threshold), weights * larger, 0.0)
        read = read * before[:, None] + _product(weights.to(value.dtype), value, upcast)
        top = higher
    real = i < length
    total = tl.where(real, total, 1.0)
    _store(read / total[:, None], out, o_strides, row, head, i, length, dim, width)
    tl.store(sums + tl.program_id(0).to(tl.int64) * length + i, top + tl.log(total), mask=real)


@triton.jit
def _of_queries(q, k, v, slopes, sums, shared, out, documents, words, q_strides, k_strides, v_strides, s_strides,
                o_strides, rows, heads, length, scale, threshold, larger, dim: tl.constexpr, width: tl.constexpr,
                block: tl.constexpr, drops: tl.constexpr, reach: tl.constexpr, back: tl.constexpr, ahead: tl.constexpr,
                upcast: tl.constexpr):  # fmt: skip
    """The gradient of a block of queries. ``slopes``: of what they read; ``shared``: its product with that."""
    row, head, first = tl.program_id(0) // heads, tl.program_id(0) % heads, tl.program_id(1) * block
    documents += row * length
    i = first + tl.arange(0, block)
    query = _load(q, q_strides, row, head, i, length, dim, width)
    slope = _load(slopes, s_strides, row, head, i, length, dim, width)
    at = tl.program_id(0).to(tl.int64) * length + i
    log_sum, common = tl.load(sums + at, mask=i < length, other=0.0), tl.load(shared + at, mask=i < length, other=0.0)
    found = tl.zeros((block, width), tl.float32)
    low, high = _span(documents, first, length, block, reach, back, ahead)
    for start in range(low, high, block):
        j = start + tl.arange(0, block)
        key = _load(k, k_strides, row, head, j, length, dim, width)
        value = _load(v, v_strides, row, head, j, length, dim, width)
        scores = _scores(query, key, i, j, documents, length, scale, reach, back, ahead, upcast)
        of_weights = _product(slope, tl.trans(value), upcast)
        if drops:
            of_weights = tl.where(_kept(words, row, rows, head, i, j, length, threshold), of_weights * larger, 0.0)
        of_scores = tl.exp(scores - log_sum[:, None]) * (of_weights - common[:, None])
        found += _product(of_scores.to(key.dtype), key, upcast)
    _store(found * scale, out, o_strides, row, head, i, length, dim, width)


@triton.jit
def _of_keys(q, k, v, slopes, sums, shared, k_out, v_out, documents, words, q_strides, k_strides, v_strides, s_strides,
             o_strides, rows, heads, length, scale, threshold, larger, dim: tl.constexpr, width: tl.constexpr,
             block: tl.constexpr, drops: tl.constexpr, reach: tl.constexpr, back: tl.constexpr, ahead: tl.constexpr,
             upcast: tl.constexpr):  # fmt: skip
    """The gradients of a block of keys and of their values, from all queries that see them."""
    row, head, first = tl.program_id(0) // heads, tl.program_id(0) % heads, tl.program_id(1) * block
    documents += row * length
    j = first + tl.arange(0, block)
    key = _load(k, k_strides, row, head, j, length, dim, width)
    value = _load(v, v_strides, row, head, j, length, dim, width)
    of_key, of_value = tl.zeros((block, width), tl.float32), tl.zeros((block, width), tl.float32)
    low, high = _span(documents, first, length, block, reach, ahead, back)  # who sees ahead is seen from behind
    for start in range(low, high, block):
        i = start + tl.arange(0, block)
        query = _load(q, q_strides, row, head, i, length, dim, width)
        slope = _load(slopes, s_strides, row, head, i, length, dim, width)
        at = tl.program_id(0).to(tl.int64) * length + i
        log_sum = tl.load(sums + at, mask=i < length, other=0.0)
        common = tl.load(shared + at, mask=i < length, other=0.0)
        scores = _scores(query, key, i, j, documents, length, scale, reach, back, ahead, upcast)
        weights = tl.exp(scores - log_sum[:, None])
        of_weights = _product(slope, tl.trans(value), upcast)
        dropped = weights
        if drops:
            kept = _kept(words, row, rows, head, i, j, length, threshold)
            of_weights, dropped = tl.where(kept, of_weights * larger, 0.0), tl.where(kept, weights * larger, 0.0)
        of_value += _product(tl.trans(dropped.to(slope.dtype)), slope, upcast)
        of_scores = weights * (of_weights - common[:, None])
        of_key += _product(tl.trans(of_scores.to(query.dtype)), query, upcast)
    _store(of_key * scale, k_out, o_strides, row, head, j, length, dim, width)
    _store(of_value, v_out, o_strides, row, head, j, length, dim, width)


def forward(
    q: Tensor, k: Tensor, v: Tensor, out: Tensor, sums: Tensor, documents: Tensor, words: Tensor, drops: float,
    reach: int, back: bool, ahead: bool,
) -> None:  # fmt: skip
    """Fill ``out`` and ``sums``: see ``operation.attend``."""
    numbers, compiled_for = launch_arguments(q, drops)
    grid = (q.shape[0] * q.shape[1], triton.cdiv(q.shape[2], BLOCK))
    with torch.cuda.device_of(q):  # Triton launches on the current device, wherever the tensors are
        _forward[grid](
            q, k, v, out, sums, documents, words, *outer_strides(q, k, v, out), *numbers, **compiled_for, reach=reach,
            back=back, ahead=ahead,
        )  # fmt: skip


def backward(
    q: Tensor, k: Tensor, v: Tensor, out: Tensor, slopes: Tensor, sums: Tensor, documents: Tensor, words: Tensor,
    of_q: Tensor, of_k: Tensor, of_v: Tensor, drops: float, reach: int, back: bool, ahead: bool,
) -> None:  # fmt: skip
    """Fill the gradients of queries, keys and values: see ``operation.gelu_gradients``."""
    shared = (out.float() * slopes).sum(3).contiguous()  # Σ_j p_ij ∂p_ij, dropout or not
    numbers, compiled_for = launch_arguments(q, drops)
    grid = (q.shape[0] * q.shape[1], triton.cdiv(q.shape[2], BLOCK))
    sides = {"reach": reach, "back": back, "ahead": ahead}
    given = *outer_strides(q, k, v, slopes, of_q), *numbers
    with torch.cuda.device_of(q):
        _of_queries[grid](q, k, v, slopes, sums, shared, of_q, documents, words, *given, **compiled_for, **sides)
        _of_keys[grid](q, k, v, slopes, sums, shared, of_k, of_v, documents, words, *given, **compiled_for, **sides)


def outer_strides(*tensors: Tensor) -> list[tuple[int, ...]]:
    """Of rows, heads and positions of each."""
    return [each.stride()[:3] for each in tensors]


def launch_arguments(q: Tensor, drops: float) -> tuple[list[int | float], dict[str, int | bool]]:
    """What the kernels are told of shapes and dropout, and what they are compiled for."""
    rows, heads, length, dim = q.shape
    numbers: list[int | float] = [
        rows, heads, length, dim**-0.5, round(drops * 2**31) - 2**30, 1 / (1 - drops),
    ]  # fmt: skip
    width = max(16, triton.next_power_of_2(dim))
    fixed = {"dim": dim, "width": width, "block": BLOCK, "drops": drops > 0, "upcast": not q.is_cuda}
    return numbers, fixed | {"num_warps": WARPS}
