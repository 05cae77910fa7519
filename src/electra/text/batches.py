"""A place in the data → rows → a batch: pure functions, so that a run goes on from a place as if it never stopped.

The data is cut into blocks of about 65,000 tokens. An epoch permutes the blocks; groups of them are laid out into rows,
and the rows of a group are shuffled. No index of the corpus is held in memory, and every token of the split stands in
exactly one row of an epoch. Where sources have weights, each is read in passes of its own, a longer or shorter stretch
of them in an epoch; a pass reads every token of its source once.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from electra.errors import UserError
from electra.text.layout import SHORTEST, Layout, Piece
from electra.text.shards import Shards

GROUP = 16  # blocks whose rows are shuffled together: about a million tokens

Fields = TypeVar("Fields", bound="Tensors")


@dataclass(frozen=True)
class Tensors:
    """A dataclass whose fields are tensors."""

    def tensors(self) -> dict[str, Tensor]:
        """The fields by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def to(self: Fields, device: torch.device) -> Fields:
        """The same on a device."""
        return type(self)(**{name: value.to(device, non_blocking=True) for name, value in self.tensors().items()})


@dataclass(frozen=True)
class Batch(Tensors):
    """``rows`` rows of ``length`` tokens.

    ``documents``: 0 is padding; 1, 2 … number the texts of a row, and attention stays inside one. ``choosable``:
    neither special token nor padding. ``address``: (pass, block, row), which names a row; randomness is keyed by it.
    """

    ids: Int[Tensor, "rows length"]
    positions: Int[Tensor, "rows length"]
    segments: Int[Tensor, "rows length"]
    documents: Int[Tensor, "rows length"]
    choosable: Bool[Tensor, "rows length"]
    address: Int[Tensor, "rows 3"]


class Row(NamedTuple):
    """A row by reference: its address, and which pieces of which shard stand in it.

    ``turn``: which pass over its source, from 0; the epoch, where sources have no weights.
    """

    turn: int
    block: int
    number: int
    shard: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Place:
    """The next row: the epoch, the group in its order of blocks, the row in the group's order of rows."""

    epoch: int = 0
    group: int = 0
    row: int = 0


class Rows:
    """The rows of a split: which come next, and what stands in them."""

    start = Place()

    def __init__(self, shards: Shards, layout: Layout, length: int, seed: int):
        """Raises ``UserError`` for a split without tokens or rows too short for any."""
        if length < SHORTEST:
            raise UserError(f"rows of {length} tokens: at least {SHORTEST} are needed")
        if not shards.tokens:
            raise UserError(f"{shards.folder}: the {shards.split} split is empty; give `electra prepare` more text")
        self.shards, self.layout, self.length, self.seed = shards, layout, length, seed
        self.streams = streams(shards)
        self.order, self.group = lru_cache(2)(self.ordered), lru_cache(2)(self.laid_out)

    def take(self, place: Place, rows: int) -> tuple[list[Row], Place]:
        """The next ``rows`` rows from ``place``, going on into the next epoch, and the place after them."""
        refs: list[Row] = []
        while len(refs) < rows:
            group = self.group(place.epoch, place.group)
            part = group[place.row : place.row + rows - len(refs)]
            refs += part
            if place.row + len(part) < len(group):
                place = replace(place, row=place.row + len(part))
            elif place.group + 1 < self.groups(place.epoch):
                place = Place(place.epoch, place.group + 1)
            else:
                place = Place(place.epoch + 1)
        return refs, place

    def epoch_refs(self, epoch: int) -> Iterator[Row]:
        """Every row of an epoch once, in its order."""
        for group in range(self.groups(epoch)):
            yield from self.group(epoch, group)

    def groups(self, epoch: int) -> int:
        """How many groups of blocks an epoch has."""
        return -(-len(self.order(epoch)) // GROUP)

    def ordered(self, epoch: int) -> Int[np.ndarray, "blocks 2"]:
        """The blocks of an epoch as (pass over its source, block), in the order in which they are read."""
        read = np.concatenate([self.stretch(number, epoch) for number in range(len(self.streams))])
        return read[self.draw(epoch, "order").permutation(len(read))]

    def stretch(self, number: int, epoch: int) -> Int[np.ndarray, "blocks 2"]:
        """What an epoch reads of a source: the next stretch of its passes, each of which is a permutation."""
        stream = self.streams[number]
        count = len(stream.blocks)
        first, last = (int(stream.passes * each * count + 1e-6) for each in (epoch, epoch + 1))
        read = [np.empty((0, 2), dtype=np.int64)]
        for turn in range(first // count, -(-last // count)):
            order = stream.blocks[self.draw(turn, f"source {number}").permutation(count)]
            part = order[max(0, first - turn * count) : last - turn * count]
            read.append(np.stack([np.full(len(part), turn), part], 1))
        return np.concatenate(read)

    def laid_out(self, epoch: int, group: int) -> list[Row]:
        """The rows of a group, in the order in which they are read."""
        rows: list[Row] = []
        for turn, index in self.order(epoch)[group * GROUP : (group + 1) * GROUP].tolist():
            shard, block = self.shards.place(index)
            documents = self.shards.files[shard].block(block)
            laid = self.layout.lay_out(documents, self.length, self.draw(turn, f"block {index}"))
            rows += [Row(turn, index, number, shard, pieces) for number, pieces in enumerate(laid)]
        return [rows[index] for index in self.draw(epoch, f"rows of {group}").permutation(len(rows)).tolist()]

    def draw(self, turn: int, what: str) -> np.random.Generator:
        """Random numbers for something in an epoch or a pass."""
        address = f"{self.shards.fingerprint}/{self.seed}/{turn}/{what}"
        digest = hashlib.blake2b(address.encode(), digest_size=16).digest()
        return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))

    def batch(self, refs: Sequence[Row]) -> Batch:
        """The rows as tensors."""
        shape = (len(refs), self.length)
        special = self.shards.special
        ids = np.full(shape, special["pad"], dtype=np.int64)
        positions, segments, documents = np.zeros((3, *shape), dtype=np.int64)
        text = np.zeros(shape, dtype=bool)
        for at, row in enumerate(refs):
            tokens, left = self.shards.files[row.shard].tokens, 0
            for number, piece in enumerate(row.pieces, 1):
                first, second = piece.middle - piece.start, piece.stop - piece.middle
                right, middle = left + piece.length, left + first + 2
                ids[at, left], ids[at, middle - 1], ids[at, right - 1] = special["cls"], special["sep"], special["sep"]
                ids[at, left + 1 : middle - 1] = tokens[piece.start : piece.middle]
                text[at, left + 1 : middle - 1] = True
                if second:
                    ids[at, middle : right - 1] = tokens[piece.middle : piece.stop]
                    segments[at, middle:right] = 1
                    text[at, middle : right - 1] = True
                positions[at, left:right] = np.arange(piece.length)
                documents[at, left:right] = number
                left = right
        choosable = text & ~np.isin(ids, [special[name] for name in ("pad", "cls", "sep", "mask")])
        address = np.array([row[:3] for row in refs], dtype=np.int32).reshape(-1, 3)
        tensors = (ids, positions, segments, documents, choosable, address)
        return Batch(*(torch.from_numpy(array) for array in tensors))


@dataclass(frozen=True)
class Stream:
    """A source as it is read: its blocks, and how many passes over them make an epoch."""

    blocks: Int[np.ndarray, " blocks"]
    passes: float


def streams(shards: Shards) -> list[Stream]:
    """All blocks once an epoch, or each source's as often as gives its tokens their share of an epoch."""
    if not shards.weights:
        return [Stream(np.arange(shards.blocks), 1.0)]
    found = []
    for name, weight in shards.weights.items():
        files = [number for number, source in enumerate(shards.sources) if source == name]
        tokens = sum(shards.files[number].header.tokens for number in files)
        if tokens and weight:
            blocks = [shards.first_blocks[number] + np.arange(shards.files[number].blocks) for number in files]
            found.append(Stream(np.concatenate(blocks), weight * shards.tokens / tokens))
    return found
