"""Attention inside documents, as an operation of PyTorch: by kernels of our own if they are asked for, else by the
readable twin, or, if nothing is dropped, by PyTorch's own kernels, which then compute the same.

There are kernels for a CPU in C++ (``cpu``) and for a GPU in Triton (``triton``); torch.compile takes them as one
operation. They have the mask of ``twin.explicit_attention`` and drop what it drops: a probability's random number has
an address, which is the same on every device and at every length. Both keep from the forward pass what each position
reads and the log-sum-exp of its scores; the backward pass computes the rest again.
"""

from importlib import import_module
from types import ModuleType

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from electra.kernels import Kernels
from electra.kernels.attention.twin import Direction, explicit_attention, visibility_mask

MODULES = {"cpu": "cpu", "cuda": "triton"}
KEPT_LENGTH = 256  # the longest row whose probabilities are kept for the backward pass; longer rows compute them again


def attention(
    q: Float[Tensor, "rows heads length dim"],
    k: Float[Tensor, "rows heads length dim"],
    v: Float[Tensor, "rows heads length dim"],
    documents: Int[Tensor, "rows length"],
    window: int | None,
    stream: Int[Tensor, "2 rows"] | None,
    p: float,
    direction: Direction = "both",
    kernels: Kernels = "",
) -> Float[Tensor, "rows heads length dim"]:
    """softmax(q kᵀ / √dim) v over the positions of a row with the same document number, in v's dtype.

    Padding (number 0) sees padding, so every position sees at least itself. With a ``window`` a position i sees j only
    if |i − j| ≤ window // 2 (ModernBERT's definition); with ``direction`` left or right, itself and the positions on
    that side. The softmax is computed in float32. With a ``stream`` each probability is dropped with probability
    ``p``, at its address in the stream.

    The ``kernels``, for float32 or bfloat16, need the tokens of a document, and those of the padding, side by side:
    what is behind a gap is not read, and the tests of objectives check that there is none. The CPU's need heads of an
    even width. Without kernels dropout takes a few times rows · heads · length² float32 numbers, of only one layer at a
    time if rows are longer than ``KEPT_LENGTH``.
    """
    if kernels == "cuda" or (kernels == "cpu" and q.shape[3] % 2 == 0):
        q, k, v = (x if x.stride(3) == 1 else x.contiguous() for x in (q, k, v))
        drops = p if stream is not None else 0.0
        words = documents.new_zeros((2, len(documents)), dtype=torch.int32) if stream is None else stream
        reach = -1 if window is None else window // 2
        sides = direction != "right", direction != "left"
        return attend(q, k, v, documents.int().contiguous(), words.contiguous(), drops, reach, *sides, kernels)[0]
    seen = visibility_mask(documents, window, direction)
    if stream is None or p == 0.0:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None])
    if torch.is_grad_enabled() and q.shape[2] > KEPT_LENGTH:
        arguments = q, k, v, seen, stream, p
        return checkpoint(explicit_attention, *arguments, use_reentrant=False, preserve_rng_state=False)
    return explicit_attention(q, k, v, seen, stream, p)


def import_kernels(kernels: str) -> ModuleType:
    """The module with a device's kernels. Imported when it is used, for not every machine has Triton."""
    return import_module(f"electra.kernels.attention.{MODULES[kernels]}")


def empty_result(q: Tensor) -> Tensor:
    """An uninitialized tensor of q's shape, with a position's heads side by side as the next operation needs them."""
    rows, heads, length, dim = q.shape
    return q.new_empty((rows, length, heads, dim)).transpose(1, 2)


@torch.library.custom_op("electra::attention", mutates_args=())
def attend(
    q: Tensor, k: Tensor, v: Tensor, documents: Tensor, words: Tensor, drops: float, reach: int, back: bool,
    ahead: bool, kernels: str,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """What each position reads, [rows, heads, length, dim], and the log-sum-exp of its scores, float32 [rows, heads,
    length].

    ``words``: the stream of each row. ``drops``: the probability of dropping. ``reach``: how many positions away a
    position sees, −1: to the ends of its document; ``back`` and ``ahead``: whether it sees that side.
    """
    out, sums = empty_result(q), q.new_empty(q.shape[:3], dtype=torch.float32)
    import_kernels(kernels).run_forward(q, k, v, out, sums, documents, words, drops, reach, back, ahead)
    return out, sums


@attend.register_fake
def _fake_attend(q, k, v, documents, words, drops, reach, back, ahead, kernels):
    return empty_result(q), q.new_empty(q.shape[:3], dtype=torch.float32)


@torch.library.custom_op("electra::attention_gradients", mutates_args=())
def attend_gradients(
    q: Tensor, k: Tensor, v: Tensor, documents: Tensor, words: Tensor, out: Tensor, sums: Tensor, slopes: Tensor,
    drops: float, reach: int, back: bool, ahead: bool, kernels: str,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The gradients of the queries, keys and values; ``slopes`` is the gradient of ``out``."""
    results = empty_result(q), empty_result(q), empty_result(q)
    run_backward = import_kernels(kernels).run_backward
    run_backward(q, k, v, out, slopes, sums, documents, words, *results, drops, reach, back, ahead)
    return results


@attend_gradients.register_fake
def _fake_attend_gradients(q, k, v, documents, words, out, sums, slopes, drops, reach, back, ahead, kernels):
    return empty_result(q), empty_result(q), empty_result(q)


def _save_for_attention(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs[:5], *output)
    ctx.settings = inputs[5:]
    ctx.mark_non_differentiable(output[1])


def _attend_backward(ctx, slopes, _):
    slopes = slopes if slopes.stride(3) == 1 else slopes.contiguous()
    return *attend_gradients(*ctx.saved_tensors, slopes, *ctx.settings), *(None,) * 7


attend.register_autograd(_attend_backward, setup_context=_save_for_attention)
