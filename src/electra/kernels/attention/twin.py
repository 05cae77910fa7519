"""Attention inside documents with the scores written out: the readable twin of the kernels."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from electra.kernels.random import drop

Direction = Literal["both", "left", "right"]  # the side that a position sees


def visibility_mask(
    documents: Int[Tensor, "rows length"], window: int | None, direction: Direction = "both"
) -> Bool[Tensor, "rows length length"]:
    """Whether position i (second axis) sees position j (third axis)."""
    documents = documents.int()
    seen = documents[:, :, None] == documents[:, None, :]
    j = torch.arange(documents.shape[1], dtype=torch.int32, device=documents.device)
    i = j[:, None]
    if window is not None:
        seen = seen & ((i - j).abs() <= window // 2)
    if direction != "both":
        seen = seen & ((i >= j) if direction == "left" else (i <= j))
    return seen


def explicit_attention(
    q: Float[Tensor, "rows heads length dim"],
    k: Float[Tensor, "rows heads length dim"],
    v: Float[Tensor, "rows heads length dim"],
    seen: Bool[Tensor, "rows length length"],
    stream: Int[Tensor, "2 rows"] | None,
    p: float,
) -> Float[Tensor, "rows heads length dim"]:
    """``operation.attention`` with the scores written out. A probability's dropout has the address (stream, head, i,
    j)."""
    scores = (q @ k.transpose(2, 3)).float() * q.shape[3] ** -0.5
    weights = scores.masked_fill(~seen[:, None], float("-inf")).softmax(3)
    return drop(weights, stream, p).to(v.dtype) @ v
