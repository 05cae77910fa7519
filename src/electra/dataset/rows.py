"""A place in the data → the next rows: a pure function, so that a run continues from a place as if it never stopped.

The data is cut into blocks of about 65,000 tokens. An epoch permutes the blocks; groups of them are laid out into rows,
and the rows of a group are shuffled. No index of the corpus is held in memory, and every token of the split stands in
exactly one row of an epoch. Where sources have weights, each is read in passes of its own, a longer or shorter stretch
of them in an epoch; a pass reads every token of its source once.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int

from electra.dataset.batches import Batch, assemble_batch, move_tensor, place_pieces
from electra.dataset.layout import SHORTEST_PIECE, Layout, count_rows, make_array
from electra.dataset.shards import Shards
from electra.dataset.tokens import TokensOnDisk, TokenStore
from electra.errors import UserError

BLOCKS_PER_GROUP = 16  # blocks whose rows are shuffled together: about a million tokens


class Piece(NamedTuple):
    """Tokens ``start`` … ``stop`` of a shard: [CLS] start … middle [SEP], then middle … stop [SEP] if there are any."""

    start: int
    middle: int
    stop: int


class Row(NamedTuple):
    """A row by reference: its address (``turn``, ``block``, ``number``), and its pieces of a shard.

    ``turn``: which pass over its source, from 0; without weights, the epoch.
    """

    turn: int
    block: int
    number: int
    shard: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class RowGroup:
    """Rows as arrays, from which ``Row`` objects are made when they are asked for.

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
    """The next row to read: the epoch, the group of the epoch's blocks, the row in the group's order."""

    epoch: int = 0
    group: int = 0
    row: int = 0


class Rows:
    """The rows of a split: their order in each epoch, and the batches they make."""

    start = Place()

    def __init__(self, shards: Shards, layout: Layout, length: int, seed: int, tokens: TokenStore | None = None):
        """``length``: tokens of a row. ``tokens``: where tokens are read, if not from the shards' files.

        Raises:
            UserError: a split without tokens; rows too short for any.
        """
        if length < SHORTEST_PIECE:
            raise UserError(f"rows of {length} tokens: at least {SHORTEST_PIECE} are needed")
        if not shards.tokens:
            raise UserError(f"{shards.folder}: the {shards.split} split is empty; give `electra prepare` more text")
        self.shards, self.layout, self.length, self.seed = shards, layout, length, seed
        self.tokens = tokens or TokensOnDisk(shards)
        self.sources = weigh_sources(shards)
        self.block_order = lru_cache(2)(self.order_blocks)  # by epoch
        self.group = lru_cache(2)(self.lay_out_group)  # by epoch and number

    def take(self, place: Place, count: int) -> tuple[list[Row], Place]:
        """The next ``count`` rows from ``place``, continued in the next epoch, and the place after them."""
        rows: list[Row] = []
        while len(rows) < count:
            group = self.group(place.epoch, place.group)
            part = group[place.row : place.row + count - len(rows)]
            rows += part
            if place.row + len(part) < len(group):
                place = replace(place, row=place.row + len(part))
            elif place.group + 1 < self.count_groups(place.epoch):
                place = Place(place.epoch, place.group + 1)
            else:
                place = Place(place.epoch + 1)
        return rows, place

    def iterate_epoch(self, epoch: int) -> Iterator[Row]:
        """Every row of an epoch once, in its order."""
        for group in range(self.count_groups(epoch)):
            yield from self.group(epoch, group)[:]

    def count_groups(self, epoch: int) -> int:
        """The number of groups of blocks in an epoch."""
        return -(-len(self.block_order(epoch)) // BLOCKS_PER_GROUP)

    def order_blocks(self, epoch: int) -> Int[np.ndarray, "blocks 2"]:
        """The blocks of an epoch as (pass over its source, block), in the order in which they are read."""
        blocks = np.concatenate([self.choose_blocks(number, epoch) for number in range(len(self.sources))])
        return blocks[self.random_numbers(epoch, "order").permutation(len(blocks))]

    def choose_blocks(self, number: int, epoch: int) -> Int[np.ndarray, "blocks 2"]:
        """The blocks of a source in an epoch, (pass, block), int32: the next stretch of its passes, each of them a
        permutation of its blocks."""
        source = self.sources[number]
        count = len(source.blocks)
        first, last = (int(source.passes * epochs * count + 1e-6) for epochs in (epoch, epoch + 1))
        chosen = [np.empty((0, 2), dtype=np.int32)]
        for turn in range(first // count, -(-last // count)):
            blocks = self.random_numbers(turn, f"source {number}").permutation(source.blocks)
            part = blocks[max(0, first - turn * count) : last - turn * count]
            chosen.append(np.stack([np.full_like(part, turn), part], 1))
        return np.concatenate(chosen)

    def lay_out_group(self, epoch: int, group: int) -> RowGroup:
        """The rows of a group, in the order in which they are read."""
        rows, pieces, pieces_before = [], [], 0
        blocks = self.block_order(epoch)[group * BLOCKS_PER_GROUP : (group + 1) * BLOCKS_PER_GROUP]
        for turn, index in blocks.tolist():
            shard, block = self.shards.locate_block(index)
            documents = self.shards.read_file(shard).block_edges(block)
            layout = self.layout.lay_out(documents, self.length, self.random_numbers(turn, f"block {index}"))
            number = np.arange(count_rows(layout))
            first, last = (pieces_before + np.searchsorted(layout[:, 0], number, side) for side in ("left", "right"))
            rows.append(np.column_stack(np.broadcast_arrays(turn, index, number, shard, first, last)))
            pieces.append(layout[:, 1:])
            pieces_before += len(layout)
        rows_in_order = np.concatenate(rows)
        order = self.random_numbers(epoch, f"rows of {group}").permutation(len(rows_in_order))
        return RowGroup(rows_in_order[order], np.concatenate(pieces))

    def random_numbers(self, turn: int, purpose: str) -> np.random.Generator:
        """Random numbers for a purpose in an epoch or a pass: a function of these, the data and the seed."""
        address = f"{self.shards.fingerprint}/{self.seed}/{turn}/{purpose}"
        digest = hashlib.blake2b(address.encode(), digest_size=16).digest()
        return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))

    def batch(self, rows: Sequence[Row]) -> Batch:
        """The rows as tensors, on the device that the tokens are on."""
        pieces = make_array((piece for row in rows for piece in row.pieces), 3)
        counts = np.array([len(row.pieces) for row in rows], dtype=np.int64)
        files = np.repeat(np.array([row.shard for row in rows], dtype=np.int64), counts)
        tokens, starts = self.tokens.read(files, pieces[:, ::2])
        placed = move_tensor(torch.from_numpy(place_pieces(pieces, starts, counts, self.length)), tokens.device)
        addresses = torch.from_numpy(make_array((row[:3] for row in rows), 3).astype(np.int32))
        address = move_tensor(addresses, tokens.device)
        return assemble_batch(placed, tokens, address, self.length, self.shards.special)


@dataclass(frozen=True)
class WeightedSource:
    """How much of a source is read: its blocks, int32, and how many passes over them make an epoch.

    That and an epoch's order is all that a process keeps of the data: 12 bytes for each block of 65,536 tokens.
    """

    blocks: Int[np.ndarray, " blocks"]
    passes: float


def weigh_sources(shards: Shards) -> list[WeightedSource]:
    """The sources with the passes that give each its share of an epoch's tokens; without weights all blocks once."""
    if not shards.weights:
        return [WeightedSource(np.arange(shards.blocks, dtype=np.int32), 1.0)]
    sources = []
    for name, weight in shards.weights.items():
        files = [number for number, source in enumerate(shards.sources) if source == name]
        tokens = sum(shards.files[number].header.tokens for number in files)
        if tokens and weight:
            blocks = [shards.first_blocks[number] + np.arange(shards.files[number].blocks) for number in files]
            sources.append(WeightedSource(np.concatenate(blocks).astype(np.int32), weight * shards.tokens / tokens))
    return sources
