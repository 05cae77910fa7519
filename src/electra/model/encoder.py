"""The two kinds of encoder, with one signature, and the tower: embeddings, an encoder and a head."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from electra.errors import UserError
from electra.kernels import Kernels
from electra.kernels.attention.twin import Direction
from electra.kernels.random import derive_streams
from electra.kernels.vocabulary.twin import Prediction
from electra.model.blocks import SITES_PER_LAYER, ClassicLayer, ModernLayer, rotary_cos_sin
from electra.model.config import ClassicConfig, EncoderConfig, ModernConfig, generator_config
from electra.model.embeddings import EMBEDDING_SITE, DeltaEmbedding, Embeddings
from electra.model.heads import DetectionHead, Head, TokenHead, build_detection_head
from electra.model.initial import build_glorot

__all__ = ["ClassicConfig", "Encoder", "EncoderConfig", "ModernConfig", "Tower", "build_encoder", "generator_config"]

States = Float[Tensor, "rows length hidden"]


class LayeredEncoder(nn.Module):
    """What both encoders have in common. With ``recomputes`` a layer keeps only its input for the backward pass, which
    computes the rest again."""

    recomputes = False
    sites: Tensor

    def prepare(self, kernels: Kernels, recompute: bool, compiled: bool) -> None:
        """Recompute the layers or not. If it is to be compiled, have the compiler take it layer by layer, and layers
        that are alike once: ELECTRA-Small's 24 then take a minute on two CPU cores, where one graph of all of them
        took eight (docs/log.md). The layers take the kernels themselves."""
        self.recomputes = recompute
        if compiled and "forward" not in vars(self):
            self.forward = torch.compiler.disable(self.forward, recursive=False)

    def run_layer(self, layer: nn.Module, *inputs: object) -> Tensor:
        """The layer's output, with recomputation if that is on."""
        if self.recomputes and torch.is_grad_enabled():
            # Setting torch's generator back is no part of a CUDA graph, and only PyTorch's attention draws from it.
            preserves_generator = layer.kernels != "cuda"
            return checkpoint(layer, *inputs, use_reentrant=False, preserve_rng_state=preserves_generator)
        return layer(*inputs)


class ClassicEncoder(LayeredEncoder):
    """Post-norm layers, after a projection if the embeddings have another width (BERT, ELECTRA)."""

    def __init__(self, config: ClassicConfig, direction: Direction = "both"):
        super().__init__()
        same = config.embedding_size == config.hidden_size
        self.project = nn.Identity() if same else build_glorot(config.embedding_size, config.hidden_size)
        self.layers = nn.ModuleList(ClassicLayer(config, direction) for _ in range(config.layers))
        self.register_buffer("sites", dropout_sites(config.layers), persistent=False)

    def forward(
        self,
        embedded: Float[Tensor, "rows length embedding"],
        positions: Int[Tensor, "rows length"],
        documents: Int[Tensor, "rows length"],
        keys: Int[Tensor, " rows"] | None,
    ) -> list[States]:
        """The states after each layer. ``positions`` are not used: they are in the embeddings."""
        states = [self.project(embedded)]
        of_layer = streams_by_layer(keys, self.sites)
        for index, layer in enumerate(self.layers):
            states.append(self.run_layer(layer, states[-1], documents, of_layer[index]))
        return states[1:]


class ModernEncoder(LayeredEncoder):
    """Pre-norm layers, most of them local, and a norm after the last (ModernBERT)."""

    def __init__(self, config: ModernConfig, direction: Direction = "both"):
        super().__init__()
        self.layers = nn.ModuleList(ModernLayer(config, index, direction) for index in range(config.layers))
        self.norm = nn.LayerNorm(config.hidden_size, config.norm_eps, bias=False)
        self.register_buffer("sites", dropout_sites(config.layers), persistent=False)
        self.head_size = config.hidden_size // config.heads
        self.global_theta, self.local_theta = config.global_theta, config.local_theta

    def forward(
        self,
        embedded: Float[Tensor, "rows length embedding"],
        positions: Int[Tensor, "rows length"],
        documents: Int[Tensor, "rows length"],
        keys: Int[Tensor, " rows"] | None,
    ) -> list[States]:
        """The states after each layer, the last ones normalized. ``positions`` count from 0 in each document."""
        global_rotation = rotary_cos_sin(positions, self.head_size, self.global_theta)
        local_rotation = rotary_cos_sin(positions, self.head_size, self.local_theta)
        states, of_layer = [embedded], streams_by_layer(keys, self.sites)
        for index, layer in enumerate(self.layers):
            rotation = global_rotation if layer.window is None else local_rotation
            states.append(self.run_layer(layer, states[-1], rotation, documents, of_layer[index]))
        return [*states[1:-1], self.norm(states[-1])]


Encoder = ClassicEncoder | ModernEncoder


def build_encoder(config: EncoderConfig, direction: Direction = "both") -> Encoder:
    """A fresh encoder of the config's kind. ``direction``: the side that positions see."""
    return ClassicEncoder(config, direction) if isinstance(config, ClassicConfig) else ModernEncoder(config, direction)


def dropout_sites(layers: int) -> Int[Tensor, " sites"]:
    """int32: the numbers of the places of dropout in the layers, which follow that of the embeddings. Kept as a buffer,
    since Inductor would hash an arange wrongly (``kernels.random``)."""
    return torch.arange(EMBEDDING_SITE + 1, EMBEDDING_SITE + 1 + SITES_PER_LAYER * layers, dtype=torch.int32)


def streams_by_layer(
    keys: Int[Tensor, " rows"] | None, sites: Int[Tensor, " sites"]
) -> Sequence[Int[Tensor, "3 2 rows"] | None]:
    """Each layer's streams of random numbers; None without keys."""
    if keys is None:
        return [None] * (len(sites) // SITES_PER_LAYER)
    return derive_streams(keys, sites).unflatten(0, (-1, SITES_PER_LAYER)).unbind(0)


class Tower(nn.Module):
    """Embeddings, an encoder and a head: the generator, or the discriminator.

    The embeddings may be shared with another tower. Dropout is on if ``keys`` (int32, one for each row) are given;
    ``train()`` and ``eval()`` change nothing.
    """

    def __init__(self, config: EncoderConfig, embeddings: Embeddings, head: Head):
        super().__init__()
        self.config, self.embeddings = config, embeddings
        self.encoder: Encoder = build_encoder(config)
        self.head: Head = head

    @classmethod
    def token(cls, config: EncoderConfig, embeddings: Embeddings) -> "Tower":
        """A fresh tower that predicts tokens."""
        return cls(config, embeddings, TokenHead(config))

    @classmethod
    def detection(cls, config: EncoderConfig, embeddings: Embeddings) -> "Tower":
        """A fresh tower that detects replaced tokens."""
        return cls(config, embeddings, build_detection_head(config))

    def share_layers(self, other: "Tower", count: int) -> None:
        """Replace the first ``count`` layers, and the projection before them, by those of another tower.

        Raises:
            UserError: the layers' shapes differ.
        """
        shapes = [[p.shape for p in tower.encoder.layers[:count].parameters()] for tower in (self, other)]
        if shapes[0] != shapes[1]:
            sizes = [f"{tower.config.layers} layers {tower.config.hidden_size} wide" for tower in (self, other)]
            raise UserError(f"{sizes[0]} cannot share {count} of them with {sizes[1]}: say generator_width 1")
        for index in range(count):
            self.encoder.layers[index] = other.encoder.layers[index]
        if isinstance(self.encoder, ClassicEncoder) and isinstance(other.encoder, ClassicEncoder):
            self.encoder.project = other.encoder.project

    def keep_layers(self, count: int) -> None:
        """Remove all layers but the ``count`` lowest. The norm after the last layer, which modern encoders have, now
        follows the last one kept; it and the head were trained on the states of the last of all.

        Raises:
            UserError: there are not so many.
        """
        if count > self.config.layers:
            raise UserError(f"keep_layers {count}: the encoder has {self.config.layers} layers")
        shorter = type(self)(replace(self.config, layers=count), self.embeddings, self.head)
        shorter.take({name: value for name, value in self.values().items() if name in shorter.values()})
        self.config, self.encoder = shorter.config, shorter.encoder

    def values(self) -> dict[str, Tensor]:
        """The tower's parameters by name, with the whole token table in place of a Δ."""
        values: dict[str, Tensor] = dict(self.named_parameters())
        if isinstance(self.embeddings.tokens, DeltaEmbedding):
            del values["embeddings.tokens.delta"]
            values["embeddings.tokens.weight"] = self.embeddings.tokens.weight
        return values

    @torch.no_grad()
    def take(self, values: Mapping[str, Tensor]) -> None:
        """Copy in ``values``: all that ``values()`` returns, or some of them."""
        parameters = dict(self.named_parameters())
        for name, value in values.items():
            if name == "embeddings.tokens.weight" and isinstance(self.embeddings.tokens, DeltaEmbedding):
                self.embeddings.tokens.set_weight(value)
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
        """The last states of every position. It sees only positions of its own document (0 is padding)."""
        return self.encoder(self.embeddings(ids, positions, segments, keys), positions, documents, keys)[-1]

    def token_logits(self, hidden: Float[Tensor, "picked hidden"]) -> Float[Tensor, "picked vocab"]:
        """Float32 logits over the vocabulary, from the last states of some positions."""
        assert isinstance(self.head, TokenHead), "this tower detects"
        return self.head(hidden, self.embeddings.tokens.weight)

    def predict(self, hidden: Float[Tensor, "picked hidden"]) -> Prediction:
        """The distribution over the vocabulary with the logits of ``token_logits``."""
        assert isinstance(self.head, TokenHead), "this tower detects"
        return self.head.predict(hidden, self.embeddings.tokens.weight)

    def detection_logits(self, hidden: Float[Tensor, "*shape hidden"]) -> Float[Tensor, "*shape"]:
        """Float32 logits of P(replaced), from last states."""
        assert isinstance(self.head, DetectionHead), "this tower predicts tokens"
        return self.head(hidden)
