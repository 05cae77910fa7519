"""A place in the data → rows → a batch: pure functions, so that a run goes on from a place as if it never stopped.

The data is cut into blocks of about 65,000 tokens. An epoch permutes the blocks; groups of them are laid out into rows,
and the rows of a group are shuffled. No index of the corpus is held in memory, and every token of the split stands in
exactly one row of an epoch.
"""

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from electra.errors import UserError
from electra.text.shards import Shards

GROUP = 16  # blocks whose rows are shuffled together: about a million tokens
SHORTEST = 8  # tokens, special ones included, for which a packed row begins another piece of a text that does not fit
SHORTEST_TARGET = 5  # original code

Edges = Int[np.ndarray, "_"]
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
    neither special token nor padding. ``address``: (epoch, block, row), which names a row; randomness is keyed by it.
    """

    ids: Int[Tensor, "rows length"]
    positions: Int[Tensor, "rows length"]
    segments: Int[Tensor, "rows length"]
    documents: Int[Tensor, "rows length"]
    choosable: Bool[Tensor, "rows length"]
    address: Int[Tensor, "rows 3"]


class Piece(NamedTuple):
    """Tokens ``start`` … ``stop`` of a shard: [CLS] start … middle [SEP], then middle … stop [SEP] if there are any."""

    start: int
    middle: int
    stop: int

    @property
    def length(self) -> int:
        """Positions in a row."""
        return self.stop - self.start + 2 + (self.middle < self.stop)


class Row(NamedTuple):
    """A row by reference: its address, and which pieces of which shard stand in it."""

    epoch: int
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


@dataclass(frozen=True)
class Paper:
    """The paper's rows, [CLS] A [SEP] B [SEP] of one document; what does not fit begins the next row."""

    kind: Literal["paper"] = "paper"
    single_segment: float = 0.1
    """Share of the rows with A alone."""
    short: float = 0.05
    """Share of the rows that aim at a random length."""

    def lay_out(self, documents: Sequence[Edges], length: int, draw: np.random.Generator) -> list[tuple[Piece, ...]]:
        """One piece a row. A takes units up to about half of the length that is aimed at, B the rest."""
        return [(piece,) for edges in documents for piece in self.pieces(edges.tolist(), length, draw)]

    def pieces(self, edges: list[int], length: int, draw: np.random.Generator) -> Iterator[Piece]:
        """The document from its first token to its last; ``edges`` are those of its units."""
        start, ends = edges[0], edges[1:]  # what is not laid out yet, and where its units end
        while ends:
            short = draw.random() < self.short
            target = int(draw.integers(SHORTEST_TARGET, length + 1)) if short else length
            half = edges[-1] if draw.random() < self.single_segment else start + (target - 3) // 2
            middle = stop = start
            for end in ends[: bisect_left(ends, start + target) + 1]:
                # A unit that crosses the half goes to A half of the time, as long as B has none.
                if middle == stop and (stop == start or end < half or (stop < half and draw.random() < 0.5)):
                    middle = end
                stop = end
            middle = min(middle, start + length - 2)
            stop = min(stop, max(middle, start + length - 3))
            yield Piece(start, middle, stop)
            start, ends = stop, ends[bisect_right(ends, stop) :]


@dataclass(frozen=True)
class Packed:
    """Full rows: document after document, each in its own [CLS] … [SEP], cut where the row ends."""

    kind: Literal["packed"] = "packed"

    def lay_out(self, documents: Sequence[Edges], length: int, draw: np.random.Generator) -> list[tuple[Piece, ...]]:
        """Rows of pieces; what does not fit of a document begins the next row, or all of it if next to none fits."""
        rows: list[tuple[Piece, ...]] = []
        row: list[Piece] = []
        left = length
        for edges in documents:
            start, stop = int(edges[0]), int(edges[-1])
            while start < stop:
                if left < min(SHORTEST, stop - start + 2):
                    rows.append(tuple(row))
                    row, left = [], length
                end = min(stop, start + left - 2)
                row.append(Piece(start, end, end))
                left -= row[-1].length
                start = end
        return [*rows, tuple(row)] if row else rows


Layout = Paper | Packed


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
        self.blocks = shards.blocks()
        self.groups = -(-len(self.blocks) // GROUP)
        self.group = lru_cache(2)(self.laid_out)

    def take(self, place: Place, rows: int) -> tuple[list[Row], Place]:
        """The next ``rows`` rows from ``place``, going on into the next epoch, and the place after them."""
        refs: list[Row] = []
        while len(refs) < rows:
            group = self.group(place.epoch, place.group)
            part = group[place.row : place.row + rows - len(refs)]
            refs += part
            if place.row + len(part) < len(group):
                place = replace(place, row=place.row + len(part))
            elif place.group + 1 < self.groups:
                place = Place(place.epoch, place.group + 1)
            else:
                place = Place(place.epoch + 1)
        return refs, place

    def epoch_refs(self, epoch: int) -> Iterator[Row]:
        """Every row of an epoch once, in its order."""
        for group in range(self.groups):
            yield from self.group(epoch, group)

    def laid_out(self, epoch: int, group: int) -> list[Row]:
        """The rows of a group, in the order in which they are read."""
        order = self.draw(epoch, -1).permutation(len(self.blocks))
        rows: list[Row] = []
        for index in order[group * GROUP : (group + 1) * GROUP].tolist():
            shard, block = self.blocks[index]
            documents = self.shards.files[shard].block(block)
            laid = self.layout.lay_out(documents, self.length, self.draw(epoch, index))
            rows += [Row(epoch, index, number, shard, pieces) for number, pieces in enumerate(laid)]
        return [rows[index] for index in self.draw(epoch, -2 - group).permutation(len(rows)).tolist()]

    def draw(self, epoch: int, what: int) -> np.random.Generator:
        """Random numbers for a block (from 0), the order of blocks (-1) or a group (-2 and down) of an epoch."""
        address = f"{self.shards.fingerprint}/{self.seed}/{epoch}/{what}"
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
