"""The edges of documents' units → rows: arithmetic on offsets, without reading a token."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Int

from electra.config_types import ByKind
from electra.ranges import Fraction, Range

SHORTEST_PIECE = 8  # tokens, special ones included, that a row must have left to begin a text that does not fit
SHORTEST_FILLER = 3  # the same, if rows would be too empty otherwise
SHORTEST_TARGET = 5  # original code
MOST_PADDING = 0.02  # share of packed rows; beyond it texts are cut to fill the rows

RowLength = Annotated[int, Range(least=SHORTEST_PIECE)]  # tokens, special ones included
RowLengthOrZero = Annotated[int, Range(least=SHORTEST_PIECE, zero=True)]  # 0 takes what the field's help says
Edges = Int[np.ndarray, "_"]
Spans = Int[np.ndarray, "_ 2"]  # start, stop
# (row, start, middle, stop), in the order of the rows, numbered from 0, and of the pieces in a row. A piece is tokens
# start … stop of a shard: [CLS] start … middle [SEP], then middle … stop [SEP] if there are any. An array, since a
# Python object for each piece of a million tokens keeps the garbage collector busy for longer than all the rest.
Pieces = Int[np.ndarray, "_ 4"]


@dataclass(frozen=True)
class Paper:
    """The paper's rows, [CLS] A [SEP] B [SEP] of one document; what does not fit begins the next row."""

    kind: Literal["paper"] = "paper"
    single_segment: Fraction = 0.1
    """Share of the rows with A alone."""
    short: Fraction = 0.05
    """Share of the rows that aim at a random length."""

    def lay_out(self, documents: Sequence[Edges], length: int, draw: np.random.Generator) -> Pieces:
        """One piece a row. A takes units up to about half of the length that is aimed at, B the rest.

        ``documents``: of each the offsets at which units begin, and the last one's end. ``length``: tokens of a row.
        """
        pieces = (piece for edges in documents for piece in self.cut_pieces(edges.tolist(), length, draw))
        laid_out = make_array(pieces, 3)
        return np.column_stack([np.arange(len(laid_out)), laid_out])

    def cut_pieces(self, edges: list[int], length: int, draw: np.random.Generator) -> Iterator[tuple[int, int, int]]:
        """(start, middle, stop) of a document's pieces, from its first token to its last."""
        start, ends, unit = edges[0], edges[1:], 0  # what is not laid out yet begins in ``unit``
        while unit < len(ends):
            short = draw.random() < self.short
            target = int(draw.integers(SHORTEST_TARGET, length + 1)) if short else length
            half = edges[-1] + 1 if draw.random() < self.single_segment else start + (target - 3) // 2
            end = min(bisect_left(ends, start + target, unit) + 1, len(ends))  # the unit after the piece's last
            second = bisect_left(ends, half, unit, end)  # B's first unit, if A takes what ends before the half
            # A unit that crosses the half goes to A half of the time, and always if A would have none.
            if second == unit or (second < end and draw.random() < 0.5):
                second += 1
            middle = min(ends[second - 1], start + length - 2)
            stop = min(ends[end - 1], max(middle, start + length - 3))
            yield start, middle, stop
            start, unit = stop, bisect_right(ends, stop, unit)


@dataclass(frozen=True)
class Packed:
    """Full rows of several documents, each in its own [CLS] … [SEP].

    A document that fits into a row stays whole, in the row that it fills best; a longer one fills rows, and its rest
    is such a document. Where that leaves more than ``MOST_PADDING`` of their positions empty, they follow one another
    and are cut where rows end.
    """

    kind: Literal["packed"] = "packed"

    def lay_out(self, documents: Sequence[Edges], length: int, draw: np.random.Generator) -> Pieces:
        """Pieces in rows, every token in one of them. ``draw`` is not needed."""
        room = length - 2
        bounds = [(int(edges[0]), int(edges[-1])) for edges in documents]
        full = [offset for start, stop in bounds for offset in range(start, stop - room, room)]
        rests = make_array(((stop - (stop - start - 1) % room - 1, stop) for start, stop in bounds), 2)
        packings: list[Callable[[], Pieces]] = [
            lambda: pack_best_fit(rests, length),
            lambda: pack_in_order(rests, length, SHORTEST_PIECE),
            lambda: pack_in_order(rests, length, SHORTEST_FILLER),
        ]
        for pack in packings:
            packed = pack()
            if count_positions(packed).sum() >= (1 - MOST_PADDING) * length * count_rows(packed):
                break
        filling = make_array(((row, start, start + room, start + room) for row, start in enumerate(full)), 4)
        return np.concatenate([filling, packed + np.array([len(full), 0, 0, 0])])


Layout = Annotated[Paper | Packed, ByKind()]


def make_array(rows: Iterable[Sequence[int]], columns: int) -> Int[np.ndarray, "rows columns"]:
    """Rows of whole numbers as an array, int64."""
    return np.fromiter(chain.from_iterable(rows), np.int64).reshape(-1, columns)


def count_rows(pieces: Pieces) -> int:
    """The number of rows that the pieces make."""
    return int(pieces[-1, 0]) + 1 if len(pieces) else 0


def count_positions(pieces: Int[np.ndarray, "pieces _"]) -> Int[np.ndarray, " pieces"]:
    """How many positions each piece takes, special tokens included. The last columns are (start, middle, stop)."""
    start, middle, stop = pieces[:, -3:].T
    return stop - start + 2 + (middle < stop)


def pack_best_fit(spans: Spans, length: int) -> Pieces:
    """Spans that fit into rows of ``length`` positions: the longest first, each where the least room is left over."""
    sizes = spans[:, 1] - spans[:, 0] + 2
    order = np.argsort(-sizes, kind="stable")
    rows: list[int] = []  # of each span, in this order
    count = 0
    open_rows: list[list[int]] = [[] for _ in range(length + 1)]  # by the room that is left
    rooms = 0  # bit n is set if there is a row with room n
    for size in sizes[order].tolist():
        above = rooms >> size
        if above:
            room = size + (above & -above).bit_length() - 1
            row = open_rows[room].pop()
            if not open_rows[room]:
                rooms &= ~(1 << room)
        else:
            room, row, count = length, count, count + 1
        rows.append(row)
        open_rows[room - size].append(row)
        rooms |= 1 << (room - size)
    row_of_span = np.array(rows, dtype=np.int64)
    by_row = np.argsort(row_of_span, kind="stable")
    start, stop = spans[order[by_row]].T
    return np.column_stack([row_of_span[by_row], start, stop, stop])


def pack_in_order(spans: Spans, length: int, shortest: int) -> Pieces:
    """Spans one after another, cut where a row ends. A row with less room than ``shortest`` left ends there."""
    pieces: list[int] = []
    row, room = 0, length
    for start, stop in spans.tolist():
        while start < stop:
            if room < min(shortest, stop - start + 2):
                row, room = row + 1, length
            end = min(stop, start + room - 2)
            pieces += (row, start, end, end)
            room -= end - start + 2
            start = end
    return np.array(pieces, dtype=np.int64).reshape(-1, 4)
