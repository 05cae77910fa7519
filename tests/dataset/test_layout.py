"""Rows by arithmetic: every token in one row, the paper's shares, the original's rows, packed rows nearly full."""

import hashlib
import itertools
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from electra.dataset.layout import (
    MOST_PADDING,
    SHORTEST_PIECE,
    SHORTEST_TARGET,
    Layout,
    Packed,
    Paper,
    Pieces,
    pack_best_fit,
)
from electra.dataset.rows import Piece
from electra.tokenization.kinds import Spelling
from electra.tokenization.loading import load_tokenizer

LAYOUTS = [Paper(), Paper(single_segment=1.0, short=1.0), Packed()]

Tokens = list[int]


def edges_of(lengths: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """Documents by the lengths of their units → the edges of the units, one document after another."""
    ends = iter(np.cumsum([0, *itertools.chain(*lengths)]).tolist())
    first, found = next(ends), []
    for document in lengths:
        found.append(np.array([first, *(first := next(ends) for _ in document)]))
    return found


def laid(layout: Layout, documents: Sequence[np.ndarray], length: int, draw: np.random.Generator) -> list[list[Piece]]:
    """The pieces of each row."""
    return by_row(layout.lay_out(documents, length, draw))


def by_row(table: Pieces) -> list[list[Piece]]:
    """A table as the pieces of each row; rows are numbered without gaps."""
    rows = [list(group) for _, group in itertools.groupby(table.tolist(), key=lambda piece: piece[0])]
    assert [row[0][0] for row in rows] == list(range(len(rows)))
    return [[Piece(*piece) for _, *piece in row] for row in rows]


def size(piece: Piece) -> int:
    """Positions in a row."""
    return piece.stop - piece.start + 2 + (piece.middle < piece.stop)


documents = st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=12), min_size=1, max_size=12)


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=60, deadline=None)
@given(documents, st.integers(8, 40), st.integers(0, 99))
def test_every_token_stands_in_exactly_one_row(
    layout: Layout, lengths: list[list[int]], length: int, seed: int
) -> None:
    rows = laid(layout, edges_of(lengths), length, np.random.default_rng(seed))
    pieces = sorted(piece for row in rows for piece in row)
    tokens = [token for piece in pieces for token in range(piece.start, piece.stop)]
    assert tokens == list(range(sum(map(sum, lengths))))
    assert all(piece.start < piece.middle <= piece.stop for piece in pieces)
    assert all(row and sum(size(piece) for piece in row) <= length for row in rows)
    document = np.repeat(np.arange(len(lengths)), [sum(each) for each in lengths])
    assert all(document[piece.start] == document[piece.stop - 1] for piece in pieces)


# The paper's rows ----------------------------------------------------------------------------------------------------


def test_the_papers_rows_have_its_shares() -> None:
    """10 % single segments and 5 % short rows among those that had a choice, A about half of the others."""
    lengths = [[8] * 8000 for _ in range(10)]
    pieces = [p for (p,) in laid(Paper(), edges_of(lengths), 128, np.random.default_rng(1))]
    full = [p for p in pieces if size(p) > 120]
    assert np.mean([p.middle == p.stop for p in full]) == pytest.approx(0.1, abs=0.015)
    assert 1 - len(full) / len(pieces) == pytest.approx(0.05, abs=0.02)
    two = [p for p in full if p.middle < p.stop]
    assert np.mean([(p.middle - p.start) / (p.stop - p.start) for p in two]) == pytest.approx(0.5, abs=0.03)


@given(documents, st.integers(8, 40), st.integers(0, 99))
def test_a_row_of_a_single_segment_has_the_documents_last_unit_in_it_too(
    lengths: list[list[int]], length: int, seed: int
) -> None:
    rows = laid(Paper(single_segment=1.0), edges_of(lengths), length, np.random.default_rng(seed))
    assert all(piece.middle == piece.stop for (piece,) in rows)


@given(documents, st.integers(8, 40), st.integers(0, 99))
def test_segments_break_at_units_unless_a_row_is_full(lengths: list[list[int]], length: int, seed: int) -> None:
    edges = edges_of(lengths)
    inside = {int(edge) for document in edges for edge in document}
    for (piece,) in laid(Paper(), edges, length, np.random.default_rng(seed)):
        assert piece.stop in inside or size(piece) >= length - 1
        assert piece.middle in inside or piece.middle - piece.start == length - 2


def test_documents_of_two_lines_have_a_single_segment_by_the_draw_or_where_the_second_crosses_the_half() -> None:
    rows = laid(Paper(short=0.0), edges_of([[40, 40]] * 20_000), 128, np.random.default_rng(2))
    assert len(rows) == 20_000
    single = np.mean([piece.middle == piece.stop for (piece,) in rows])
    assert single == pytest.approx(0.1 + 0.9 * 0.5, abs=0.015)  # 4 standard errors


def pieces_unit_by_unit(paper: Paper, edges: list[int], length: int, draw: np.random.Generator) -> list[Piece]:
    """The readable twin of ``Paper.pieces``: each unit in turn goes to A or to B."""
    pieces: list[Piece] = []
    start, ends = edges[0], edges[1:]
    while ends:
        short = draw.random() < paper.short
        target = int(draw.integers(SHORTEST_TARGET, length + 1)) if short else length
        half = edges[-1] + 1 if draw.random() < paper.single_segment else start + (target - 3) // 2
        middle = stop = start
        for end in ends:
            # A unit that crosses the half goes to A half of the time, as long as B has none.
            if middle == stop and (stop == start or end < half or (stop < half and draw.random() < 0.5)):
                middle = end
            stop = end
            if stop >= start + target:
                break
        middle = min(middle, start + length - 2)
        stop = min(stop, max(middle, start + length - 3))
        pieces.append(Piece(start, middle, stop))
        start, ends = stop, [end for end in ends if end > stop]
    return pieces


@pytest.mark.parametrize("paper", [Paper(single_segment=share, short=share) for share in (0.0, 0.1, 0.5, 1.0)])
@given(documents, st.integers(8, 128), st.integers(0, 99))
def test_units_are_taken_as_if_one_by_one(paper: Paper, lengths: list[list[int]], length: int, seed: int) -> None:
    draw, again = np.random.default_rng(seed), np.random.default_rng(seed)
    for edges in edges_of(lengths):
        found = [Piece(*piece) for piece in paper.cut_pieces(edges.tolist(), length, draw)]
        assert found == pieces_unit_by_unit(paper, edges.tolist(), length, again)
    assert draw.random() == again.random()


@pytest.mark.parametrize(
    ("layout", "length", "expected"),
    [
        (Paper(), 44, "ccde1f903dc43af6"),
        (Paper(), 128, "7bf158b2973be1d1"),
        (Packed(), 44, "b1d4103be01f0704"),
        (Packed(), 128, "4d45932a9b512ea5"),
    ],
)
def test_rows_stay_what_they_were(layout: Layout, length: int, expected: str) -> None:
    """A run that is begun with one version and goes on with another reads on in the same rows."""
    lengths = [[7 * n % 61 + 1 for n in range(document % 9 + 1)] for document in range(400)] + [[40]] * 300
    table = layout.lay_out(edges_of(lengths), length, np.random.Generator(np.random.Philox(key=1)))
    assert hashlib.blake2b(table.astype("<i8").tobytes(), digest_size=8).hexdigest() == expected


# The original's rows -------------------------------------------------------------------------------------------------


def originals_rows(files: Sequence[Sequence[Tokens]], length: int, draw: random.Random) -> list[tuple[Tokens, Tokens]]:
    """A and B of each row that google-research/electra's build_pretraining_dataset.py makes of files of lines."""
    rows: list[tuple[Tokens, Tokens]] = []
    lines: list[Tokens] = []
    target = length
    for line in itertools.chain.from_iterable([*file, []] for file in files):
        if line or not any(lines):
            lines.append(line)
        if any(lines) and (not line or sum(map(len, lines)) >= target):
            half = 100_000 if draw.random() < 0.1 else (target - 3) // 2
            first: Tokens = []
            second: Tokens = []
            for each in lines:
                if (
                    not first
                    or len(first) + len(each) < half
                    or (not second and len(first) < half and draw.random() < 0.5)
                ):
                    first += each
                else:
                    second += each
            first = first[: length - 2]
            rows.append((first, second[: max(0, length - len(first) - 3)]))
            lines, target = [], draw.randint(5, length) if draw.random() < 0.05 else length
    return rows


@pytest.fixture(scope="module")
def corpus(shared: Path) -> dict[str, list[Tokens]]:
    return corpus_of(shared, Spelling())


def corpus_of(shared: Path, spelling: Spelling) -> dict[str, list[Tokens]]:
    """The tokens of the lines of each file that the original was given."""
    folder = shared / "oracle" / "data_building"
    encode = load_tokenizer(folder / "vocab.txt", spelling).encode
    return {
        file.name: encode([line.strip() for line in file.read_text(encoding="utf-8").splitlines()])
        for file in sorted((folder / "corpus").iterdir())
    }


@pytest.mark.parametrize(
    ("name", "spelling"),
    [("golden_seq64_seed1", Spelling()), ("golden_seq64_cased_seed3", Spelling(False, False))],
)
def test_the_twin_of_the_original_makes_its_very_rows(shared: Path, name: str, spelling: Spelling) -> None:
    golden: dict[str, Any] = json.loads((shared / "oracle" / "data_building" / f"{name}.json").read_text())
    corpus = corpus_of(shared, spelling)
    draw, order = random.Random(golden["random_seed"]), list(corpus)
    draw.shuffle(order)
    assert order == golden["file_order"]
    cls, sep = 12, 13
    expected = [[token for token in example["input_ids"] if token] for example in golden["examples"]]
    rows = originals_rows([corpus[file] for file in order], golden["max_seq_length"], draw)
    assert [[cls, *a, sep, *b, *[sep] * bool(b)] for a, b in rows] == expected


Shape = tuple[float, float, float, float, float]


def shape(rows: Sequence[tuple[int, int]], length: int) -> Shape:
    """Of rows (tokens of A, of B): mean length, share that is full, share with A alone, A's part: mean and spread."""
    a, b = np.array(rows).T
    lengths, two = a + b + 2 + (b > 0), b > 0
    split = a[two] / (a + b)[two]
    return lengths.mean(), (lengths == length).mean(), 1 - two.mean(), split.mean(), split.std()


def originals_shape(corpus: dict[str, list[Tokens]], length: int) -> Shape:
    """… over 200 seeds: some 38,000 rows at length 64, so that a share's standard error is 0.003."""
    files = list(corpus.values())
    rows = [(len(a), len(b)) for seed in range(200) for a, b in originals_rows(files, length, random.Random(seed))]
    return shape(rows, length)


def units(corpus: dict[str, list[Tokens]]) -> list[list[int]]:
    """The documents of the corpus by the lengths of their lines."""
    groups = [itertools.groupby(map(len, file), key=bool) for file in corpus.values()]
    return [list(lines) for file in groups for some, lines in file if some]


def as_if_thrown_away(edges: list[int], length: int, draw: np.random.Generator) -> list[Piece]:
    """``Paper``'s rows, each of which begins where the original's would: after the unit that reached the target."""
    pieces: list[Piece] = []
    at = 0
    while at < len(edges) - 1:
        piece = Piece(*next(Paper().cut_pieces(edges[at:], length, draw)))
        reached = piece.start + length if piece.stop - piece.start >= length - 3 else piece.stop
        at = next((i for i in range(at + 1, len(edges)) if edges[i] >= reached), len(edges) - 1)
        pieces.append(piece)
    return pieces


def test_the_papers_rows_are_the_originals_but_for_what_it_throws_away(corpus: dict[str, list[Tokens]]) -> None:
    """Tolerances: 3 standard errors, and 0.02 for the place of the split: the original gives A a short line after B."""
    draw = np.random.default_rng(1)
    pieces = [
        piece
        for _ in range(200)
        for document in units(corpus)
        for piece in as_if_thrown_away(edges_of([document])[0].tolist(), 64, draw)
    ]
    ours = shape([(piece.middle - piece.start, piece.stop - piece.middle) for piece in pieces], 64)
    theirs = originals_shape(corpus, 64)
    assert ours[0] == pytest.approx(theirs[0], abs=0.15)  # positions
    assert ours[1] == pytest.approx(theirs[1], abs=0.01)
    assert ours[2] == pytest.approx(theirs[2], abs=0.01)
    assert ours[3:] == pytest.approx(theirs[3:], abs=0.02)


def test_the_papers_rows_with_all_of_the_text_are_much_like_the_originals(corpus: dict[str, list[Tokens]]) -> None:
    """Of this corpus the original throws away 45 %: the ends of long lines, which begin our next rows instead."""
    draw = np.random.default_rng(1)
    pieces = [piece for _ in range(200) for (piece,) in laid(Paper(), edges_of(units(corpus)), 64, draw)]
    assert sum(p.stop - p.start for p in pieces) == 200 * sum(map(sum, units(corpus)))
    ours = shape([(piece.middle - piece.start, piece.stop - piece.middle) for piece in pieces], 64)
    theirs = originals_shape(corpus, 64)
    assert ours[0] == pytest.approx(theirs[0], abs=1)
    assert ours[1:4] == pytest.approx(theirs[1:4], abs=0.05)


# Packed rows ---------------------------------------------------------------------------------------------------------


def packed(lengths: Sequence[int], length: int) -> list[list[Piece]]:
    """Rows of documents of one unit each."""
    return laid(Packed(), edges_of([[each] for each in lengths]), length, np.random.default_rng(1))


def padding(rows: Sequence[Sequence[Piece]], length: int) -> float:
    """The share of positions that hold nothing."""
    return 1 - sum(size(piece) for row in rows for piece in row) / (length * len(rows))


def test_packed_rows_are_full() -> None:
    draw = np.random.default_rng(1)
    lengths = [draw.integers(3, 40, draw.integers(1, 12)).tolist() for _ in range(400)]
    assert padding(laid(Packed(), edges_of(lengths), 128, draw), 128) < 0.01


@given(st.lists(st.integers(1, 200), min_size=1, max_size=60), st.integers(8, 128))
def test_what_fits_into_a_row_is_not_cut_where_best_fit_leaves_little_room(lengths: list[int], length: int) -> None:
    stops = np.cumsum(lengths).tolist()
    rows = packed(lengths, length)
    tokens = [each % (length - 2) or length - 2 for each in lengths]
    rests = [(stop - each, stop) for stop, each in zip(stops, tokens, strict=True)]
    pieces = {piece for row in rows for piece in row}
    if padding(by_row(pack_best_fit(np.array(rests), length)), length) <= MOST_PADDING:
        assert {Piece(start, stop, stop) for start, stop in rests} <= pieces
        assert len(pieces) == sum(-(-each // (length - 2)) for each in lengths)
    full = [piece for piece in pieces if size(piece) == length]
    assert len(full) >= sum((each - 1) // (length - 2) for each in lengths)  # long documents fill rows


@given(st.lists(st.integers(3, 64), max_size=80))
def test_best_fit_puts_each_piece_where_least_room_is_left_over(lengths: list[int]) -> None:
    """Against the plain way to say it, up to which of two rows with equal room is taken."""
    pieces = [(100 * n, 100 * n + each - 2) for n, each in enumerate(lengths)]
    rooms: list[int] = []
    for each in sorted(lengths, reverse=True):
        fitting = [room for room in rooms if room >= each]
        room = min(fitting, default=64)
        if fitting:
            rooms.remove(room)
        rooms.append(room - each)
    rows = by_row(pack_best_fit(np.array(pieces, dtype=np.int64).reshape(-1, 2), 64))
    assert sorted(64 - sum(size(piece) for piece in row) for row in rows) == sorted(rooms)
    assert sorted((piece.start, piece.stop) for row in rows for piece in row) == pieces


MIXES = {
    "a few long ones": lambda draw, length: draw.lognormal(4, 1, 1500),
    "reviews": lambda draw, length: draw.lognormal(5, 0.5, 600),
    "exponential": lambda draw, length: 5 + draw.exponential(60, 2000),
    "much the same": lambda draw, length: draw.normal(90, 20, 800),
    "anything that fits": lambda draw, length: draw.uniform(3, length - 2, 800),
    "more than half a row": lambda draw, length: draw.uniform(length / 2, length - 2, 500),
    "more than a third of a row": lambda draw, length: draw.uniform(length / 3, length / 2, 500),
    "41 tokens": lambda draw, length: np.full(1600, 41),  # three do not fit into a row of 128, and two leave a third
    "70 tokens": lambda draw, length: np.full(900, 70),
}


@pytest.mark.parametrize("length", [128, 512])
@pytest.mark.parametrize("mix", MIXES)
def test_short_documents_leave_little_padding(mix: str, length: int) -> None:
    lengths = MIXES[mix](np.random.default_rng(3), length).clip(1).astype(int).tolist()
    rows = packed(lengths, length)
    assert padding(rows, length) <= MOST_PADDING
    assert all(sum(size(piece) for piece in row) <= length for row in rows)


@pytest.mark.parametrize("each", [41, 70])
def test_where_best_fit_alone_fails_documents_are_cut(each: int) -> None:
    starts = [each * n for n in range(900)]
    whole = pack_best_fit(np.array([(start, start + each) for start in starts]), 128)
    assert padding(by_row(whole), 128) > 0.2
    pieces = [piece for row in packed([each] * 900, 128) for piece in row]
    assert len(pieces) > 900
    assert all(size(piece) >= SHORTEST_PIECE or piece.stop % each == 0 for piece in pieces), (
        "no crumbs but what is left over"
    )


@pytest.mark.parametrize("each", [1, 2, 7, 9, 20, 41, 59, 61, 70, 100, 119, 123, 126])
def test_documents_of_one_length_leave_little_padding_whatever_it_is(each: int) -> None:
    assert padding(packed([each] * 6000, 128), 128) <= MOST_PADDING
