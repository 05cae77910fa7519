"""The layers: one class for each kind.

A layer is a function of its input, its weights and its streams of random numbers, so layers that are alike are compiled
once. The streams are computed outside, which keeps their hashing out of the loops over the elements.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from electra.kernels.attention.operation import attention
from electra.kernels.attention.twin import Direction
from electra.kernels.gelu.operation import gelu
from electra.kernels.random import drop
from electra.model.config import ClassicConfig, ModernConfig
from electra.model.initial import build_dense
from electra.model.twins import KernelModule

SITES_PER_LAYER = 3  # places of dropout: attention weights, attention output, feed-forward part

Rotation = tuple[Float[Tensor, "rows 1 length half"], Float[Tensor, "rows 1 length half"]]


class ClassicLayer(KernelModule):
    """x ← LayerNorm(x + Attention(x)); x ← LayerNorm(x + FFN(x)), with GELU (erf) and biases (BERT)."""

    def __init__(self, config: ClassicConfig, direction: Direction = "both"):
        super().__init__()
        hidden, inner, std = config.hidden_size, config.intermediate_size, config.init_std
        self.qkv = build_dense(hidden, 3 * hidden, std)
        self.output = build_dense(hidden, hidden, std)
        self.attention_norm = nn.LayerNorm(hidden, config.norm_eps)
        self.up = build_dense(hidden, inner, std)
        self.down = build_dense(inner, hidden, std)
        self.norm = nn.LayerNorm(hidden, config.norm_eps)
        self.heads, self.direction = config.heads, direction
        self.dropout, self.attention_dropout = config.dropout, config.attention_dropout

    def forward(
        self,
        x: Float[Tensor, "rows length dim"],
        documents: Int[Tensor, "rows length"],
        streams: Int[Tensor, "3 2 rows"] | None,
    ) -> Float[Tensor, "rows length dim"]:
        weights, output, inner = unbind_streams(streams)
        q, k, v = split_heads(self.qkv(x), self.heads)
        read = attention(q, k, v, documents, None, weights, self.attention_dropout, self.direction, self.kernels)
        x = self.attention_norm(x + drop(self.output(join_heads(read)), output, self.dropout))
        return self.norm(x + drop(self.down(gelu(self.up.product(x), self.up.bias, self.kernels)), inner, self.dropout))


class ModernLayer(KernelModule):
    """x ← x + Attention(LayerNorm(x)); x ← x + GeGLU(LayerNorm(x)), rotary positions, no biases (ModernBERT).

    The first layer has no norm before its attention: the embeddings end in one.
    """

    def __init__(self, config: ModernConfig, index: int, direction: Direction = "both"):
        super().__init__()
        hidden, inner, std = config.hidden_size, config.intermediate_size, config.init_std
        last = std / (2 * config.layers) ** 0.5  # for what is added to the residual stream, as in transformers
        self.attention_norm = nn.LayerNorm(hidden, config.norm_eps, bias=False) if index else nn.Identity()
        self.qkv = build_dense(hidden, 3 * hidden, std, bias=False)
        self.output = build_dense(hidden, hidden, last, bias=False)
        self.norm = nn.LayerNorm(hidden, config.norm_eps, bias=False)
        self.up = build_dense(hidden, 2 * inner, std, bias=False)
        self.down = build_dense(inner, hidden, last, bias=False)
        self.heads, self.window, self.direction = config.heads, config.window(index), direction
        self.dropout, self.attention_dropout = config.dropout, config.attention_dropout

    def forward(
        self,
        x: Float[Tensor, "rows length dim"],
        rotation: Rotation,
        documents: Int[Tensor, "rows length"],
        streams: Int[Tensor, "3 2 rows"] | None,
    ) -> Float[Tensor, "rows length dim"]:
        weights, output, middle = unbind_streams(streams)
        q, k, v = split_heads(self.qkv(self.attention_norm(x)), self.heads)
        q, k = rotate(q, rotation), rotate(k, rotation)
        read = attention(q, k, v, documents, self.window, weights, self.attention_dropout, self.direction, self.kernels)
        x = x + drop(self.output(join_heads(read)), output, self.attention_dropout)
        inner, gate = self.up(self.norm(x)).chunk(2, dim=2)
        return x + self.down(drop(F.gelu(inner) * gate, middle, self.dropout))


def unbind_streams(streams: Int[Tensor, "3 2 rows"] | None) -> tuple[Tensor, ...] | tuple[None, None, None]:
    """The stream of each of a layer's places of dropout; None if there is no dropout."""
    return (None, None, None) if streams is None else streams.unbind(0)


def split_heads(qkv: Float[Tensor, "rows length triple"], heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, each [rows, heads, length, dim / heads], from the one product that has all three."""
    q, k, v = qkv.unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
    return q, k, v


def join_heads(x: Float[Tensor, "rows heads length dim"]) -> Float[Tensor, "rows length joined"]:
    """The heads of each position side by side."""
    return x.transpose(1, 2).flatten(2)


def rotary_cos_sin(positions: Int[Tensor, "rows length"], size: int, theta: float) -> Rotation:
    """cos and sin, float32, of position · theta^(−2i / size) for each pair i of a head (RoFormer, section 3.2.2)."""
    exponents = torch.arange(0, size, 2, dtype=torch.float32, device=positions.device) / size
    angles = positions[:, None, :, None].float() * (1.0 / theta**exponents)
    return angles.cos(), angles.sin()


def rotate(x: Float[Tensor, "rows heads length dim"], rotation: Rotation) -> Float[Tensor, "rows heads length dim"]:
    """Elements i and i + dim / 2 of each head, rotated by their position's angle. Computed in float32, in x's dtype."""
    cos, sin = rotation
    first, second = x.float().chunk(2, dim=3)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=3).to(x.dtype)
