"""Any encoder, ours or one of transformers', behind one signature: what fine-tuning and probes read."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from electra import fingerprints
from electra import tokenization as vocabularies
from electra.errors import UserError, convert_errors
from electra.interchange import huggingface
from electra.model.encoder import Tower
from electra.model.heads import linear_float32
from electra.tokenization import Tokenizer

States = Float[Tensor, "rows length _"]
Family = Literal["classic", "modern", "theirs", "whole"]

LAYER_NUMBER = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.(\d+)\.")
MODEL_FOLDERS = (
    *(f"{inside}{name}" for name in ("discriminator", "encoder", "generator") for inside in ("final/", "")),
    "",
)
WEIGHTS_FILE = "model.safetensors"
# What is read of a folder, its tokenizer's files in all spellings included.
FINGERPRINTED = (
    "config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "vocab.txt", "vocab.json", "merges.txt", "*.model",
)  # fmt: skip
OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer")  # their positions count from 2


class Inputs(NamedTuple):
    """What an encoder reads. ``documents``: a position sees those of its own number alone; 0 is padding."""

    ids: Int[Tensor, "rows length"]
    positions: Int[Tensor, "rows length"]
    segments: Int[Tensor, "rows length"]
    documents: Int[Tensor, "rows length"]


@runtime_checkable
class Reader(Protocol):
    """An encoder that is read, an ``nn.Module``. ``sizes``: the widths of the states it gives, embeddings first.

    ``longest``: tokens that it reads at once. ``family``: classic and modern are ours, theirs is one of transformers';
    whole is one with its head, whose logits stand where the states of the others do.
    """

    sizes: list[int]
    longest: int
    family: Family

    def read(self, inputs: Inputs, keys: Int[Tensor, " rows"] | None) -> list[Tensor]:
        """The embeddings and the states after each layer; dropout is on where there are keys."""

    def of_head(self, name: str) -> bool:
        """Whether a parameter, by its name in this module, belongs to a head within."""


class TowerReader(nn.Module):
    """The embeddings and the encoder of a tower."""

    def __init__(self, tower: Tower):
        super().__init__()
        self.embeddings, self.encoder, self.config = tower.embeddings, tower.encoder, tower.config
        self.sizes = [self.config.embedding_size, *[self.config.hidden_size] * self.config.layers]
        self.longest = self.config.max_positions
        self.family: Family = self.config.kind

    def read(self, inputs: Inputs, keys: Int[Tensor, " rows"] | None) -> list[Tensor]:
        """See ``Reader``."""
        embedded = self.embeddings(inputs.ids, inputs.positions, inputs.segments, keys)
        return [embedded, *self.encoder(embedded, inputs.positions, inputs.documents, keys)]

    def of_head(self, name: str) -> bool:
        """See ``Reader``."""
        return False


class TransformersReader(nn.Module):
    """An encoder that ``AutoModel`` loads. Its dropout is torch's own, seeded before each pass by the key of the first
    row: so it is a function of what is read, and no two processes or micro-batches of a step draw alike."""

    family: Family = "theirs"

    def __init__(self, model: Any):
        super().__init__()
        self.model = model
        config = model.config
        self.sizes = [config.hidden_size] * (config.num_hidden_layers + 1)
        self.longest = config.max_position_embeddings - (config.model_type in OFFSET_POSITIONS) * 2
        self.segments = getattr(config, "type_vocab_size", 0) > 1
        if isinstance(pooler := getattr(model, "pooler", None), nn.Module):
            pooler.requires_grad_(False)  # it reads the last states, which are what is asked for: nothing reaches it

    def read(self, inputs: Inputs, keys: Int[Tensor, " rows"] | None) -> list[Tensor]:
        """See ``Reader``."""
        return list(self.said(inputs, keys, output_hidden_states=True).hidden_states)

    def said(self, inputs: Inputs, keys: Int[Tensor, " rows"] | None, **more: Any) -> Any:
        """What the model returns."""
        self.model.train(keys is not None)
        if keys is not None:
            torch.manual_seed(int(keys[0]) & 0xFFFFFFFF)
        more |= {"token_type_ids": inputs.segments} if self.segments else {}
        seen = (inputs.documents > 0).long()
        return self.model(input_ids=inputs.ids, attention_mask=seen, return_dict=True, **more)

    def of_head(self, name: str) -> bool:
        """See ``Reader``."""
        return False


class WholeModelReader(TransformersReader):
    """One of transformers' models with its head for a task: its logits are all that it gives. The head's products are
    computed in float32."""

    family: Family = "whole"

    def __init__(self, model: Any):
        super().__init__(model)
        for name, part in self.named_modules():
            if isinstance(part, nn.Linear) and self.of_head(f"{name}.weight"):
                part.forward = partial(linear_float32, part)  # type: ignore[method-assign]

    def read(self, inputs: Inputs, keys: Int[Tensor, " rows"] | None) -> list[Tensor]:
        """The logits: [rows, outputs], [rows, length, outputs], or those of starts and ends [rows, length, 2]."""
        found = self.said(inputs, keys)
        spans = "start_logits" in found
        return [torch.stack([found.start_logits, found.end_logits], dim=2) if spans else found.logits]

    def of_head(self, name: str) -> bool:
        """Whether a parameter is not the base model's."""
        return not name.startswith(f"model.{self.model.base_model_prefix}.")


def find_encoder(folder: Path) -> Path:
    """The very folder of the encoder in a run folder (its discriminator, or what it has) or an exported one.

    Raises:
        UserError: no model there.
    """
    for where in (folder / end for end in MODEL_FOLDERS):
        if (where / "config.json").is_file() and any(where.glob("*.safetensors")):
            return where
    raise UserError(
        f"{folder}: no model here; expected a finished run, or a folder with config.json, "
        f"{WEIGHTS_FILE} and a tokenizer"
    )


def fingerprint_encoder(folder: Path) -> str:
    """Equal for folders with the same weights, config and tokenizer; ``folder``: as ``find_encoder`` takes it.

    Raises:
        UserError: no model there, or a file of it that cannot be read.
    """
    where = find_encoder(folder)
    with convert_errors(str(where), OSError):
        return fingerprints.hash_folder(where, FINGERPRINTED)


def load_encoder(folder: Path) -> tuple[TowerReader | TransformersReader, Tokenizer]:
    """The encoder in ``folder`` (see ``find_encoder``), in our own classes where it is an ELECTRA or ModernBERT
    tower, and its tokenizer.

    Raises:
        UserError: no model there, no tokenizer, pickled weights, or whatever transformers says of it.
    """
    where = find_encoder(folder)
    tokenizer = vocabularies.load_tokenizer(where)
    try:
        return TowerReader(huggingface.load_tower(where)), tokenizer
    except UserError as error:
        if read_model_type(where) in ("electra", "modernbert") and not has_other_head(where):
            raise error
    return TransformersReader(load_with_transformers(where, "AutoModel")), tokenizer


def read_model_type(folder: Path) -> str:
    """What kind of model transformers' config.json says that it is."""
    with convert_errors(f"{folder / 'config.json'}", OSError, ValueError):
        return str(json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type"))


def has_other_head(folder: Path) -> bool:
    """Whether an ELECTRA or ModernBERT has a head for some task, or none."""
    said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    known = ("ElectraForPreTraining", "ElectraForMaskedLM", "ModernBertForMaskedLM", "ModernBertForTokenClassification")
    return not set(said.get("architectures") or ()) & set(known)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No bars, and no report that a new head's weights are new, from transformers."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        logging.enable_progress_bar()


def load_with_transformers(folder: Path, auto: str, **settings: Any) -> Any:
    """What one of transformers' ``Auto…`` classes makes of a folder; safetensors alone are read, no code of theirs."""
    import transformers

    vocabularies.refuse_code(folder)
    with quiet_transformers(), convert_errors(f"{folder}: transformers cannot load this", Exception):
        return getattr(transformers, auto).from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32,
            **settings,
        )  # fmt: skip
