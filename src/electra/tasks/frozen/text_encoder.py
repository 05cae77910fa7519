"""``electra.load``: the encoder in a folder, and texts through it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from electra.engine.parallel import Parallel
from electra.errors import UserError
from electra.interchange.encoders import Reader, TowerReader, TransformersReader, load_encoder
from electra.tasks.datasets.values import require_encodable
from electra.tasks.finetuning.examples import encode_texts
from electra.tasks.finetuning.heads import mean_pool, take_first
from electra.tasks.frozen.probes import Pool
from electra.tasks.frozen.texts import AT_ONCE, batch_texts, read_batches
from electra.tokenization.tokenizer import Tokenizer

BLOCK = 8192  # texts that are cut into tokens and sorted by length together: more would only take memory

TextPooling = Literal["mean", "first"]
TEXT_POOLS: dict[TextPooling, Pool] = {"mean": mean_pool, "first": take_first}


@dataclass(frozen=True)
class Encoder:
    """An encoder on its device, with its tokenizer: texts in, vectors or states out, as float32 NumPy arrays.

    ``electra.load(folder)`` makes one. The states are those of transformers' classes for the same folder. Nothing is
    dropped, nothing is trained, and a text's states do not depend on the texts that are read with it, but for rounding.
    ``reader``: the ``torch.nn.Module`` itself. ``tokenizer``: how it cuts texts; what looks like a special token in a
    text is read as text.

    A text is read with the special tokens around it, and as far as ``longest`` tokens; the rest is left out. Layer 0 is
    the embeddings and layer ``layers`` the last; negative numbers count from the end, so -1 is the last.
    """

    reader: TowerReader | TransformersReader
    tokenizer: Tokenizer
    device: torch.device

    @property
    def layers(self) -> int:
        """The number of layers, embeddings not counted."""
        return len(self.reader.sizes) - 1

    @property
    def width(self) -> int:
        """The number of values in a state of the last layer."""
        return self.reader.sizes[-1]

    @property
    def longest(self) -> int:
        """The most tokens of a text that are read, special tokens included."""
        return self.reader.longest

    def encode(
        self, texts: Sequence[str], pooling: TextPooling = "mean", layer: int = -1, batch: int = AT_ONCE
    ) -> Float32[np.ndarray, "texts width"]:
        """One vector for each text, float32 [texts, width], in the order of the texts; [0, width] where there are none.

        ``pooling``: "mean" of all states of the text, those of its special tokens included, or the "first" token's
        state, [CLS]. ``layer``: whose states. ``batch``: how many texts are read at once, those of like length
        together; it changes the result by rounding at most.

        Raises:
            UserError: a single string in place of a list, what is not a string, no such pooling or layer, a ``batch``
                below 1, or a tokenizer that puts no special token before a text.
        """
        if pooling not in TEXT_POOLS:
            raise UserError(f"pooling {pooling!r}: expected one of {', '.join(get_args(TextPooling))}")
        layer = find_layer(self.reader, layer)
        vectors = np.empty((len(texts), self.reader.sizes[layer]), dtype=np.float32)
        for numbers, states, documents in read_layer(self, texts, layer, batch):
            vectors[numbers] = TEXT_POOLS[pooling](states, documents).cpu().numpy()
        return vectors

    def read(
        self, texts: Sequence[str], layer: int = -1, batch: int = AT_ONCE
    ) -> list[Float32[np.ndarray, "tokens width"]]:
        """The states of each text's tokens, float32 [tokens, width], one for each of ``cut(texts)``'s tokens.

        ``layer``, ``batch`` and errors as of ``encode``.
        """
        found: dict[int, np.ndarray] = {}
        for numbers, states, documents in read_layer(self, texts, find_layer(self.reader, layer), batch):
            lengths = documents.sum(1).tolist()
            for number, row, length in zip(numbers.tolist(), states.cpu().numpy(), lengths, strict=True):
                found[number] = row[:length].copy()  # not a view, which would keep the padding of its whole batch
        return [found[number] for number in range(len(texts))]

    def cut(self, texts: Sequence[str]) -> list[list[str]]:
        """The tokens that are read of each text, special tokens included. Raises ``UserError`` as ``encode``."""
        encoded = encode_texts([(text, None) for text in require_texts(texts)], self.tokenizer, self.longest)
        return [[self.tokenizer.backend.id_to_token(token_id) or "" for token_id in ids] for ids, _ in encoded]


def find_layer(reader: Reader, layer: int) -> int:
    """The number of a layer, counted from the embeddings. Raises ``UserError`` if there is no such layer."""
    count = len(reader.sizes)
    if not -count <= layer < count:
        raise UserError(f"layer {layer}: this encoder has 0 (its embeddings) to {count - 1}, or -1 for the last")
    return layer % count


def read_layer(
    encoder: Encoder, texts: Sequence[str], layer: int, rows: int
) -> Iterator[tuple[np.ndarray, Float32[Tensor, "rows length width"], Tensor]]:
    """For each batch: the texts' numbers, the layer's states, and the documents (1 is text, 0 padding)."""
    if rows < 1:
        raise UserError(f"batch {rows}: expected 1 or more texts")
    pairs = [(text, None) for text in require_texts(texts)]
    for start in range(0, len(pairs), BLOCK):
        batches = batch_texts(pairs[start : start + BLOCK], encoder.tokenizer, encoder.longest, rows)
        for numbers, layers, documents in read_batches(encoder.reader, batches, encoder.device):
            yield numbers.numpy() + start, layers[layer].float(), documents


def require_texts(texts: Sequence[str]) -> Sequence[str]:
    """The texts. Raises ``UserError`` for a single string, whose characters would each be read as a text, and for
    what is no string or has half a surrogate pair."""
    if isinstance(texts, str):
        raise UserError("texts: one string; expected a list of strings, so write [text]")
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise UserError(f"texts: number {number} is of type {type(text).__name__}; expected a string")
        require_encodable(text, f"texts: number {number}")
    return texts


def load(folder: str | Path) -> Encoder:
    """The encoder in ``folder``, float32, on the GPU if there is one, else on the CPU.

    ``folder``: a finished run, what ``electra export`` wrote, or any encoder of transformers in safetensors with its
    tokenizer (ELECTRA, BERT, RoBERTa, ModernBERT …). Of a run with several towers it is the one that the run is for.

        encoder = electra.load("runs/s1")
        vectors = encoder.encode(["the chef ate the meal", "a second text"])    # float32 [2, encoder.width]

    Raises:
        UserError: no model there, no tokenizer, pickled weights, or an architecture that is not read.
    """
    reader, tokenizer = load_encoder(folder)
    device = Parallel.local_device()
    return Encoder(reader.to(device).eval(), tokenizer, device)
