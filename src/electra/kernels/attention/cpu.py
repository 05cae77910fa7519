"""Attention inside documents in one pass, for a CPU: what calls ``cpu.cpp``."""

import ctypes

import torch
from torch import Tensor

from electra.kernels import cpu


class AttentionArguments(ctypes.Structure):
    """What the kernels are told beside the tensors, in the order of ``cpu.cpp``."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("rows", "heads", "length", "dim", "threads", "reach", "back", "ahead")),
        *((name, ctypes.c_int64) for name in ("drops", "threshold")),
        *((name, ctypes.c_double) for name in ("scale", "larger")),
    ]


def forward(
    q: Tensor, k: Tensor, v: Tensor, out: Tensor, sums: Tensor, documents: Tensor, words: Tensor, drops: float,
    reach: int, back: bool, ahead: bool,
) -> None:  # fmt: skip
    """Fill ``out`` and ``sums``: see ``operation.attend``."""
    told = pack_arguments(q, drops, reach, back, ahead)
    cpu.call_kernel(
        "attention_forward", q.dtype, told, q, k, v, out, sums, documents, words, pack_strides(q, k, v, out)
    )  # fmt: skip


def backward(
    q: Tensor, k: Tensor, v: Tensor, out: Tensor, slopes: Tensor, sums: Tensor, documents: Tensor, words: Tensor,
    of_q: Tensor, of_k: Tensor, of_v: Tensor, drops: float, reach: int, back: bool, ahead: bool,
) -> None:  # fmt: skip
    """Fill the gradients of queries, keys and values: see ``operation.gelu_gradients``."""
    told = pack_arguments(q, drops, reach, back, ahead)
    cpu.call_kernel(
        "attention_backward", q.dtype, told, q, k, v, out, slopes, sums, documents, words, of_q, of_k, of_v,
        pack_strides(q, k, v, out, slopes, of_q, of_k, of_v),
    )  # fmt: skip


def pack_arguments(q: Tensor, drops: float, reach: int, back: bool, ahead: bool) -> ctypes.Array:
    """The shapes, and what a position sees; as something that is given by its address."""
    rows, heads, length, dim = q.shape
    told = AttentionArguments(
        rows, heads, length, dim, torch.get_num_threads(), length if reach < 0 else min(reach, length), back, ahead,
        drops > 0, round(drops * 2**31) - 2**30, dim**-0.5, 1 / (1 - drops),
    )  # fmt: skip
    return (AttentionArguments * 1)(told)


def pack_strides(*tensors: Tensor) -> ctypes.Array:
    """Of rows, heads and positions of each."""
    steps = [step for tensor in tensors for step in tensor.stride()[:3]]
    assert all(step % 2 == 0 for step in steps), "pairs of bfloat16 are moved as one number"
    return (ctypes.c_int64 * len(steps))(*steps)
