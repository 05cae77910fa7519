"""Modules that turn an encoder's states into logits: the paper's linear layers, and those of transformers' classes.

Parameters of the latter bear transformers' names, so that what is trained here loads there. The last product of each is
computed in float32. All are called with (states, batch, keys), as ``ProblemHead`` has them.
"""

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from electra.interchange.encoders import Reader, States, TowerReader
from electra.kernels.random import dropout
from electra.model.config import ModernConfig
from electra.model.heads import linear_float32
from electra.tasks.finetuning.examples import ExampleBatch
from electra.tasks.finetuning.problem import FineTuning

SITE = 1 << 20  # of the dropout before the head: behind all layers'
STD = 0.02  # of the initial weights, truncated at two deviations: original code

Keys = Int[Tensor, " rows"] | None


class GivenLogits(nn.Module):
    """The logits that a whole model of transformers has computed itself."""

    def forward(self, states: Sequence[Tensor], batch: ExampleBatch, keys: Keys) -> Tensor:
        return states[0]


class TextLogits(nn.Module):
    """The paper's head for texts: dropout and a linear layer on [CLS] [section 3.1].

    ``tuning`` may choose the mean of the text's states instead of [CLS], and all layers instead of the last.
    """

    def __init__(self, reader: Reader, tuning: FineTuning, outputs: int):
        super().__init__()
        self.tuning = tuning
        self.linear = build_linear(sum(reader.sizes) if tuning.layers == "all" else reader.sizes[-1], outputs)

    def forward(self, states: Sequence[States], batch: ExampleBatch, keys: Keys) -> Float[Tensor, "rows outputs"]:
        if self.tuning.layers == "all":
            # Each is normed by itself: the states of a pre-norm encoder grow from layer to layer.
            vectors = [pool_states(layer, batch, self.tuning) for layer in states]
            vector = torch.cat([F.layer_norm(layer, layer.shape[1:]) for layer in vectors], dim=1)
        else:
            vector = pool_states(states[-1], batch, self.tuning)
        return linear_float32(self.linear, dropout(vector, keys, SITE, self.tuning.dropout))


class TokenLogits(nn.Module):
    """Dropout and a linear layer on every token: the paper's for tagging, and ElectraForTokenClassification's.

    ``name``: what transformers calls the layer.
    """

    def __init__(self, reader: Reader, tuning: FineTuning, outputs: int, name: str = "classifier"):
        super().__init__()
        self.dropout, self.name = tuning.dropout, name
        self.add_module(name, build_linear(reader.sizes[-1], outputs))

    def forward(
        self, states: Sequence[States], batch: ExampleBatch, keys: Keys
    ) -> Float[Tensor, "rows length outputs"]:
        layer = cast(nn.Linear, self.get_submodule(self.name))
        return linear_float32(layer, dropout(states[-1], keys, SITE, self.dropout))


class ElectraTextLogits(nn.Module):
    """ElectraForSequenceClassification's: dense, GELU and a linear layer on [CLS], dropout before both."""

    def __init__(self, reader: Reader, tuning: FineTuning, outputs: int):
        super().__init__()
        width = reader.sizes[-1]
        self.classifier = nn.ModuleDict({"dense": build_linear(width, width), "out_proj": build_linear(width, outputs)})
        self.dropout = tuning.dropout

    def forward(self, states: Sequence[States], batch: ExampleBatch, keys: Keys) -> Float[Tensor, "rows outputs"]:
        hidden = F.gelu(self.classifier["dense"](dropout(states[-1][:, 0], keys, SITE, self.dropout)))
        last = cast(nn.Linear, self.classifier["out_proj"])
        return linear_float32(last, dropout(hidden, keys, SITE + 1, self.dropout))


class ModernBertLogits(nn.Module):
    """ModernBERT's classes': dense, GELU, LayerNorm, dropout, linear; on one vector for a text (``of_text``: [CLS], or
    the mean of the states) or on every token."""

    def __init__(self, reader: Reader, tuning: FineTuning, outputs: int, of_text: bool):
        super().__init__()
        assert isinstance(reader, TowerReader) and isinstance(reader.config, ModernConfig)
        width, norm = reader.sizes[-1], nn.LayerNorm(reader.sizes[-1], reader.config.norm_eps, bias=False)
        self.head = nn.ModuleDict({"dense": build_linear(width, width, bias=False), "norm": norm})
        self.classifier = build_linear(width, outputs)
        self.tuning, self.of_text = tuning, of_text

    def forward(
        self, states: Sequence[States], batch: ExampleBatch, keys: Keys
    ) -> Float[Tensor, "rows *length outputs"]:
        hidden = pool_states(states[-1], batch, self.tuning) if self.of_text else states[-1]
        hidden = self.head["norm"](F.gelu(self.head["dense"](hidden)))
        return linear_float32(self.classifier, dropout(hidden, keys, SITE, self.tuning.dropout))


def build_text_logits(reader: Reader, tuning: FineTuning, outputs: int) -> nn.Module:
    """A module that gives [rows, outputs]: one vector of logits for each text."""
    if reader.family == "whole":
        return GivenLogits()
    if tuning.head != "transformers":
        return TextLogits(reader, tuning, outputs)
    if reader.family == "classic":
        return ElectraTextLogits(reader, tuning, outputs)
    return ModernBertLogits(reader, tuning, outputs, True)


def build_token_logits(reader: Reader, tuning: FineTuning, outputs: int, name: str = "classifier") -> nn.Module:
    """A module that gives [rows, length, outputs]: one vector of logits for each token.

    ``name``: what transformers calls ELECTRA's layer: ``classifier`` for tags, ``qa_outputs`` for spans.
    """
    if reader.family == "whole":
        return GivenLogits()
    if tuning.head != "transformers" or reader.family == "classic":
        return TokenLogits(reader, tuning, outputs, name)
    return ModernBertLogits(reader, tuning, outputs, False)


def build_linear(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    """A fresh linear layer, initialised as in the original code."""
    layer = nn.Linear(inputs, outputs, bias)
    nn.init.trunc_normal_(layer.weight, std=STD, a=-2 * STD, b=2 * STD)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def pool_states(states: States, batch: ExampleBatch, tuning: FineTuning) -> Float[Tensor, "rows dim"]:
    """One vector for each text: the mean of its states, or else that of [CLS]."""
    return (mean_pool if tuning.pooling == "mean" else take_first)(states, batch.documents)


def mean_pool(states: States, documents: Int[Tensor, "rows length"]) -> Float[Tensor, "rows hidden"]:
    """The mean of the states of each row's text; padding, document 0, is left out."""
    text = (documents > 0)[:, :, None]
    return (states * text).sum(1) / text.sum(1)


def take_first(states: States, documents: Int[Tensor, "rows length"]) -> Float[Tensor, "rows width"]:
    """The state of each row's first token, [CLS]."""
    return states[:, 0]
