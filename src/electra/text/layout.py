"""The edges of documents' units → rows: arithmetic on offsets that reads no token."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int

SHORTEST = 8  # tokens, special ones included, for which a row begins another piece of a text that does not fit
SHORTEST_OF_ALL = 3  # … where rows would be too empty otherwise
SHORTEST_TARGET = 5  # original code
MOST_PADDING = 0.02  # share of packed rows; beyond it texts are cut to fill the rows

Edges = Int[np.ndarray, "_"]


class Piece(NamedTuple):
    """Tokens ``start`` … ``stop`` of a shard: [CLS] start … middle [SEP], then middle … stop [SEP] if there are any."""

    start: int
    middle: int
    stop: int

    @property
    def length(self) -> int:
        """Positions in a row."""
        return self.stop - self.start + 2 + (self.middle < self.stop)


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
            half = edges[-1] + 1 if draw.random() < self.single_segment else start + (target - 3) // 2
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
    """Full rows of several documents, each in its own [CLS] … [SEP].

    A document that fits into a row stays whole, in the row that it fills best; a longer one fills rows, and its rest
    is such a document. Where that leaves more than ``MOST_PADDING`` of their positions empty, they follow one another
    and are cut where rows end.
    """

    kind: Literal["packed"] = "packed"

    def lay_out(self, documents: Sequence[Edges], length: int, draw: np.random.Generator) -> list[tuple[Piece, ...]]:
        """Rows of pieces, every token in one of them."""
        rows: list[list[Piece]] = []
        short: list[Piece] = []
        for edges in documents:
            start, stop = int(edges[0]), int(edges[-1])
            while stop - start > length - 2:
                rows.append([Piece(start, start + length - 2, start + length - 2)])
                start += length - 2
            short.append(Piece(start, stop, stop))
        ways: list[Callable[[], list[list[Piece]]]] = [
            lambda: best_fit(short, length),
            lambda: in_order(short, length, SHORTEST),
            lambda: in_order(short, length, SHORTEST_OF_ALL),
        ]
        for way in ways:
            laid = way()
            if sum(piece.length for row in laid for piece in row) >= (1 - MOST_PADDING) * length * len(laid):
                break
        return [tuple(row) for row in rows + laid if row]


Layout = Paper | Packed


def best_fit(pieces: Sequence[Piece], length: int) -> list[list[Piece]]:
    """Pieces of at most ``length`` positions in rows: the longest first, each where the least room is left over."""
    rows: list[list[Piece]] = []
    open_rows: list[list[int]] = [[] for _ in range(length + 1)]  # by the room that is left
    rooms = 0  # bit n: a row with room n is there
    for piece in sorted(pieces, key=lambda piece: -piece.length):
        above = rooms >> piece.length
        if above:
            room = piece.length + (above & -above).bit_length() - 1
            row = open_rows[room].pop()
            if not open_rows[room]:
                rooms &= ~(1 << room)
            rows[row].append(piece)
        else:
            room, row = length, len(rows)
            rows.append([piece])
        open_rows[room - piece.length].append(row)
        rooms |= 1 << (room - piece.length)
    return rows


def in_order(pieces: Sequence[Piece], length: int, shortest: int) -> list[list[Piece]]:
    """Pieces one after another, cut where a row ends; what leaves less room than ``shortest`` ends a row too."""
    rows: list[list[Piece]] = [[]]
    room = length
    for start, _, stop in pieces:
        while start < stop:
            if room < min(shortest, stop - start + 2):
                rows.append([])
                room = length
            end = min(stop, start + room - 2)
            rows[-1].append(Piece(start, end, end))
            room -= end - start + 2
            start = end
    return rows
