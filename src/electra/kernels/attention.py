"""Attention inside documents: by kernels of our own where they are wanted (``attention_fused``); else the explicit
product for short rows on a CPU, and PyTorch's fused kernels elsewhere.

The dropout of the first two is ours: addressed by row, not by a generator's history. PyTorch's kernels drop with its
own generator, which the caller seeds.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from electra.kernels import Kernels
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
    kernels: Kernels = "",
) -> Float[Tensor, "rows heads length dim"]:
    """softmax(q kᵀ / √dim) v over the positions of a row with the same document number, in v's dtype.

    Padding (number 0) sees padding, so every position sees at least itself. With a ``window`` a position i sees j only
    where |i − j| ≤ window // 2 (ModernBERT's definition); with the ``direction`` left or right, itself and what stands
    on that side. The softmax is computed in float32. ``p`` of the probabilities are dropped where a ``stream`` is
    given: at its addresses in the explicit product and in the ``kernels``. Those for a CPU want heads of an even width.
    """
    if kernels == "cuda" or (kernels == "cpu" and q.shape[3] % 2 == 0):
        from electra.kernels.attention_fused import fused_attention

        return fused_attention(q, k, v, documents, window, stream, p, direction, kernels)
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
