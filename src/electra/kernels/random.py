"""Random numbers with an address: a counter hash instead of a generator's history.

A stream of random numbers has a 32-bit key, which is a hash of what the stream is for (seed, epoch, row, purpose,
layer …). A number in it has a counter. Nothing is drawn in order, so the same address gives the same number on any
number of processes, in any micro-batch, after any resume, in forward and backward.

Keys start from numbers in memory, a batch's addresses, never from an ``arange`` inside a compiled function: Inductor
takes that for an index, whose arithmetic does not wrap (torch 2.13, CPU).

Everything is int32 arithmetic that wraps, because PyTorch does not have unsigned shifts on every device: a logical
shift is an arithmetic one and a mask. The finaliser is ``lowbias32`` (Chris Wellons, "Prospecting for Hash Functions",
2018).
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

P = ParamSpec("P")
T = TypeVar("T")

MULTIPLY_1, MULTIPLY_2 = 0x7FEB352D, 0x846CA68B - (1 << 32)
WEYL = 0x9E3779B9 - (1 << 32)  # 2³² / golden ratio, as int32: neighbouring words lie far apart
SECOND = 0x5851F42D  # what the second half of a stream's name is folded with
STEPS = 1 << 23  # a float32 in (0, 1) holds 23 bits and a half step exactly
# Inductor computes an arange inside a CPU kernel one number at a time, which costs five times the hash: hence a table.
COLUMNS = torch.arange(1 << 14, dtype=torch.int32)


def skip_compiling_on_cpu(function: Callable[P, T]) -> Callable[P, T]:
    """A decorator: torch.compile leaves the function to Python where the tensors among its positional arguments are on
    a CPU. At least one of them is a tensor.

    It is for keys and masks, a hash for each row or token. Python needs two milliseconds for those of 16 x 128 tokens;
    to compile them took a third of the time to the first step (docs/log.md).
    """
    aside: Callable[P, T] = torch.compiler.disable(function)

    @wraps(function)
    def call(*arguments: P.args, **named: P.kwargs) -> T:
        on_cpu = all(each.device.type == "cpu" for each in arguments if isinstance(each, Tensor))
        return (aside if on_cpu else function)(*arguments, **named)

    return call


def make_key(*words: int) -> int:
    """The key of a list of words: a signed 32-bit integer, equal to folding them into 0 one after another."""
    value = 0
    for word in words:
        value = _fold_int(value, word)
    return value


def fold(keys: Int[Tensor, "*shape"], word: int | Int[Tensor, "*other"]) -> Int[Tensor, "*broadcast"]:
    """int32: each key hashed with ``word``, an int or int32 numbers that are broadcast against ``keys``."""
    return _mix(keys ^ (_mix(word * WEYL + WEYL) if isinstance(word, Tensor) else _mix_word(word)))


def uniform(keys: Int[Tensor, " rows"], count: int) -> Float[Tensor, "rows count"]:
    """The first ``count`` numbers of each stream, float32, uniform in the open interval (0, 1) in steps of 2⁻²³."""
    bits = _random_bits(keys[:, None], _mix(keys ^ SECOND)[:, None], _count_up(count, keys.device))
    return (_shift_right(bits, 9).float() + 0.5) * (1 / STEPS)


@skip_compiling_on_cpu
def derive_keys(keys: Int[Tensor, "*shape"], *words: int | Int[Tensor, "*other"]) -> Int[Tensor, "*broadcast"]:
    """``fold`` of one word after another."""
    for word in words:
        keys = fold(keys, word)
    return keys


@skip_compiling_on_cpu
def derive_streams(keys: Int[Tensor, " rows"], sites: Int[Tensor, " sites"]) -> Int[Tensor, "sites 2 rows"]:
    """int32: for each place of dropout and each key the two words of a stream, as ``drop`` takes them."""
    folded = fold(keys, sites[:, None])
    return torch.stack([folded, _mix(folded ^ SECOND)], dim=1)


def drop(x: Float[Tensor, "rows *rest"], stream: Int[Tensor, "2 rows"] | None, p: float) -> Float[Tensor, "rows *rest"]:
    """``x`` with each element set to 0 with probability ``p`` and the others divided by 1 − p, in x's own dtype.

    An element's counter is its flat index inside its row, which must hold fewer than 2³¹ elements. Without a stream
    (evaluation), or with p = 0, ``x`` itself.
    """
    if stream is None or p == 0.0:
        return x
    rows, columns = x.shape[0], x.shape[-1]
    lines = torch.arange(x.numel() // (rows * columns), dtype=torch.int32, device=x.device) * columns
    counters = lines.view(*x.shape[1:-1], 1) + _count_up(columns, x.device)
    first, second = stream.view(2, rows, *(1,) * (x.ndim - 1))
    bits = _random_bits(first, second, counters)
    # By sign, not by comparison: if a compiled step keeps the mask for its backward pass, a CPU stores and loads int8
    # at the speed of memory, but booleans one by one (torch 2.13: 20 times as slowly).
    kept = ((bits >> 1) - (round(p * 2**31) - 2**30) >> 31).to(torch.int8) + 1
    return x * (1 / (1 - p)) * kept


def dropout(
    x: Float[Tensor, "rows *rest"], keys: Int[Tensor, " rows"] | None, site: int, p: float
) -> Float[Tensor, "rows *rest"]:
    """``drop`` with each row's stream of a ``site``, a number that tells the places of a model's dropout apart."""
    if keys is None or p == 0.0:
        return x
    folded = fold(keys, site)
    return drop(x, torch.stack([folded, _mix(folded ^ SECOND)]), p)


def _random_bits(first: Tensor, second: Tensor, counters: Tensor) -> Tensor:
    """32 random bits for each counter of each stream. A stream has two words, its key and the key mixed once more: with
    only one word, streams would be shifts of one another.

    In place, unlike ``_mix``: uncompiled, new memory for each operation would cost as much as the arithmetic.
    """
    bits = counters + first
    bits ^= _shift_right(bits, 16)
    bits *= MULTIPLY_1
    bits += second
    bits ^= _shift_right(bits, 15)
    bits *= MULTIPLY_2
    bits ^= _shift_right(bits, 16)
    return bits


def _count_up(count: int, device: torch.device) -> Tensor:
    """int32 0, 1, … count − 1."""
    if device.type == "cpu" and count <= len(COLUMNS):
        return COLUMNS[:count]
    return torch.arange(count, dtype=torch.int32, device=device)


def _mix(bits: Tensor) -> Tensor:
    """lowbias32: a bijection of 32-bit integers in which every input bit flips every output bit half the time."""
    bits = (bits ^ _shift_right(bits, 16)) * MULTIPLY_1
    bits = (bits ^ _shift_right(bits, 15)) * MULTIPLY_2
    return bits ^ _shift_right(bits, 16)


def _shift_right(bits: Tensor, by: int) -> Tensor:
    """Logical right shift of int32."""
    bits = bits >> by
    bits &= (1 << (32 - by)) - 1
    return bits


def _fold_int(keys: int, word: int) -> int:
    """``fold`` of Python integers."""
    return _mix_int(keys ^ _mix_word(word))


def _mix_word(word: int) -> int:
    """A word of any size as 32 mixed bits, signed."""
    return _mix_int(word * WEYL + WEYL)


def _mix_int(bits: int) -> int:
    """``_mix`` of a Python integer."""
    bits &= 0xFFFFFFFF
    bits = ((bits ^ bits >> 16) * MULTIPLY_1) & 0xFFFFFFFF
    bits = ((bits ^ bits >> 15) * MULTIPLY_2) & 0xFFFFFFFF
    bits ^= bits >> 16
    return bits - (1 << 32) if bits >= 1 << 31 else bits
