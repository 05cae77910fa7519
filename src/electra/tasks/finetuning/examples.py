"""Labelled examples as a source of the training loop: each epoch in an order of its own, like lengths in a batch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from electra.dataset.batches import move_tensor
from electra.errors import UserError
from electra.interchange.encoders import Inputs
from electra.tokenization.tokenizer import Tokenizer

WINDOW = 50  # batches that are drawn together and sorted by length
MULTIPLE = 8  # tokens to which a batch's length is rounded up

Target = Any  # what is to be learned of an example: each problem has a type of its own


@dataclass(frozen=True)
class Example:
    """Tokens, special ones included, each with its segment, and what is to be learned of them.

    ``sample``: the number of the sample in its split that this is, or is a window of.
    """

    ids: list[int]
    segments: list[int]
    target: Target
    sample: int = 0


@dataclass(frozen=True)
class ExampleBatch:
    """Examples as tensors, padded to one length.

    ``documents``: 1 is text, 0 padding. ``address``: (epoch, number of the example). ``targets``: what the problem
    makes of its examples' targets. ``count``, int64: how many targets the loss counts.
    """

    ids: Int[Tensor, "rows length"]
    positions: Int[Tensor, "rows length"]
    segments: Int[Tensor, "rows length"]
    documents: Int[Tensor, "rows length"]
    address: Int[Tensor, "rows 2"]
    targets: Mapping[str, Tensor]
    count: Int[Tensor, ""]

    @property
    def inputs(self) -> Inputs:
        """The part that an encoder reads."""
        return Inputs(self.ids, self.positions, self.segments, self.documents)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, targets included."""
        names = ("ids", "positions", "segments", "documents", "address", "count")
        return {name: getattr(self, name) for name in names} | dict(self.targets)

    def to(self, device: torch.device) -> "ExampleBatch":
        """The batch on a device."""
        return self.replaced({name: move_tensor(value, device) for name, value in self.tensors().items()})

    def replaced(self, tensors: Mapping[str, Tensor]) -> "ExampleBatch":
        """A batch of other tensors, named as ``tensors()`` names them."""
        targets = {name: tensors[name] for name in self.targets}
        return ExampleBatch(**{name: value for name, value in tensors.items() if name not in targets}, targets=targets)


# (examples, length of the batch) → tensors by name, whose first axis is the examples, and how many targets count
MakeTargets = Callable[[Sequence[Example], int], tuple[dict[str, Tensor], int]]


class ExampleRef(NamedTuple):
    """An example in an epoch, and the length to which all processes pad the rows of its step.

    The length belongs to the reference because dropout's addresses in attention depend on it.
    """

    epoch: int
    number: int
    length: int


@dataclass(frozen=True)
class ExamplePlace:
    """The next example: the epoch, and the place in its order."""

    epoch: int = 0
    row: int = 0


class ExampleSource:
    """Examples as the loop's source of rows: what is read at a place depends on examples, ``rows`` and ``seed`` alone.

    ``pad``: the id of [PAD]. ``rows``: examples of a batch.
    """

    start = ExamplePlace()

    def __init__(self, examples: Sequence[Example], targets: MakeTargets, pad: int, rows: int, seed: int):
        self.examples, self.targets, self.pad, self.rows, self.seed = examples, targets, pad, rows, seed
        self.lengths = np.array([len(example.ids) for example in examples])
        self.order = lru_cache(2)(self.draw_order)

    def draw_order(self, epoch: int) -> list[int]:
        """The examples of an epoch: at random, sorted by length within ``WINDOW`` batches, which are then shuffled."""
        generator = np.random.default_rng([self.seed, epoch])
        drawn = generator.permutation(len(self.examples))
        batches: list[np.ndarray] = []
        for start in range(0, len(drawn), WINDOW * self.rows):
            window = drawn[start : start + WINDOW * self.rows]
            window = window[np.argsort(self.lengths[window], kind="stable")]
            batches += np.split(window, range(self.rows, len(window), self.rows))
        full = [batch for batch in batches if len(batch) == self.rows]
        rest = [batch for batch in batches if len(batch) < self.rows]
        return np.concatenate([full[index] for index in generator.permutation(len(full))] + rest).tolist()

    def take(self, place: ExamplePlace, count: int) -> tuple[list[ExampleRef], ExamplePlace]:
        """The next ``count`` examples and the place after them; the last step of an epoch goes on into the next."""
        chosen: list[tuple[int, int]] = []
        while len(chosen) < count:
            part = self.order(place.epoch)[place.row : place.row + count - len(chosen)]
            chosen += [(place.epoch, number) for number in part]
            after = replace(place, row=place.row + len(part))
            place = after if after.row < len(self.examples) else ExamplePlace(place.epoch + 1)
        return self.refer_to(chosen), place

    def refer_to(self, chosen: Sequence[tuple[int, int]]) -> list[ExampleRef]:
        """References to examples, given as (epoch, number), that are padded to one length."""
        length = -(-int(self.lengths[[number for _, number in chosen]].max()) // MULTIPLE) * MULTIPLE
        return [ExampleRef(epoch, number, length) for epoch, number in chosen]

    def batch(self, refs: Sequence[ExampleRef]) -> ExampleBatch:
        """The examples as tensors."""
        chosen, length = [self.examples[ref.number] for ref in refs], refs[0].length
        ids = torch.full((len(chosen), length), self.pad)
        segments, documents = torch.zeros((2, len(chosen), length), dtype=torch.int64)
        for row, example in enumerate(chosen):
            ids[row, : len(example.ids)] = torch.tensor(example.ids)
            segments[row, : len(example.ids)] = torch.tensor(example.segments)
            documents[row, : len(example.ids)] = 1
        targets, count = self.targets(chosen, length)
        address = torch.tensor([(ref.epoch, ref.number) for ref in refs], dtype=torch.int32)
        positions = torch.arange(length).expand_as(ids)
        return ExampleBatch(ids, positions, segments, documents, address, targets, torch.tensor(count))

    def split_by_length(self, most: int) -> list[list[ExampleRef]]:
        """All examples once, in batches of at most ``most``, those of like length together."""
        order = np.argsort(self.lengths, kind="stable").tolist()
        return [
            self.refer_to([(0, number) for number in order[start : start + most]])
            for start in range(0, len(order), most)
        ]


def require_first_token(tokenizer: Tokenizer) -> None:
    """Raise ``UserError`` unless a special token stands before every text: its state is what stands for the text."""
    if not tokenizer.frame.before:
        raise UserError(
            "this model's tokenizer puts no [CLS] before a text, and its state is what the head reads; give the "
            "tokenizer one, or choose a model that has one"
        )


def encode_texts(
    texts: Sequence[tuple[str, str | None]], tokenizer: Tokenizer, length: int
) -> list[tuple[list[int], list[int]]]:
    """(ids, segments) of texts and pairs with special tokens, cut to ``length``: the longer of two loses more.

    An empty second text is none, as in transformers' pipelines.

    Raises:
        UserError: as ``require_first_token``.
    """
    require_first_token(tokenizer)
    backend = type(tokenizer.backend).from_str(tokenizer.backend.to_str())
    backend.enable_truncation(length, strategy="longest_first")
    backend.encode_special_tokens = True
    encodings = backend.encode_batch([(text, pair) if pair else text for text, pair in texts])
    return [(encoding.ids, encoding.type_ids) for encoding in encodings]
