"""Attention inside documents in one pass, for a GPU: the scores are never stored (FlashAttention-2, Dao, 2023).

A program holds a block of queries and goes over the keys that they may see, block by block, with a running maximum and
sum. It finds those blocks itself: a packed row's documents stand side by side, so it looks back from the block's first
position as long as the document goes on, and ahead from its last. Rows of many short documents and narrow windows cost
what they see, not the square of the row's length.

The backward pass computes the probabilities again, twice: for the queries' gradients, and for those of the keys and
values, so that no sum depends on the order in which programs run.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 64  # queries, and keys, of a program's product
WARPS = 8  # with 4 the keys' gradients do not fit into a Hopper GPU's registers


@triton.jit
def _span(documents, first, length, block: tl.constexpr, reach: tl.constexpr, back: tl.constexpr, ahead: tl.constexpr):
    """The first position that those of a block see, and the one after the last: in whole blocks, or to the row's
    end."""
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
    """The positions ``at`` of a row and head, [positions, width]: 0 beyond the row and beyond the head's ``dim``."""
    inner = tl.arange(0, width)
    inside = (at < length)[:, None] & (inner < dim)[None, :]
    base += row.to(tl.int64) * strides[0] + head * strides[1]
    return tl.load(base + at[:, None] * strides[2] + inner[None, :], mask=inside, other=0.0)


@triton.jit
def _store(values, base, strides, row, head, at, length, dim: tl.constexpr, width: tl.constexpr):
    """Write what ``_load`` reads, without what is beyond the row and the head."""
    inner = tl.arange(0, width)
    inside = (at < length)[:, None] & (inner < dim)[None, :]
    base += row.to(tl.int64) * strides[0] + head * strides[1]
    tl.store(base + at[:, None] * strides[2] + inner[None, :], values.to(base.dtype.element_ty), mask=inside)


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
    query_documents = tl.load(documents + i, mask=i < length, other=-1)
    key_documents = tl.load(documents + j, mask=j < length, other=-2)
    seen = query_documents[:, None] == key_documents[None, :]
    if reach >= 0:
        seen &= tl.abs(i[:, None] - j[None, :]) <= reach
    if not ahead:
        seen &= j[None, :] <= i[:, None]
    if not back:
        seen &= j[None, :] >= i[:, None]
    return tl.where(seen, _product(q, tl.trans(k), upcast) * scale, float("-inf"))


@triton.jit
def _xor_shift(bits, by: tl.constexpr):
    """bits ^ (bits >> by), with a logical shift."""
    return bits ^ (bits >> by)


@triton.jit
def _kept(words, row, rows, head, i, j, length, threshold):
    """Whether the probability of each pair (i, j) is kept: ``random.drop`` at the pair's address, bit for bit."""
    counters = ((head * length + i[:, None]) * length + j[None, :]).to(tl.uint32, bitcast=True)
    first = tl.load(words + row).to(tl.uint32, bitcast=True)
    second = tl.load(words + rows + row).to(tl.uint32, bitcast=True)
    bits = _xor_shift(counters + first, 16) * 0x7FEB352D + second
    bits = _xor_shift(_xor_shift(bits, 15) * 0x846CA68B, 16).to(tl.int32, bitcast=True)
    return (bits >> 1) >= threshold


@triton.jit
def _forward(q, k, v, out, sums, documents, words, q_strides, k_strides, v_strides, o_strides, rows, heads, length,
             scale, threshold, keep_scale, dim: tl.constexpr, width: tl.constexpr, block: tl.constexpr,
             drops: tl.constexpr, reach: tl.constexpr, back: tl.constexpr, ahead: tl.constexpr,
             upcast: tl.constexpr):  # fmt: skip
    """For a block of queries what they read, and the log-sum-exp of their scores."""
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
        safe = tl.where(higher == float("-inf"), 0.0, higher)  # 0 for queries that have seen nothing so far
        weights, before = tl.exp(scores - safe[:, None]), tl.exp(top - safe)
        total = total * before + tl.sum(weights, 1)
        if drops:
            weights = tl.where(_kept(words, row, rows, head, i, j, length, threshold), weights * keep_scale, 0.0)
        read = read * before[:, None] + _product(weights.to(value.dtype), value, upcast)
        top = higher
    real = i < length
    total = tl.where(real, total, 1.0)
    _store(read / total[:, None], out, o_strides, row, head, i, length, dim, width)
    tl.store(sums + tl.program_id(0).to(tl.int64) * length + i, top + tl.log(total), mask=real)


@triton.jit
def _query_gradients(q, k, v, slopes, sums, shared, out, documents, words, q_strides, k_strides, v_strides, s_strides,
                     o_strides, rows, heads, length, scale, threshold, keep_scale, dim: tl.constexpr,
                     width: tl.constexpr, block: tl.constexpr, drops: tl.constexpr, reach: tl.constexpr,
                     back: tl.constexpr, ahead: tl.constexpr, upcast: tl.constexpr):  # fmt: skip
    """The gradient of a block of queries. ``slopes``: the gradient of what they read; ``shared``: its inner product
    with what they read."""
    row, head, first = tl.program_id(0) // heads, tl.program_id(0) % heads, tl.program_id(1) * block
    documents += row * length
    i = first + tl.arange(0, block)
    query = _load(q, q_strides, row, head, i, length, dim, width)
    slope = _load(slopes, s_strides, row, head, i, length, dim, width)
    at = tl.program_id(0).to(tl.int64) * length + i
    log_sum, common = tl.load(sums + at, mask=i < length, other=0.0), tl.load(shared + at, mask=i < length, other=0.0)
    of_query = tl.zeros((block, width), tl.float32)
    low, high = _span(documents, first, length, block, reach, back, ahead)
    for start in range(low, high, block):
        j = start + tl.arange(0, block)
        key = _load(k, k_strides, row, head, j, length, dim, width)
        value = _load(v, v_strides, row, head, j, length, dim, width)
        scores = _scores(query, key, i, j, documents, length, scale, reach, back, ahead, upcast)
        of_weights = _product(slope, tl.trans(value), upcast)
        if drops:
            of_weights = tl.where(_kept(words, row, rows, head, i, j, length, threshold), of_weights * keep_scale, 0.0)
        of_scores = tl.exp(scores - log_sum[:, None]) * (of_weights - common[:, None])
        of_query += _product(of_scores.to(key.dtype), key, upcast)
    _store(of_query * scale, out, o_strides, row, head, i, length, dim, width)


@triton.jit
def _key_gradients(q, k, v, slopes, sums, shared, k_out, v_out, documents, words, q_strides, k_strides, v_strides,
                   s_strides, o_strides, rows, heads, length, scale, threshold, keep_scale, dim: tl.constexpr,
                   width: tl.constexpr, block: tl.constexpr, drops: tl.constexpr, reach: tl.constexpr,
                   back: tl.constexpr, ahead: tl.constexpr, upcast: tl.constexpr):  # fmt: skip
    """The gradients of a block of keys and of their values, summed over all queries that see them."""
    row, head, first = tl.program_id(0) // heads, tl.program_id(0) % heads, tl.program_id(1) * block
    documents += row * length
    j = first + tl.arange(0, block)
    key = _load(k, k_strides, row, head, j, length, dim, width)
    value = _load(v, v_strides, row, head, j, length, dim, width)
    of_key, of_value = tl.zeros((block, width), tl.float32), tl.zeros((block, width), tl.float32)
    low, high = _span(documents, first, length, block, reach, ahead, back)  # a query that sees ahead is behind its keys
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
            of_weights, dropped = (
                tl.where(kept, of_weights * keep_scale, 0.0),
                tl.where(kept, weights * keep_scale, 0.0),
            )
        of_value += _product(tl.trans(dropped.to(slope.dtype)), slope, upcast)
        of_scores = weights * (of_weights - common[:, None])
        of_key += _product(tl.trans(of_scores.to(query.dtype)), query, upcast)
    _store(of_key * scale, k_out, o_strides, row, head, j, length, dim, width)
    _store(of_value, v_out, o_strides, row, head, j, length, dim, width)


def run_forward(
    q: Tensor, k: Tensor, v: Tensor, out: Tensor, sums: Tensor, documents: Tensor, words: Tensor, drops: float,
    reach: int, back: bool, ahead: bool,
) -> None:  # fmt: skip
    """Write what each position reads into ``out``, and the log-sum-exp of its scores into ``sums``."""
    numbers, constants = launch_arguments(q, drops)
    grid = (q.shape[0] * q.shape[1], triton.cdiv(q.shape[2], BLOCK))
    with torch.cuda.device_of(q):  # Triton launches on the current device, wherever the tensors are
        _forward[grid](
            q, k, v, out, sums, documents, words, *outer_strides(q, k, v, out), *numbers, **constants, reach=reach,
            back=back, ahead=ahead,
        )  # fmt: skip


def run_backward(
    q: Tensor, k: Tensor, v: Tensor, out: Tensor, slopes: Tensor, sums: Tensor, documents: Tensor, words: Tensor,
    of_q: Tensor, of_k: Tensor, of_v: Tensor, drops: float, reach: int, back: bool, ahead: bool,
) -> None:  # fmt: skip
    """Write the gradients of queries, keys and values into ``of_q``, ``of_k`` and ``of_v``."""
    shared = (out.float() * slopes).sum(3).contiguous()  # Σ_j p_ij ∂p_ij, with or without dropout
    numbers, constants = launch_arguments(q, drops)
    grid = (q.shape[0] * q.shape[1], triton.cdiv(q.shape[2], BLOCK))
    sides = {"reach": reach, "back": back, "ahead": ahead}
    shapes = *outer_strides(q, k, v, slopes, of_q), *numbers
    with torch.cuda.device_of(q):
        _query_gradients[grid](q, k, v, slopes, sums, shared, of_q, documents, words, *shapes, **constants, **sides)
        _key_gradients[grid](q, k, v, slopes, sums, shared, of_k, of_v, documents, words, *shapes, **constants, **sides)


def outer_strides(*tensors: Tensor) -> list[tuple[int, ...]]:
    """The strides of each tensor's rows, heads and positions."""
    return [tensor.stride()[:3] for tensor in tensors]


def launch_arguments(q: Tensor, drops: float) -> tuple[list[int | float], dict[str, int | bool]]:
    """The kernels' arguments for shapes and dropout, and the constants that they are compiled with."""
    rows, heads, length, dim = q.shape
    numbers: list[int | float] = [
        rows, heads, length, dim**-0.5, round(drops * 2**31) - 2**30, 1 / (1 - drops),
    ]  # fmt: skip
    width = max(16, triton.next_power_of_2(dim))
    constants = {"dim": dim, "width": width, "block": BLOCK, "drops": drops > 0, "upcast": not q.is_cuda}
    return numbers, constants | {"num_warps": WARPS}
