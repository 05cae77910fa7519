"""Attention inside documents: by kernels of our own where they are wanted (``attention_fused``), else as it is written.

Dropout has its address everywhere, on every device and at every length: the kernels drop what the explicit product
drops. Where nothing is dropped, PyTorch's own kernels compute the same without the scores.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from electra.kernels import Kernels
from electra.kernels.random import drop

Direction = Literal["both", "left", "right"]  # to which side a position sees

KEPT_LENGTH = 256  # the longest row whose probabilities are kept for the backward pass; longer ones' are made again


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
    given, at its addresses.

    The ``kernels`` want the tokens of a document, and those of the padding, side by side; those for a CPU heads of an
    even width. Without them dropout takes rows · heads · length² float32 a few times, of one layer at a time where rows
    are longer than ``KEPT_LENGTH``.
    """
    if kernels == "cuda" or (kernels == "cpu" and q.shape[3] % 2 == 0):
        from electra.kernels.attention_fused import fused_attention

        return fused_attention(q, k, v, documents, window, stream, p, direction, kernels)
    seen = visible(documents, window, direction)
    if stream is None or p == 0.0:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None])
    if torch.is_grad_enabled() and q.shape[2] > KEPT_LENGTH:
        given = q, k, v, seen, stream, p
        return checkpoint(explicit_attention, *given, use_reentrant=False, preserve_rng_state=False)
    return explicit_attention(q, k, v, seen, stream, p)


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
