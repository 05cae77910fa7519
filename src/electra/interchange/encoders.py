"""Any encoder, ours or one of transformers', behind one signature: what fine-tuning and probes read."""

import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from electra.errors import UserError, convert_errors
from electra.interchange import huggingface
from electra.interchange.folders import find_encoder
from electra.interchange.transformers_models import has_other_head, load_with_transformers, read_model_type
from electra.model.encoder import Tower
from electra.model.heads import linear_float32
from electra.tokenization.loading import load_tokenizer
from electra.tokenization.tokenizer import Tokenizer

States = Float[Tensor, "rows length _"]
Family = Literal["classic", "modern", "theirs", "whole"]

FRAMED = ("pad", "unk", "cls", "sep")  # the special tokens of a text that is read for its states
LAYER_NUMBER = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.(\d+)\.")  # in a parameter's name
TRIAL = 4  # tokens of a text on which an encoder is tried
CLOSE = 1e-3  # by how much padding may move a state


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
        self.vocab_size: int = self.config.vocab_size
        self.segments = self.config.kind == "classic"
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
        self.longest = config.max_position_embeddings - count_unused_positions(model)
        self.vocab_size: int = config.vocab_size
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


def count_unused_positions(model: nn.Module) -> int:
    """How many of a model's positions no text has: RoBERTa's and its like count on from that of padding."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(padding := getattr(module, "padding_idx", None), int):
            return padding + 1
    return 0


def refuse_other_architectures(model: Any, folder: Path) -> None:
    """Raise ``UserError`` unless a model of transformers' is an encoder whose layers give a state for every token.

    What its config does not tell is tried on a short text: whether the first token's states depend on the last token,
    and on padding behind it.
    """
    config = model.config
    if getattr(config, "is_encoder_decoder", False):
        raise UserError(f"{folder}: {config.model_type}: an encoder with a decoder; only encoders are read")
    sizes = [getattr(config, name, None) for name in ("hidden_size", "num_hidden_layers", "max_position_embeddings")]
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        raise UserError(
            f"{folder}: {config.model_type}: not read: its config.json does not say hidden_size, num_hidden_layers and "
            "max_position_embeddings, as those of BERT and its like do"
        )
    with torch.no_grad(), convert_errors(f"{folder}: {config.model_type}: not read as BERT is", Exception):
        reader = TransformersReader(model)
        states, other, padded = (reader.hidden_states(inputs, None) for inputs in build_trial_texts(reader.vocab_size))
    if [state.shape for state in states] != [(1, TRIAL, size) for size in reader.sizes]:
        raise UserError(f"{folder}: {config.model_type}: not read: its layers do not give a state for every token")
    if torch.equal(states[-1][:, 0], other[-1][:, 0]):
        raise UserError(f"{folder}: {config.model_type}: not read: a decoder, where no token sees what follows it")
    if not torch.allclose(states[-1], padded[-1][:, :TRIAL], atol=CLOSE, rtol=CLOSE):
        raise UserError(f"{folder}: {config.model_type}: not read: what it makes of a text depends on the padding")


def build_trial_texts(vocab_size: int) -> Iterator[Inputs]:
    """A text of ``TRIAL`` tokens, the same with another last token, and the first with as much padding behind it."""
    ids = torch.arange(vocab_size - TRIAL - 1, vocab_size)[None] % vocab_size
    first, other, nothing = ids[:, :-1], torch.cat([ids[:, : TRIAL - 1], ids[:, -1:]], 1), torch.zeros(1, TRIAL)
    for text in (first, other, torch.cat([first, nothing.long()], 1)):
        positions = torch.arange(text.shape[1])[None]
        yield Inputs(text, positions, torch.zeros_like(text), (positions < TRIAL).long())


class WholeModelReader(TransformersReader):
    """A model of transformers with its head for a task. The head's products are computed in float32."""

    family: Family = "whole"

    def __init__(self, model: Any):
        super().__init__(model)
        for module in self.list_head_layers():
            module.forward = partial(linear_float32, module)  # type: ignore[method-assign]

    def list_head_layers(self) -> list[nn.Linear]:
        """The linear layers of the head, the one that gives its outputs last."""
        return [
            module
            for name, module in self.named_modules()
            if isinstance(module, nn.Linear) and self.is_head_parameter(f"{name}.weight")
        ]

    def hidden_states(self, inputs: Inputs, keys: Int[Tensor, " rows"] | None) -> list[Tensor]:
        """The logits alone: [rows, outputs], [rows, length, outputs], or those of starts and ends [rows, length, 2]."""
        output = self.run_model(inputs, keys)
        if "start_logits" in output:
            return [torch.stack([output.start_logits, output.end_logits], dim=2)]
        return [output.logits]

    def is_head_parameter(self, name: str) -> bool:
        """Whether it is not the base model's."""
        return not name.startswith(f"model.{self.model.base_model_prefix}.")


def load_encoder(
    folder: str | Path, keep_layers: int = 0, needs: Iterable[str] = FRAMED
) -> tuple[TowerReader | TransformersReader, Tokenizer]:
    """The encoder that ``find_encoder`` finds in ``folder``, and its tokenizer; in our own classes if it is an ELECTRA
    or ModernBERT tower. ``keep_layers``: how many of its layers, the lowest, as ``Tower.keep_layers``; 0: all.
    ``needs``: the special tokens that its tokenizer must have, as in ``load_tokenizer``.

    Raises:
        UserError: no model there, no tokenizer, pickled weights, too few layers, an architecture that is not read, or
            whatever transformers says of it.
    """
    encoder = find_encoder(Path(folder))
    tokenizer = load_tokenizer(encoder, needs=needs)
    try:
        tower = huggingface.load_tower(encoder)
    except UserError:
        if read_model_type(encoder) in ("electra", "modernbert") and not has_other_head(encoder):
            raise  # it should have been a tower: our error says what is wrong with it
        model = load_with_transformers(encoder, "AutoModel", keep_layers)
        refuse_other_architectures(model, encoder)
        return TransformersReader(model), tokenizer
    if keep_layers:
        tower.keep_layers(keep_layers)
    return TowerReader(tower), tokenizer
