"""Any encoder, ours or one of transformers', behind one signature: what fine-tuning and probes read."""

import re
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from electra.errors import UserError
from electra.interchange import huggingface
from electra.interchange.folders import find_encoder
from electra.interchange.transformers_models import has_other_head, load_with_transformers, read_model_type
from electra.model.encoder import Tower
from electra.model.heads import linear_float32
from electra.tokenization import Tokenizer, load_tokenizer

States = Float[Tensor, "rows length _"]
Family = Literal["classic", "modern", "theirs", "whole"]

LAYER_NUMBER = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.(\d+)\.")  # in a parameter's name
OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer")  # their positions count from 2


class Inputs(NamedTuple):
    """What an encoder reads. ``documents``: a position sees those of its own number alone; 0 is padding."""

    ids: Int[Tensor, "rows length"]
    positions: Int[Tensor, "rows length"]
    segments: Int[Tensor, "rows length"]
    documents: Int[Tensor, "rows length"]


@runtime_checkable
class Reader(Protocol):
    """An encoder as an ``nn.Module`` that gives the states of its layers.

    ``sizes``: the widths of these states, embeddings first. ``longest``: the most tokens of a row. ``family``: classic
    and modern are ours, theirs is an encoder of transformers, whole is a model of transformers with its head, whose
    only states are the head's logits.
    """

    sizes: list[int]
    longest: int
    family: Family

    def hidden_states(self, inputs: Inputs, keys: Int[Tensor, " rows"] | None) -> list[Tensor]:
        """The embeddings and the states after each layer, float [rows, length, size]; with ``keys`` dropout is on."""

    def is_head_parameter(self, name: str) -> bool:
        """Whether a parameter, by its name in this module, belongs to a head within it."""


class TowerReader(nn.Module):
    """The embeddings and the encoder of a tower, without its head."""

    def __init__(self, tower: Tower):
        super().__init__()
        self.embeddings, self.encoder, self.config = tower.embeddings, tower.encoder, tower.config
        self.sizes = [self.config.embedding_size, *[self.config.hidden_size] * self.config.layers]
        self.longest = self.config.max_positions
        self.family: Family = self.config.kind

    def hidden_states(self, inputs: Inputs, keys: Int[Tensor, " rows"] | None) -> list[Tensor]:
        """The embeddings and the states after each layer."""
        embedded = self.embeddings(inputs.ids, inputs.positions, inputs.segments, keys)
        return [embedded, *self.encoder(embedded, inputs.positions, inputs.documents, keys)]

    def is_head_parameter(self, name: str) -> bool:
        """False: there is no head."""
        return False


class TransformersReader(nn.Module):
    """An encoder that ``AutoModel`` loads.

    Its dropout draws from torch's generator, which is seeded before each pass with the key of the first row: so dropout
    depends on what is read alone, and no two processes or micro-batches of a step draw alike.
    """

    family: Family = "theirs"

    def __init__(self, model: Any):
        """``model``: what transformers' ``from_pretrained`` returned."""
        super().__init__()
        self.model = model
        config = model.config
        self.sizes = [config.hidden_size] * (config.num_hidden_layers + 1)
        self.longest = config.max_position_embeddings - (config.model_type in OFFSET_POSITIONS) * 2
        self.segments = getattr(config, "type_vocab_size", 0) > 1
        if isinstance(pooler := getattr(model, "pooler", None), nn.Module):
            pooler.requires_grad_(False)  # nothing reads what it computes, so it would get no gradient

    def hidden_states(self, inputs: Inputs, keys: Int[Tensor, " rows"] | None) -> list[Tensor]:
        """The embeddings and the states after each layer, as transformers counts them."""
        return list(self.run_model(inputs, keys, output_hidden_states=True).hidden_states)

    def run_model(self, inputs: Inputs, keys: Int[Tensor, " rows"] | None, **options: Any) -> Any:
        """The output of transformers' model, in training mode if there are ``keys``."""
        self.model.train(keys is not None)
        if keys is not None:
            torch.manual_seed(int(keys[0]) & 0xFFFFFFFF)
        options |= {"token_type_ids": inputs.segments} if self.segments else {}
        attention_mask = (inputs.documents > 0).long()
        return self.model(input_ids=inputs.ids, attention_mask=attention_mask, return_dict=True, **options)

    def is_head_parameter(self, name: str) -> bool:
        """False: ``AutoModel`` loads no head."""
        return False


class WholeModelReader(TransformersReader):
    """A model of transformers with its head for a task. The head's products are computed in float32."""

    family: Family = "whole"

    def __init__(self, model: Any):
        super().__init__(model)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear) and self.is_head_parameter(f"{name}.weight"):
                module.forward = partial(linear_float32, module)  # type: ignore[method-assign]

    def hidden_states(self, inputs: Inputs, keys: Int[Tensor, " rows"] | None) -> list[Tensor]:
        """The logits alone: [rows, outputs], [rows, length, outputs], or those of starts and ends [rows, length, 2]."""
        output = self.run_model(inputs, keys)
        if "start_logits" in output:
            return [torch.stack([output.start_logits, output.end_logits], dim=2)]
        return [output.logits]

    def is_head_parameter(self, name: str) -> bool:
        """Whether it is not the base model's."""
        return not name.startswith(f"model.{self.model.base_model_prefix}.")


def load_encoder(folder: str | Path, keep_layers: int = 0) -> tuple[TowerReader | TransformersReader, Tokenizer]:
    """The encoder that ``find_encoder`` finds in ``folder``, and its tokenizer; in our own classes if it is an ELECTRA
    or ModernBERT tower. ``keep_layers``: how many of its layers, the lowest, as ``Tower.keep_layers``; 0: all.

    Raises:
        UserError: no model there, no tokenizer, pickled weights, too few layers, or whatever transformers says of it.
    """
    encoder = find_encoder(Path(folder))
    tokenizer = load_tokenizer(encoder)
    try:
        tower = huggingface.load_tower(encoder)
    except UserError:
        if read_model_type(encoder) in ("electra", "modernbert") and not has_other_head(encoder):
            raise  # it should have been a tower: our error says what is wrong with it
        return TransformersReader(load_with_transformers(encoder, "AutoModel", keep_layers)), tokenizer
    if keep_layers:
        tower.keep_layers(keep_layers)
    return TowerReader(tower), tokenizer
