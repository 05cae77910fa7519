"""Rows: nothing lost, nothing twice, the same from any place; what a batch says of its tokens."""

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from electra.errors import UserError
from electra.text.batches import GROUP, Layout, Packed, Paper, Place, Row, Rows
from electra.text.shards import BLOCK, Shards

LAYOUTS = [Paper(), Paper(single_segment=1.0, short=1.0), Packed()]


def edges_of(lengths: list[list[int]]) -> list[np.ndarray]:
    """Documents by the lengths of their units → the edges of the units, one document after another."""
    ends = iter(np.cumsum([0, *itertools.chain(*lengths)]).tolist())
    first, found = next(ends), []
    for document in lengths:
        found.append(np.array([first, *(first := next(ends) for _ in document)]))
    return found


documents = st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=12), min_size=1, max_size=12)


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=60, deadline=None)
@given(documents, st.integers(8, 40), st.integers(0, 99))
def test_every_token_stands_in_exactly_one_row(
    layout: Layout, lengths: list[list[int]], length: int, seed: int
) -> None:
    laid = layout.lay_out(edges_of(lengths), length, np.random.default_rng(seed))
    pieces = [piece for row in laid for piece in row]
    tokens = [token for piece in pieces for token in range(piece.start, piece.stop)]
    assert tokens == list(range(sum(map(sum, lengths))))
    assert all(piece.start < piece.middle <= piece.stop for piece in pieces)
    assert all(sum(piece.length for piece in row) <= length for row in laid)
    document = np.repeat(np.arange(len(lengths)), [sum(each) for each in lengths])
    assert all(document[piece.start] == document[piece.stop - 1] for piece in pieces)


def test_the_papers_rows_have_its_shares() -> None:
    """10 % single segments and 5 % short rows among those that had a choice, A about half of the others."""
    lengths = [[8] * 8000 for _ in range(10)]
    pieces = [p for (p,) in Paper().lay_out(edges_of(lengths), 128, np.random.default_rng(1))]
    full = [p for p in pieces if p.length > 120]
    assert np.mean([p.middle == p.stop for p in full]) == pytest.approx(0.1, abs=0.015)
    assert 1 - len(full) / len(pieces) == pytest.approx(0.05, abs=0.02)
    two = [p for p in full if p.middle < p.stop]
    assert np.mean([(p.middle - p.start) / (p.stop - p.start) for p in two]) == pytest.approx(0.5, abs=0.03)


def test_packed_rows_are_full() -> None:
    draw = np.random.default_rng(1)
    lengths = [draw.integers(3, 40, draw.integers(1, 12)).tolist() for _ in range(400)]
    rows = Packed().lay_out(edges_of(lengths), 128, draw)
    assert sum(p.length for row in rows for p in row) / (128 * len(rows)) > 0.99


@pytest.fixture(scope="module", params=LAYOUTS, ids=["paper", "short", "packed"])
def rows(request: pytest.FixtureRequest, prepared: Path) -> Rows:
    return Rows(Shards.open(prepared, "train"), request.param, 48, seed=7)


def tokens_of(rows: Rows, refs: list[Row]) -> Counter:
    return Counter(
        (ref.shard, token) for ref in refs for piece in ref.pieces for token in range(piece.start, piece.stop)
    )


def test_an_epoch_reads_every_token_once(rows: Rows) -> None:
    for epoch in (0, 3):
        counts = tokens_of(rows, list(rows.epoch_refs(epoch)))
        assert len(counts) == rows.shards.tokens and set(counts.values()) == {1}
    assert [r.pieces for r in rows.epoch_refs(0)] != [r.pieces for r in rows.epoch_refs(1)]
    assert len({r[:3] for r in rows.epoch_refs(0)}) == len(list(rows.epoch_refs(0)))


def test_taking_goes_on_from_a_place_as_if_it_had_never_stopped(rows: Rows) -> None:
    size = len(list(rows.epoch_refs(0)))
    at_once, end = rows.take(Place(), 2 * size + 11)
    place, parts = Place(), []
    again = Rows(rows.shards, rows.layout, rows.length, rows.seed)
    for count in (1, 30, size, 5, size - 25):
        part, place = again.take(place, count)
        parts += part
    assert parts == at_once and place == end
    assert [ref.epoch for ref in at_once] == sorted(ref.epoch for ref in at_once)
    other = Rows(rows.shards, rows.layout, rows.length, seed=8).take(Place(), 20)[0]
    assert other != at_once[:20]


def test_a_batch_says_what_stands_where(rows: Rows) -> None:
    refs, _ = rows.take(Place(), 64)
    batch, special = rows.batch(refs), rows.shards.special
    for at, ref in enumerate(refs):
        ids, position, segments, numbers, text = [], [], [], [], []
        for number, piece in enumerate(ref.pieces, 1):
            read = rows.shards.files[ref.shard].tokens.tolist()
            first, second = read[piece.start : piece.middle], read[piece.middle : piece.stop]
            row = [special["cls"], *first, special["sep"], *second, *[special["sep"]] * bool(second)]
            ids += row
            position += range(len(row))
            segments += [0] * (len(first) + 2) + [1] * (len(row) - len(first) - 2)
            numbers += [number] * len(row)
            text += [token not in {special[name] for name in ("pad", "cls", "sep", "mask")} for token in row]
        padding = [0] * (rows.length - len(ids))
        assert batch.ids[at].tolist() == ids + [special["pad"]] * len(padding)
        assert batch.positions[at].tolist() == position + padding
        assert batch.segments[at].tolist() == segments + padding
        assert batch.documents[at].tolist() == numbers + padding
        assert batch.choosable[at].tolist() == text + [False] * len(padding)
        assert batch.address[at].tolist() == [ref.epoch, ref.block, ref.number]


def test_rows_too_short_and_splits_without_text_are_refused(prepared: Path) -> None:
    with pytest.raises(UserError, match="rows of 4 tokens: at least 8"):
        Rows(Shards.open(prepared, "train"), Paper(), 4, 1)


def test_there_are_several_blocks_and_one_group(rows: Rows) -> None:
    """The corpus of these tests has more than one block, so that orders of blocks are tested; groups: below."""
    assert 1 < len(rows.blocks) == -(-rows.shards.tokens // BLOCK) <= GROUP


def test_several_groups(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("electra.text.batches.GROUP", 1)
    rows = Rows(Shards.open(prepared, "train"), Packed(), 48, 1)
    assert rows.groups == len(rows.blocks) > 1
    refs = list(rows.epoch_refs(0))
    assert rows.take(Place(), len(refs)) == (refs, Place(1))
    assert set(tokens_of(rows, refs).values()) == {1}
