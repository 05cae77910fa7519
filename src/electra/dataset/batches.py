"""A place in the data → rows → a batch: pure functions, so that a run goes on from a place as if it never stopped.

The data is cut into blocks of about 65,000 tokens. An epoch permutes the blocks; groups of them are laid out into rows,
and the rows of a group are shuffled. No index of the corpus is held in memory, and every token of the split stands in
exactly one row of an epoch. Where sources have weights, each is read in passes of its own, a longer or shorter stretch
of them in an epoch; a pass reads every token of its source once.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from electra.dataset.layout import SHORTEST_PIECE, Layout, count_positions, count_rows, make_array
from electra.dataset.shards import Shards
from electra.dataset.tokens import TokensOnDisk, TokenStore, convert_to_ids
from electra.errors import UserError

BLOCKS_PER_GROUP = 16  # blocks whose rows are shuffled together: about a million tokens
NEVER_CHOSEN = ("pad", "cls", "sep", "mask")

Fields = TypeVar("Fields", bound="Tensors")


@dataclass(frozen=True)
class Tensors:
    """A dataclass whose fields are tensors."""

    def tensors(self) -> dict[str, Tensor]:
        """The fields by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def to(self: Fields, device: torch.device) -> Fields:
        """The same on a device."""
        return self.replaced({name: move_tensor(value, device) for name, value in self.tensors().items()})

    def replaced(self: Fields, tensors: Mapping[str, Tensor]) -> Fields:
        """The same with other tensors, named as ``tensors`` names them."""
        return type(self)(**tensors)


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


class Piece(NamedTuple):
    """Tokens ``start`` … ``stop`` of a shard: [CLS] start … middle [SEP], then middle … stop [SEP] if there are any."""

    start: int
    middle: int
    stop: int


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
class RowGroup:
    """Rows that are laid out, as numbers, of which a ``Row`` is made when it is asked for.

    ``rows``: (turn, block, number, shard, its first piece, the one after its last). ``pieces``: (start, middle, stop).
    """

    rows: Int[np.ndarray, "rows 6"]
    pieces: Int[np.ndarray, "pieces 3"]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> list[Row]:
        return [
            Row(turn, block, number, shard, tuple(map(Piece._make, self.pieces[first:last].tolist())))
            for turn, block, number, shard, first, last in self.rows[part].tolist()
        ]


@dataclass(frozen=True)
class Place:
    """The next row: the epoch, the group in its order of blocks, the row in the group's order of rows."""

    epoch: int = 0
    group: int = 0
    row: int = 0


class Rows:
    """The rows of a split: which come next, and what stands in them."""

    start = Place()

    def __init__(self, shards: Shards, layout: Layout, length: int, seed: int, tokens: TokenStore | None = None):
        """Raises ``UserError`` for a split without tokens or rows too short for any."""
        if length < SHORTEST_PIECE:
            raise UserError(f"rows of {length} tokens: at least {SHORTEST_PIECE} are needed")
        if not shards.tokens:
            raise UserError(f"{shards.folder}: the {shards.split} split is empty; give `electra prepare` more text")
        self.shards, self.layout, self.length, self.seed = shards, layout, length, seed
        self.tokens = tokens or TokensOnDisk(shards)
        self.streams = weigh_sources(shards)
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
            yield from self.group(epoch, group)[:]

    def groups(self, epoch: int) -> int:
        """How many groups of blocks an epoch has."""
        return -(-len(self.order(epoch)) // BLOCKS_PER_GROUP)

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

    def laid_out(self, epoch: int, group: int) -> RowGroup:
        """The rows of a group, in the order in which they are read."""
        found, pieces, before = [], [], 0
        for turn, index in self.order(epoch)[group * BLOCKS_PER_GROUP : (group + 1) * BLOCKS_PER_GROUP].tolist():
            shard, block = self.shards.place(index)
            documents = self.shards.files[shard].block(block)
            laid = self.layout.lay_out(documents, self.length, self.draw(turn, f"block {index}"))
            number = np.arange(count_rows(laid))
            first, last = (before + np.searchsorted(laid[:, 0], number, side) for side in ("left", "right"))
            found.append(np.column_stack(np.broadcast_arrays(turn, index, number, shard, first, last)))
            pieces.append(laid[:, 1:])
            before += len(laid)
        laid_rows = np.concatenate(found)
        order = self.draw(epoch, f"rows of {group}").permutation(len(laid_rows))
        return RowGroup(laid_rows[order], np.concatenate(pieces))

    def draw(self, turn: int, what: str) -> np.random.Generator:
        """Random numbers for something in an epoch or a pass."""
        address = f"{self.shards.fingerprint}/{self.seed}/{turn}/{what}"
        digest = hashlib.blake2b(address.encode(), digest_size=16).digest()
        return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))

    def batch(self, refs: Sequence[Row]) -> Batch:
        """The rows as tensors, where the tokens are."""
        pieces = make_array((piece for row in refs for piece in row.pieces), 3)
        counts = np.array([len(row.pieces) for row in refs], dtype=np.int64)
        files = np.repeat(np.array([row.shard for row in refs], dtype=np.int64), counts)
        tokens, starts = self.tokens.read(files, pieces[:, ::2])
        stand = move_tensor(torch.from_numpy(place_pieces(pieces, starts, counts, self.length)), tokens.device)
        address = move_tensor(
            torch.from_numpy(make_array((row[:3] for row in refs), 3).astype(np.int32)), tokens.device
        )
        return assemble_batch(stand, tokens, address, self.length, self.shards.special)


def place_pieces(
    pieces: Int[np.ndarray, "pieces 3"],
    starts: Int[np.ndarray, " pieces"],
    counts: Int[np.ndarray, " rows"],
    length: int,
) -> Int[np.ndarray, "6 pieces"]:
    """Where pieces stand, ``counts`` of them in each row, in rows that stand one behind the other.

    Of each: the position of its [CLS], of the [SEP] behind A and of its last one; how many positions there are until
    the next piece, padding included; its number in its row; where its tokens begin.
    """
    start, middle, _ = pieces.T
    sizes, row = count_positions(pieces), np.repeat(np.arange(len(counts)), counts)
    first = np.repeat(np.cumsum(counts) - counts, counts)  # piece of the row
    before = np.cumsum(sizes) - sizes  # positions of all pieces before, as if no row had padding
    left = row * length + before - before[first]
    room = np.diff(left, append=len(counts) * length)
    number = np.arange(len(pieces)) - first + 1
    return np.stack([left, left + middle - start + 1, left + sizes - 1, room, number, starts])


def assemble_batch(
    pieces: Int[Tensor, "6 pieces"],
    tokens: Int[Tensor, " tokens"],
    address: Int[Tensor, "rows 3"],
    length: int,
    special: Mapping[str, int],
) -> Batch:
    """Rows of ``pieces`` (see ``place_pieces``) of ``tokens`` (see ``Tokens.read``), on the device that these are
    on."""
    total = len(address) * length
    left, cut, last, room, number, start = pieces
    piece = torch.repeat_interleave(room, output_size=total)  # which one stands at each position
    at = torch.arange(total, device=pieces.device)
    position = at - left.index_select(0, piece)
    segment = (at > cut.index_select(0, piece)).long()
    document = number.index_select(0, piece)
    token = start.index_select(0, piece) + position - segment - 1
    ids = convert_to_ids(
        tokens.index_select(0, token.clamp_(0, len(tokens) - 1))
    )  # any, where a special one comes to stand
    padding = at > last.index_select(0, piece)
    for values, value in ((ids, special["pad"]), (position, 0), (segment, 0), (document, 0)):
        values.masked_fill_(padding, value)
    for where, name in ((left, "cls"), (cut, "sep"), (last, "sep")):
        ids.index_fill_(0, where, special[name])
    choosable = torch.ones_like(padding)
    for name in NEVER_CHOSEN:
        choosable &= ids != special[name]
    ids, position, segment, document, choosable = (
        values.view(-1, length) for values in (ids, position, segment, document, choosable)
    )
    return Batch(ids, position, segment, document, choosable, address)


def move_tensor(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device; nobody waits for what a GPU has to do before it copies."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.contiguous().pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@dataclass(frozen=True)
class WeightedSource:
    """A source as it is read: its blocks, and how many passes over them make an epoch."""

    blocks: Int[np.ndarray, " blocks"]
    passes: float


def weigh_sources(shards: Shards) -> list[WeightedSource]:
    """All blocks once an epoch, or each source's as often as gives its tokens their share of an epoch."""
    if not shards.weights:
        return [WeightedSource(np.arange(shards.blocks), 1.0)]
    found = []
    for name, weight in shards.weights.items():
        files = [number for number, source in enumerate(shards.sources) if source == name]
        tokens = sum(shards.files[number].header.tokens for number in files)
        if tokens and weight:
            blocks = [shards.first_blocks[number] + np.arange(shards.files[number].blocks) for number in files]
            found.append(WeightedSource(np.concatenate(blocks), weight * shards.tokens / tokens))
    return found
