"""Encoders, two kinds with one signature, and the tower that an encoder makes with embeddings and a head."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from electra.errors import UserError
from electra.kernels.attention import Direction
from electra.model.blocks import SITES, ClassicLayer, ModernLayer, rotation
from electra.model.config import ClassicConfig, EncoderConfig, ModernConfig, generator_config
from electra.model.embeddings import SITE, Added, Embeddings
from electra.model.heads import DetectionHead, Head, TokenHead, detection_head
from electra.model.initial import glorot

__all__ = ["ClassicConfig", "Encoder", "EncoderConfig", "ModernConfig", "Tower", "build_encoder", "generator_config"]

States = Float[Tensor, "rows length hidden"]


class ClassicEncoder(nn.Module):
    """Post-norm layers, after a projection where the embeddings have another width (BERT, ELECTRA)."""

    def __init__(self, config: ClassicConfig, direction: Direction = "both"):
        super().__init__()
        same = config.embedding_size == config.hidden_size
        self.project = nn.Identity() if same else glorot(config.embedding_size, config.hidden_size)
        self.layers = nn.ModuleList(ClassicLayer(config, site(index), direction) for index in range(config.layers))

    def forward(
        self,
        embedded: Float[Tensor, "rows length embedding"],
        positions: Int[Tensor, "rows length"],
        documents: Int[Tensor, "rows length"],
        keys: Int[Tensor, " rows"] | None,
    ) -> list[States]:
        """The states after each layer. ``positions`` are in the embeddings already."""
        states = [self.project(embedded)]
        for layer in self.layers:
            states.append(layer(states[-1], documents, keys))
        return states[1:]


class ModernEncoder(nn.Module):
    """Pre-norm layers, most of them local, and a norm after the last (ModernBERT)."""

    def __init__(self, config: ModernConfig, direction: Direction = "both"):
        super().__init__()
        self.layers = nn.ModuleList(
            ModernLayer(config, index, site(index), direction) for index in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.hidden_size, config.norm_eps, bias=False)
        self.head_size = config.hidden_size // config.heads
        self.global_theta, self.local_theta = config.global_theta, config.local_theta

    def forward(
        self,
        embedded: Float[Tensor, "rows length embedding"],
        positions: Int[Tensor, "rows length"],
        documents: Int[Tensor, "rows length"],
        keys: Int[Tensor, " rows"] | None,
    ) -> list[States]:
        """The states after each layer, the last ones normed. ``positions`` start anew with each document."""
        wide = rotation(positions, self.head_size, self.global_theta)
        near = rotation(positions, self.head_size, self.local_theta)
        states = [embedded]
        for layer in self.layers:
            states.append(layer(states[-1], wide if layer.window is None else near, documents, keys))
        return [*states[1:-1], self.norm(states[-1])]


Encoder = ClassicEncoder | ModernEncoder


def build_encoder(config: EncoderConfig, direction: Direction = "both") -> Encoder:
    """A fresh encoder of the config's kind, whose positions see both sides or one."""
    return ClassicEncoder(config, direction) if isinstance(config, ClassicConfig) else ModernEncoder(config, direction)


def site(layer: int) -> int:
    """The first place of dropout in a layer; the embeddings' comes before."""
    return SITE + 1 + SITES * layer


class Tower(nn.Module):
    """Embeddings, an encoder and a head: the generator, or the discriminator.

    The embeddings may be another tower's too. Dropout is on where ``keys`` (int32, one for each row) are given;
    ``training`` and ``eval`` change nothing.
    """

    def __init__(self, config: EncoderConfig, embeddings: Embeddings, head: Head):
        super().__init__()
        self.config, self.embeddings = config, embeddings
        self.encoder: Encoder = build_encoder(config)
        self.head: Head = head

    @classmethod
    def token(cls, config: EncoderConfig, embeddings: Embeddings) -> "Tower":
        """A fresh tower that says which token stood at a position."""
        return cls(config, embeddings, TokenHead(config))

    @classmethod
    def detection(cls, config: EncoderConfig, embeddings: Embeddings) -> "Tower":
        """A fresh tower that says whether the token at a position was replaced."""
        return cls(config, embeddings, detection_head(config))

    def share_layers(self, other: "Tower", count: int) -> None:
        """Make the first ``count`` layers, and the way to them from the embeddings, the ones of another tower.

        Raises:
            UserError: the layers' shapes differ.
        """
        here, there = ([value.shape for value in tower.encoder.layers[:count].parameters()] for tower in (self, other))
        if here != there:
            sizes = [f"{tower.config.layers} layers {tower.config.hidden_size} wide" for tower in (self, other)]
            raise UserError(f"{sizes[0]} cannot share {count} of them with {sizes[1]}: say generator_width 1")
        for index in range(count):
            self.encoder.layers[index] = other.encoder.layers[index]
        if isinstance(self.encoder, ClassicEncoder) and isinstance(other.encoder, ClassicEncoder):
            self.encoder.project = other.encoder.project

    def values(self) -> dict[str, Tensor]:
        """What the tower computes with, by name: its parameters, and a table that adds to another's as it is."""
        found: dict[str, Tensor] = dict(self.named_parameters())
        if isinstance(self.embeddings.tokens, Added):
            del found["embeddings.tokens.delta"]
            found["embeddings.tokens.weight"] = self.embeddings.tokens.weight
        return found

    @torch.no_grad()
    def take(self, values: Mapping[str, Tensor]) -> None:
        """Compute with ``values`` (those of ``values()``, or some of them) from now on."""
        parameters = dict(self.named_parameters())
        for name, value in values.items():
            if name == "embeddings.tokens.weight" and isinstance(self.embeddings.tokens, Added):
                self.embeddings.tokens.become(value)
            else:
                parameters[name].copy_(value)

    def hidden(
        self,
        ids: Int[Tensor, "rows length"],
        positions: Int[Tensor, "rows length"],
        segments: Int[Tensor, "rows length"],
        documents: Int[Tensor, "rows length"],
        keys: Int[Tensor, " rows"] | None = None,
    ) -> States:
        """The last states of every position, which sees the positions of its own document only (0 is padding)."""
        return self.encoder(self.embeddings(ids, positions, segments, keys), positions, documents, keys)[-1]

    def token_logits(self, hidden: Float[Tensor, "picked hidden"]) -> Float[Tensor, "picked vocab"]:
        """Float32 logits over the vocabulary, from the states of the positions that are asked for."""
        assert isinstance(self.head, TokenHead), "this tower detects"
        return self.head(hidden, self.embeddings.tokens.weight)

    def detection_logits(self, hidden: Float[Tensor, "*shape hidden"]) -> Float[Tensor, "*shape"]:
        """The logit of P(replaced) of every position."""
        assert isinstance(self.head, DetectionHead), "this tower predicts tokens"
        return self.head(hidden)
