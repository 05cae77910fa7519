"""Attention inside documents: the explicit product for short rows on a CPU, a kernel of our own on a GPU where that
is wanted (``attention_triton``), PyTorch's fused kernels elsewhere.

At length 128 the backward of the fused CPU kernel costs a third of a training step; two batched products and one fused
softmax are far cheaper there, and let the dropout be ours: addressed by row, not by a generator's history, as in our
kernel. PyTorch's drop with its own generator, which the caller seeds.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from electra.kernels.random import drop

Direction = Literal["both", "left", "right"]  # to which side a position sees

EXPLICIT_LENGTH = 256  # longest row for which a CPU writes the scores out


def attention(
    q: Float[Tensor, "rows heads length dim"],
    k: Float[Tensor, "rows heads length dim"],
    v: Float[Tensor, "rows heads length dim"],
    documents: Int[Tensor, "rows length"],
    window: int | None,
    stream: Int[Tensor, "2 rows"] | None,
    p: float,
    direction: Direction = "both",
    fused: bool = False,
) -> Float[Tensor, "rows heads length dim"]:
    """softmax(q kᵀ / √dim) v over the positions of a row with the same document number, in v's dtype.

    Padding (number 0) sees padding, so every position sees at least itself. With a ``window`` a position i sees j only
    where |i − j| ≤ window // 2 (ModernBERT's definition); with the ``direction`` left or right, itself and what stands
    on that side. The softmax is computed in float32. ``p`` of the probabilities are dropped where a ``stream`` is
    given: at its addresses in the explicit product and in the kernel, which runs where ``fused`` asks for it.
    """
    if fused:
        from electra.kernels.attention_triton import fused_attention

        return fused_attention(q, k, v, documents, window, stream, p, direction)
    seen = visible(documents, window, direction)
    if q.device.type == "cpu" and q.shape[2] <= EXPLICIT_LENGTH:
        return explicit_attention(q, k, v, seen, stream, p)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None], dropout_p=0.0 if stream is None else p)


def visible(
    documents: Int[Tensor, "rows length"], window: int | None, direction: Direction = "both"
) -> Bool[Tensor, "rows length length"]:
    """Whether position i (second axis) sees position j (third axis)."""
    documents = documents.int()
    seen = documents[:, :, None] == documents[:, None, :]
    at = torch.arange(documents.shape[1], dtype=torch.int32, device=documents.device)
    if window is not None:
        seen = seen & ((at[:, None] - at).abs() <= window // 2)
    if direction != "both":
        seen = seen & ((at[:, None] >= at) if direction == "left" else (at[:, None] <= at))
    return seen


def explicit_attention(
    q: Float[Tensor, "rows heads length dim"],
    k: Float[Tensor, "rows heads length dim"],
    v: Float[Tensor, "rows heads length dim"],
    seen: Bool[Tensor, "rows length length"],
    stream: Int[Tensor, "2 rows"] | None,
    p: float,
) -> Float[Tensor, "rows heads length dim"]:
    """``attention`` with the scores written out, its dropout addressed by (stream, head, i, j)."""
    scores = (q @ k.transpose(2, 3)).float() * q.shape[3] ** -0.5
    weights = scores.masked_fill(~seen[:, None], float("-inf")).softmax(3)
    return drop(weights, stream, p).to(v.dtype) @ v
