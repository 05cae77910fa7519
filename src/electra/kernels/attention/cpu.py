"""Attention inside documents in one pass, for a CPU: calls the kernels of ``cpu.cpp``."""

import ctypes

import torch
from torch import Tensor

from electra.kernels import cpu


class AttentionArguments(ctypes.Structure):
    """The kernels' arguments besides the tensors, in the order of ``Arguments`` in ``cpu.cpp``."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("rows", "heads", "length", "dim", "threads", "reach", "back", "ahead")),
        *((name, ctypes.c_int64) for name in ("drops", "threshold")),
        *((name, ctypes.c_double) for name in ("scale", "keep_scale")),
    ]


def run_forward(
    q: Tensor, k: Tensor, v: Tensor, out: Tensor, sums: Tensor, documents: Tensor, words: Tensor, drops: float,
    reach: int, back: bool, ahead: bool,
) -> None:  # fmt: skip
    """Write what each position reads into ``out``, and the log-sum-exp of its scores into ``sums``."""
    arguments = pack_arguments(q, drops, reach, back, ahead)
    cpu.call_kernel(
        "attention_forward", q.dtype, arguments, q, k, v, out, sums, documents, words, pack_strides(q, k, v, out)
    )  # fmt: skip


def run_backward(
    q: Tensor, k: Tensor, v: Tensor, out: Tensor, slopes: Tensor, sums: Tensor, documents: Tensor, words: Tensor,
    of_q: Tensor, of_k: Tensor, of_v: Tensor, drops: float, reach: int, back: bool, ahead: bool,
) -> None:  # fmt: skip
    """Write the gradients of queries, keys and values into ``of_q``, ``of_k`` and ``of_v``."""
    arguments = pack_arguments(q, drops, reach, back, ahead)
    cpu.call_kernel(
        "attention_backward", q.dtype, arguments, q, k, v, out, slopes, sums, documents, words, of_q, of_k, of_v,
        pack_strides(q, k, v, out, slopes, of_q, of_k, of_v),
    )  # fmt: skip


def pack_arguments(q: Tensor, drops: float, reach: int, back: bool, ahead: bool) -> ctypes.Array:
    """The shapes, what a position sees and what is dropped, as an array, which ctypes passes by its address."""
    rows, heads, length, dim = q.shape
    arguments = AttentionArguments(
        rows, heads, length, dim, torch.get_num_threads(), length if reach < 0 else min(reach, length), back, ahead,
        drops > 0, round(drops * 2**31) - 2**30, dim**-0.5, 1 / (1 - drops),
    )  # fmt: skip
    return (AttentionArguments * 1)(arguments)


def pack_strides(*tensors: Tensor) -> ctypes.Array:
    """The strides of each tensor's rows, heads and positions, one after another."""
    strides = [stride for tensor in tensors for stride in tensor.stride()[:3]]
    assert all(stride % 2 == 0 for stride in strides), "pairs of bfloat16 are moved as one number"
    return (ctypes.c_int64 * len(strides))(*strides)
