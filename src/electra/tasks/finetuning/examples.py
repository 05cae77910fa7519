"""Labelled examples as a source of the training loop: an order drawn for each epoch, like lengths in a batch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from electra.dataset.batches import move_tensor
from electra.interchange.encoders import Inputs
from electra.tokenization import Tokenizer

WINDOW = 50  # batches that are drawn together and sorted by length
MULTIPLE = 8  # tokens to which a batch's length is rounded up


@dataclass(frozen=True)
class Example:
    """What is read, special tokens included, with the segment of each token, and what the problem wants to be learned
    of it. ``of``: which sample it is, or is a window of.
    """

    ids: list[int]
    segments: list[int]
    target: Any
    of: int = 0


@dataclass(frozen=True)
class ExampleBatch:
    """Examples as tensors, padded to the longest. ``documents``: 1 is text, 0 padding. ``address``: (epoch, number).

    ``targets``: what the problem makes of its examples' targets; ``count``, int64: how many of them the loss counts.
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
        """What an encoder reads of it."""
        return Inputs(self.ids, self.positions, self.segments, self.documents)

    def tensors(self) -> dict[str, Tensor]:
        """All of it by name."""
        names = ("ids", "positions", "segments", "documents", "address", "count")
        return {name: getattr(self, name) for name in names} | dict(self.targets)

    def to(self, device: torch.device) -> "ExampleBatch":
        """The same on a device."""
        return self.replaced({name: move_tensor(value, device) for name, value in self.tensors().items()})

    def replaced(self, tensors: Mapping[str, Tensor]) -> "ExampleBatch":
        """The same with other tensors, named as ``tensors`` names them."""
        targets = {name: tensors[name] for name in self.targets}
        return ExampleBatch(**{name: value for name, value in tensors.items() if name not in targets}, targets=targets)


# (examples, length of the batch) → tensors by name, whose first axis is the examples, and how many targets count
MakeTargets = Callable[[Sequence[Example], int], tuple[dict[str, Tensor], int]]


class ExampleRef(NamedTuple):
    """An example of an epoch, and the length to which its step's rows are padded on all processes: dropout's addresses
    in attention depend on it."""

    epoch: int
    number: int
    length: int


@dataclass(frozen=True)
class ExamplePlace:
    """The next example of an epoch's order."""

    epoch: int = 0
    row: int = 0


class ExampleSource:
    """See above. What is read at a place depends on the examples, ``rows`` and ``seed`` alone."""

    start = ExamplePlace()

    def __init__(self, examples: Sequence[Example], targets: MakeTargets, pad: int, rows: int, seed: int):
        self.examples, self.targets, self.pad, self.rows, self.seed = examples, targets, pad, rows, seed
        self.lengths = np.array([len(example.ids) for example in examples])
        self.order = lru_cache(2)(self.ordered)

    def ordered(self, epoch: int) -> list[int]:
        """The examples of an epoch: at random, sorted by length within ``WINDOW`` batches, which are then shuffled."""
        draw = np.random.default_rng([self.seed, epoch])
        drawn = draw.permutation(len(self.examples))
        batches: list[np.ndarray] = []
        for start in range(0, len(drawn), WINDOW * self.rows):
            window = drawn[start : start + WINDOW * self.rows]
            window = window[np.argsort(self.lengths[window], kind="stable")]
            batches += np.split(window, range(self.rows, len(window), self.rows))
        whole = [batch for batch in batches if len(batch) == self.rows]
        rest = [batch for batch in batches if len(batch) < self.rows]
        return np.concatenate([whole[index] for index in draw.permutation(len(whole))] + rest).tolist()

    def take(self, place: ExamplePlace, count: int) -> tuple[list[ExampleRef], ExamplePlace]:
        """The next examples; the last step of an epoch goes on into the next."""
        chosen: list[tuple[int, int]] = []
        while len(chosen) < count:
            part = self.order(place.epoch)[place.row : place.row + count - len(chosen)]
            chosen += [(place.epoch, number) for number in part]
            after = replace(place, row=place.row + len(part))
            place = after if after.row < len(self.examples) else ExamplePlace(place.epoch + 1)
        return self.together(chosen), place

    def together(self, chosen: Sequence[tuple[int, int]]) -> list[ExampleRef]:
        """References to examples, (epoch, number), that are padded to one length."""
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

    def by_length(self, at_once: int) -> list[list[ExampleRef]]:
        """All examples once, in batches of at most ``at_once``, those of like length together."""
        order = np.argsort(self.lengths, kind="stable").tolist()
        return [
            self.together([(0, number) for number in order[at : at + at_once]]) for at in range(0, len(order), at_once)
        ]


def encode_texts(
    texts: Sequence[tuple[str, str | None]], tokenizer: Tokenizer, length: int
) -> list[tuple[list[int], list[int]]]:
    """(ids, segments) of texts and pairs with special tokens, cut to ``length``: the longer of two loses more."""
    backend = type(tokenizer.backend).from_str(tokenizer.backend.to_str())
    backend.enable_truncation(length, strategy="longest_first")
    backend.encode_special_tokens = True
    given = [text if pair is None else (text, pair) for text, pair in texts]
    return [(found.ids, found.type_ids) for found in backend.encode_batch(given)]
