"""What is read from an encoder's states: the paper's linear heads, and those of transformers' classes.

Parameters of the latter bear transformers' names, so that what is trained here loads there. The last product of each is
computed in float32.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from electra.interchange.encoders import Reader, States
from electra.kernels.random import dropout
from electra.model.heads import linear_float32
from electra.tasks.finetuning.examples import ExampleBatch
from electra.tasks.finetuning.problem import FineTuning

SITE = 1 << 20  # of the dropout before the head: behind all layers'
STD = 0.02  # of the initial weights, truncated at two deviations: original code

Keys = Int[Tensor, " rows"] | None


class GivenLogits(nn.Module):
    """The logits that a whole model of transformers' has given."""

    def forward(self, states: Sequence[Tensor], batch: ExampleBatch, keys: Keys) -> Tensor:
        return states[0]


class TextLogits(nn.Module):
    """The paper's: dropout and a linear layer on [CLS] [section 3.1], or on what ``tuning`` says stands for a text."""

    def __init__(self, reader: Reader, tuning: FineTuning, outputs: int):
        super().__init__()
        self.tuning = tuning
        self.linear = build_linear(sum(reader.sizes) if tuning.layers == "all" else reader.sizes[-1], outputs)

    def forward(self, states: Sequence[States], batch: ExampleBatch, keys: Keys) -> Float[Tensor, "rows outputs"]:
        if self.tuning.layers == "all":
            # Each normed for itself: the states of a pre-norm encoder grow from layer to layer.
            pooled = [F.layer_norm(v, v.shape[1:]) for v in (self.pool(each, batch) for each in states)]
            vector = torch.cat(pooled, dim=1)
        else:
            vector = self.pool(states[-1], batch)
        return linear_float32(self.linear, dropout(vector, keys, SITE, self.tuning.dropout))

    def pool(self, states: States, batch: ExampleBatch) -> Float[Tensor, "rows dim"]:
        """One vector for each text."""
        return states[:, 0] if self.tuning.pooling == "first" else mean_pool(states, batch.documents)


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
        last: Any = self.get_submodule(self.name)
        return linear_float32(last, dropout(states[-1], keys, SITE, self.dropout))


class ElectraTextLogits(nn.Module):
    """ElectraForSequenceClassification's: dense, GELU and a linear layer on [CLS], dropout before both."""

    def __init__(self, reader: Reader, tuning: FineTuning, outputs: int):
        super().__init__()
        width = reader.sizes[-1]
        self.classifier = nn.ModuleDict({"dense": build_linear(width, width), "out_proj": build_linear(width, outputs)})
        self.dropout = tuning.dropout

    def forward(self, states: Sequence[States], batch: ExampleBatch, keys: Keys) -> Float[Tensor, "rows outputs"]:
        hidden = F.gelu(self.classifier["dense"](dropout(states[-1][:, 0], keys, SITE, self.dropout)))
        last: Any = self.classifier["out_proj"]
        return linear_float32(last, dropout(hidden, keys, SITE + 1, self.dropout))


class ModernBertLogits(nn.Module):
    """ModernBERT's classes': dense, GELU, LayerNorm, dropout, linear; on [CLS] (``build_text_logits``) or on every
    token."""

    def __init__(self, reader: Any, tuning: FineTuning, outputs: int, of_text: bool):
        super().__init__()
        width, norm = reader.sizes[-1], nn.LayerNorm(reader.sizes[-1], reader.config.norm_eps, bias=False)
        self.head = nn.ModuleDict({"dense": build_linear(width, width, bias=False), "norm": norm})
        self.classifier = build_linear(width, outputs)
        self.dropout, self.of_text = tuning.dropout, of_text

    def forward(
        self, states: Sequence[States], batch: ExampleBatch, keys: Keys
    ) -> Float[Tensor, "rows *length outputs"]:
        hidden = states[-1][:, 0] if self.of_text else states[-1]
        hidden = self.head["norm"](F.gelu(self.head["dense"](hidden)))
        return linear_float32(self.classifier, dropout(hidden, keys, SITE, self.dropout))


def build_text_logits(reader: Reader, tuning: FineTuning, outputs: int) -> nn.Module:
    """One vector of logits for each text: (states, batch, keys) → [rows, outputs]."""
    if reader.family == "whole":
        return GivenLogits()
    if tuning.head == "paper":
        return TextLogits(reader, tuning, outputs)
    return (
        ElectraTextLogits(reader, tuning, outputs)
        if reader.family == "classic"
        else ModernBertLogits(reader, tuning, outputs, True)
    )


def build_token_logits(reader: Reader, tuning: FineTuning, outputs: int, name: str = "classifier") -> nn.Module:
    """One vector of logits for each token: (states, batch, keys) → [rows, length, outputs].

    ``name``: what transformers calls ELECTRA's layer: ``classifier`` for tags, ``qa_outputs`` for spans.
    """
    if reader.family == "whole":
        return GivenLogits()
    if tuning.head == "paper" or reader.family == "classic":
        return TokenLogits(reader, tuning, outputs, name)
    return ModernBertLogits(reader, tuning, outputs, False)


def build_linear(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    """A fresh linear layer, as the original code starts it."""
    layer = nn.Linear(inputs, outputs, bias)
    nn.init.trunc_normal_(layer.weight, std=STD, a=-2 * STD, b=2 * STD)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def mean_pool(states: States, documents: Int[Tensor, "rows length"]) -> Float[Tensor, "rows hidden"]:
    """The mean of the states of a row's text."""
    text = (documents > 0)[:, :, None]
    return (states * text).sum(1) / text.sum(1)
