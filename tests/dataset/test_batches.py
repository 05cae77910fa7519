"""Rows: nothing lost or twice, sources as they weigh, the same from any place; what a batch says of its tokens."""

import json
import os
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from electra.corpus.prepare import PrepareConfig, prepare
from electra.corpus.train_tokenizer import TokenizerConfig, tokenizer
from electra.dataset import shards as on_disk
from electra.dataset.batches import Batch
from electra.dataset.layout import Packed, Paper
from electra.dataset.rows import BLOCKS_PER_GROUP, Place, Row, Rows
from electra.dataset.shards import DATA_FORMAT, MANIFEST, TOKENS_PER_BLOCK, ShardHeader, Shards, ShardWriter
from electra.dataset.tokens import ResidentTokens, TokensOnDisk, choose_token_store
from electra.errors import UserError
from formats import join_units

LAYOUTS = [Paper(), Paper(single_segment=1.0, short=1.0), Packed()]
SPECIAL = {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}


@pytest.fixture(scope="module", params=LAYOUTS, ids=["paper", "short", "packed"])
def rows(request: pytest.FixtureRequest, prepared: Path) -> Rows:
    return Rows(Shards.open(prepared, "train"), request.param, 48, seed=7)


def tokens_of(refs: Sequence[Row]) -> Counter:
    return Counter(
        (ref.shard, token) for ref in refs for piece in ref.pieces for token in range(piece.start, piece.stop)
    )


def test_an_epoch_reads_every_token_once(rows: Rows) -> None:
    for epoch in (0, 3):
        refs = list(rows.iterate_epoch(epoch))
        counts = tokens_of(refs)
        assert len(counts) == rows.shards.tokens and set(counts.values()) == {1}
        assert {ref.turn for ref in refs} == {epoch}
    assert [r.pieces for r in rows.iterate_epoch(0)] != [r.pieces for r in rows.iterate_epoch(1)]
    assert len({r[:3] for r in rows.iterate_epoch(0)}) == len(list(rows.iterate_epoch(0)))


def test_taking_goes_on_from_a_place_as_if_it_had_never_stopped(rows: Rows) -> None:
    size = len(list(rows.iterate_epoch(0)))
    at_once, end = rows.take(Place(), 2 * size + 11)
    place, parts = Place(), []
    again = Rows(rows.shards, rows.layout, rows.length, rows.seed)
    for count in (1, 30, size, 5, size - 25):
        part, place = again.take(place, count)
        parts += part
    assert parts == at_once and place == end
    assert [ref.turn for ref in at_once] == sorted(ref.turn for ref in at_once)
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
        assert batch.address[at].tolist() == [ref.turn, ref.block, ref.number]


def test_rows_too_short_and_splits_without_text_are_refused(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="rows of 4 tokens: at least 8"):
        Rows(Shards.open(prepared, "train"), Paper(), 4, 1)
    with pytest.raises(UserError, match="the train split is empty"):
        Rows(opened(tmp_path, []), Paper(), 48, 1)


def test_there_are_several_blocks_and_one_group(rows: Rows) -> None:
    """The corpus of these tests has more than one block, so that orders of blocks are tested; groups: below."""
    assert 1 < rows.shards.blocks == -(-rows.shards.tokens // TOKENS_PER_BLOCK) <= BLOCKS_PER_GROUP
    assert [rows.shards.locate_block(block) for block in range(rows.shards.blocks)] == [
        (0, block) for block in range(rows.shards.blocks)
    ]


def test_several_groups(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("electra.dataset.rows.BLOCKS_PER_GROUP", 1)
    rows = Rows(Shards.open(prepared, "train"), Packed(), 48, 1)
    assert rows.count_groups(0) == rows.shards.blocks > 1
    refs = list(rows.iterate_epoch(0))
    assert rows.take(Place(), len(refs)) == (refs, Place(1))
    assert set(tokens_of(refs).values()) == {1}


# Several sources -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders a and b of text, b five times as large and in several files, and a tokenizer."""
    folder, draw = tmp_path_factory.mktemp("sources"), np.random.default_rng(5)
    words = np.array([f"{x}{y}" for x in ("che", "mea", "coo", "wri", "rea") for y in ("f", "l", "k", "te", "d")])
    for name, counts in (("a", (300,)), ("b", (500, 500, 500))):
        (folder / name).mkdir()
        for number, count in enumerate(counts):
            lines = [" ".join(draw.choice(words, draw.integers(3, 40))) for _ in range(3 * count)]
            text = "\n\n".join("\n".join(lines[n : n + 3]) for n in range(0, len(lines), 3))
            (folder / name / f"{number}.txt").write_text(text)
    tokenizer(TokenizerConfig(data=(str(folder),), out=str(folder / "tok"), vocab_size=100))
    return folder


def weighted(folder: Path, out: Path, **changes: Any) -> Path:
    """The two sources as prepared data."""
    given = {
        "data": (f"a={folder / 'a'}", f"b={folder / 'b'}"),
        "tokenizer": str(folder / "tok"),
        "out": str(out),
        "held_out": 0.02,
        "workers": 1,
    }
    prepare(PrepareConfig(**given | changes))
    return out


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 200 tokens, and files of some 8,000: hundreds of blocks in several files."""
    monkeypatch.setattr(on_disk, "TOKENS_PER_BLOCK", 200)
    monkeypatch.setattr(on_disk, "SHARD_TOKENS", 8_000)


def read_by_source(rows: Rows, refs: Sequence[Row]) -> Counter:
    """How many tokens of each source stand in rows."""
    return Counter(
        {
            source: sum(
                piece.stop - piece.start
                for ref in refs
                if rows.shards.sources[ref.shard] == source
                for piece in ref.pieces
            )
            for source in ("a", "b")
        }
    )


@pytest.mark.parametrize("layout", [Paper(), Packed()], ids=["paper", "packed"])
@pytest.mark.parametrize(
    ("weights", "share"), [(("a=3", "b=1"), 0.75), (("a=1", "b=9"), 0.1), (("a=0.002", "b=0.998"), 0.002)]
)
def test_weights_are_the_shares_of_the_tokens_that_are_read(
    two_sources: Path,
    tmp_path: Path,
    small_blocks: None,
    weights: tuple[str, ...],
    share: float,
    layout: Paper | Packed,
) -> None:
    shards = Shards.open(weighted(two_sources, tmp_path / "data", weights=weights), "train")
    rows = Rows(shards, layout, 48, seed=3)
    assert shards.blocks > 200 and len(shards.files) > 5
    total: Counter = Counter()
    refs: list[Row] = []
    for epoch in range(6):
        read = list(rows.iterate_epoch(epoch))
        counts = read_by_source(rows, read)
        assert counts["a"] == pytest.approx(share * shards.tokens, abs=3 * 200)
        assert counts.total() == pytest.approx(shards.tokens, rel=0.01)
        total += counts
        refs += read
    assert total["a"] / total.total() == pytest.approx(share, abs=0.002)
    by_pass = Counter(
        (ref.turn, ref.shard, token) for ref in refs for piece in ref.pieces for token in range(piece.start, piece.stop)
    )
    assert set(by_pass.values()) == {1}, "within a pass over a source a token is read twice"
    assert len({ref[:3] for ref in refs}) == len(refs), "two rows have one address"
    addresses = rows.batch(refs).address
    assert len(addresses.unique(dim=0)) == len(refs)


def test_a_block_that_an_epoch_reads_again_has_another_turn_and_other_rows(
    two_sources: Path, tmp_path: Path, small_blocks: None
) -> None:
    shards = Shards.open(weighted(two_sources, tmp_path / "data", weights=("a=3", "b=1")), "train")
    rows = Rows(shards, Paper(), 48, seed=3)
    order = rows.block_order(0).tolist()
    counts = Counter(block for _, block in order)
    assert max(counts.values()) >= 4  # a is a sixth of the data and three quarters of what is read
    assert len({(turn, block) for turn, block in order}) == len(order)
    again = next(block for block, count in counts.items() if count > 1)
    laid: dict[int, list] = {}
    for ref in rows.iterate_epoch(0):
        if ref.block == again:
            laid.setdefault(ref.turn, []).append((ref.number, ref.pieces))
    assert len(laid) == counts[again]
    assert len({str(sorted(found)) for found in laid.values()}) > 1


def test_an_epoch_goes_on_with_each_source_where_the_one_before_ended(
    two_sources: Path, tmp_path: Path, small_blocks: None
) -> None:
    """A pass over b takes several epochs, and reads each of its blocks once before the next pass begins."""
    shards = Shards.open(weighted(two_sources, tmp_path / "data", weights=("a=3", "b=1")), "train")
    rows = Rows(shards, Paper(), 48, seed=3)
    blocks = [block for block in range(shards.blocks) if shards.sources[shards.locate_block(block)[0]] == "b"]
    read = [
        (epoch, turn, block)
        for epoch in range(12)
        for turn, block in rows.block_order(epoch).tolist()
        if block in set(blocks)
    ]
    epochs = [{epoch for epoch, turn, _ in read if turn == number} for number in (0, 1, 2)]
    assert len(epochs[0]) >= 3 and max(epochs[0]) <= min(epochs[1]) and max(epochs[1]) <= min(epochs[2])
    orders = [[block for _, turn, block in read if turn == number] for number in (0, 1)]
    assert sorted(orders[0]) == sorted(orders[1]) == blocks and orders[0] != orders[1]


@pytest.mark.parametrize("weights", [("a=3", "b=1"), ()])
def test_taking_rows_of_weighted_sources_goes_on_from_any_place(
    two_sources: Path, tmp_path: Path, small_blocks: None, weights: tuple[str, ...]
) -> None:
    shards = Shards.open(weighted(two_sources, tmp_path / "data", weights=weights), "train")
    rows = Rows(shards, Packed(), 48, seed=3)
    size = len(list(rows.iterate_epoch(0)))
    at_once, end = rows.take(Place(), 3 * size)
    place, parts = Place(), []
    for count in (size // 2, size, 1, 2 * size - size // 2 - 1):
        part, place = Rows(shards, Packed(), 48, seed=3).take(place, count)
        parts += part
    assert parts == at_once and place == end and place.epoch >= 2


def test_without_weights_every_token_of_every_source_is_read_once(
    two_sources: Path, tmp_path: Path, small_blocks: None
) -> None:
    shards = Shards.open(weighted(two_sources, tmp_path / "data"), "train")
    rows = Rows(shards, Paper(), 48, seed=3)
    for epoch in range(3):
        counts = tokens_of(list(rows.iterate_epoch(epoch)))
        assert len(counts) == shards.tokens and set(counts.values()) == {1}
    assert {shards.sources[shards.locate_block(block)[0]] for block in range(shards.blocks)} == {"a", "b"}


def test_weights_are_for_training_and_the_held_out_split_is_read_as_it_is(two_sources: Path, tmp_path: Path) -> None:
    """Its sources are smaller than a block each: with weights an evaluation would read nothing of some."""
    shards = Shards.open(weighted(two_sources, tmp_path / "data", weights=("a=1", "b=9")), "held-out")
    rows = Rows(shards, Paper(), 48, seed=3)
    assert shards.blocks == len(shards.files) == 2
    assert len(tokens_of(list(rows.iterate_epoch(0)))) == shards.tokens


# By hand -------------------------------------------------------------------------------------------------------------


def opened(folder: Path, entries: Sequence[dict[str, Any]], vocab_size: int = 30_522) -> Shards:
    """Shards that are described in a manifest of their own."""
    shards = [{"source": "text"} | entry for entry in entries]
    manifest = {
        "format": DATA_FORMAT,
        "splits": {"train": {"shards": shards}},
        "weights": {},
        "sources": {},
        "skipped": {},
        "special": SPECIAL,
        "vocab_size": vocab_size,
        "tokenizer": "by hand",
    }
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return Shards.open(folder, "train")


def row_by_row(rows: Rows, refs: Sequence[Row]) -> Batch:
    """The readable twin of ``Rows.batch``: a row at a time, in it a piece at a time."""
    shape, special = (len(refs), rows.length), rows.shards.special
    ids = np.full(shape, special["pad"], dtype=np.int64)
    positions, segments, documents = np.zeros((3, *shape), dtype=np.int64)
    text = np.zeros(shape, dtype=bool)
    for at, row in enumerate(refs):
        tokens, left = rows.shards.files[row.shard].tokens, 0
        for number, piece in enumerate(row.pieces, 1):
            first, second = piece.middle - piece.start, piece.stop - piece.middle
            middle = left + first + 2
            right = middle + second + 1 if second else middle
            ids[at, left], ids[at, middle - 1], ids[at, right - 1] = special["cls"], special["sep"], special["sep"]
            ids[at, left + 1 : middle - 1] = tokens[piece.start : piece.middle]
            text[at, left + 1 : middle - 1] = True
            if second:
                ids[at, middle : right - 1] = tokens[piece.middle : piece.stop]
                segments[at, middle:right] = 1
                text[at, middle : right - 1] = True
            positions[at, left:right] = np.arange(right - left)
            documents[at, left:right] = number
            left = right
    choosable = text & ~np.isin(ids, [special[name] for name in ("pad", "cls", "sep", "mask")])
    address = np.array([row[:3] for row in refs], dtype=np.int32).reshape(-1, 3)
    return Batch(*map(torch.from_numpy, (ids, positions, segments, documents, choosable, address)))


def assert_equal(one: Batch, other: Batch) -> None:
    """In every value and type."""
    for name, value in one.tensors().items():
        torch.testing.assert_close(
            value, other.tensors()[name], rtol=0, atol=0, msg=lambda said, name=name: name + said
        )


@pytest.mark.parametrize("vocabulary", [12, 65_536, 250_000])  # 12: a third of the text are special tokens
@pytest.mark.parametrize("layout", LAYOUTS, ids=["paper", "short", "packed"])
def test_batches_are_those_that_are_made_row_by_row_wherever_the_tokens_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: Paper | Packed, vocabulary: int
) -> None:
    monkeypatch.setattr(on_disk, "SHARD_TOKENS", 4_000)
    shards = opened(tmp_path, random_shards(tmp_path, vocabulary), vocabulary)
    shards.special = {"pad": 3, "unk": 1, "cls": 0, "sep": 4, "mask": 2}
    assert len(shards.files) > 3
    for length in (8, 9, 33, 64):
        rows = Rows(shards, layout, length, seed=length)
        resident = Rows(shards, layout, length, length, ResidentTokens(shards, torch.device("cpu")))
        refs = list(rows.iterate_epoch(0))
        for part in (refs, refs[::3], refs[:1], []):
            expected = row_by_row(rows, part)
            assert_equal(rows.batch(part), expected)
            assert_equal(resident.batch(part), expected)
    batch = rows.batch(refs)
    assert bool(batch.segments.any()) == (layout == Paper()) and bool((batch.documents > 1).any()) == (
        layout == Packed()
    )


def random_shards(folder: Path, vocabulary: int) -> list[dict[str, Any]]:
    """Shards of documents of one to six units, each of up to 40 tokens."""
    draw, dtype = np.random.default_rng(vocabulary), np.dtype(np.uint16 if vocabulary <= 1 << 16 else np.uint32)
    writer = ShardWriter(folder, "train-00000", "by hand", dtype)
    for _ in range(250):
        sizes = draw.integers(1, 40, draw.integers(1, 7))
        units = (draw.integers(0, vocabulary, size, dtype=dtype).tobytes() for size in sizes)
        writer.add_document(join_units(units, dtype))
    return writer.finish()


def test_tokens_are_resident_where_a_gpu_has_room(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = Shards.open(prepared, "train")
    taken, asked = 2 * shards.tokens, []

    class Elsewhere(ResidentTokens):
        def __init__(self, shards: Shards, device: torch.device):
            asked.append(device)

    monkeypatch.setattr("electra.dataset.tokens.ResidentTokens", Elsewhere)
    for free, kind in ((4 * taken, Elsewhere), (4 * taken - 1, TokensOnDisk)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10 * free))
        assert type(choose_token_store(shards, torch.device("cuda:1"))) is kind
    assert asked == [torch.device("cuda:1")]
    assert isinstance(choose_token_store(shards, torch.device("cpu")), TokensOnDisk)


@pytest.mark.parametrize("layout", [Paper(), Packed()], ids=["paper", "packed"])
def test_ids_above_65535_come_back(tmp_path: Path, layout: Paper | Packed) -> None:
    draw = np.random.default_rng(0)
    documents = [
        [draw.integers(5, 250_000, draw.integers(1, 40), dtype=np.uint32) for _ in range(4)] for _ in range(99)
    ]
    writer = ShardWriter(tmp_path, "train-00000", "by hand", np.dtype(np.uint32))
    for document in documents:
        units = join_units((unit.tobytes() for unit in document), writer.dtype)
        assert units.tokens.tolist() == np.concatenate(document).tolist()
        writer.add_document(units)
    shards = opened(tmp_path, writer.finish(), 250_000)
    rows = Rows(shards, layout, 64, 1)
    batch = rows.batch(list(rows.iterate_epoch(0)))
    expected = Counter(int(token) for document in documents for unit in document for token in unit)
    assert Counter(batch.ids[batch.choosable].tolist()) == expected
    assert max(expected) > 1 << 16 and not list(shards.find_damaged_files())


def test_a_block_is_found_without_a_copy_of_the_index(tmp_path: Path) -> None:
    count = 4_000_000
    writer = ShardWriter(tmp_path, "train-00000", "by hand", np.dtype(np.uint16))
    unit = np.array([7, 8], dtype=np.uint16).tobytes()
    for _ in range(4):
        writer.add_document(join_units([unit] * (count // 8), writer.dtype))
    shards = opened(tmp_path, writer.finish())
    tracemalloc.start()
    documents = shards.files[0].block_edges(3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [each.tolist() for each in documents] == [list(range(3 * TOKENS_PER_BLOCK, 4 * TOKENS_PER_BLOCK + 1, 2))]
    assert peak < 8 * count // 2 / 8, "of 16 MB of units, half a megabyte is needed"


HUGE = 50_000_000_000  # tokens: 100 GB
UNIT = 1_000_000
DOCUMENTS = (0, 7, 20_000, 49_999)  # the units with which documents start
KNOWN = (0, 19_999, 20_000, 49_999)  # the units that begin with 5, 6, 7 …


@pytest.fixture(scope="module")
def huge(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    """100 GB of tokens, nearly all of them zeros that take no room on the disk; the first 1,000 of some units known."""
    folder = tmp_path_factory.mktemp("huge")
    path = folder / "train-00000-000.shard"
    header = ShardHeader("by hand", "uint16", HUGE, HUGE // UNIT, len(DOCUMENTS), "not looked at")
    try:
        with path.open("wb") as file:
            file.write(json.dumps(asdict(header)).encode().ljust(on_disk.HEADER_BYTES))
            os.truncate(file.fileno(), header.size)
            for unit in KNOWN:
                file.seek(on_disk.HEADER_BYTES + 2 * (unit * UNIT))
                file.write(np.arange(5, 1005, dtype="<u2").tobytes())
            file.seek(header.index)
            file.write(np.arange(0, HUGE + 1, UNIT, dtype="<u8").tobytes())
            file.write(np.array([*DOCUMENTS, HUGE // UNIT], dtype="<u8").tobytes())
    except OSError as error:
        pytest.skip(f"this file system takes no sparse file of 100 GB: {error}")
    if path.stat().st_blocks * 512 > 100e6:
        path.unlink()
        pytest.skip("this file system does not keep a sparse file sparse")
    entry = {"file": path.name} | asdict(header)
    yield opened(folder, [entry])
    path.unlink()


@pytest.mark.parametrize("layout", [Paper(), Packed()], ids=["paper", "packed"])
def test_100_gigabytes_of_tokens_take_little_memory(huge: Shards, layout: Paper | Packed) -> None:
    tracemalloc.start()
    shards = Shards.open(huge.folder, "train")
    rows = Rows(shards, layout, 128, seed=1)
    assert shards.tokens == HUGE and shards.blocks == -(-HUGE // TOKENS_PER_BLOCK)
    for place in (Place(), Place(0, rows.count_groups(0) // 2), Place(0, rows.count_groups(0) - 1)):
        refs, after = rows.take(place, 2000)
        batch = rows.batch(refs)
        assert len({ref[:3] for ref in refs}) == 2000 and after != place
        for ref in refs[::50]:
            unit = ref.pieces[0].start // UNIT
            assert shards.locate_block(ref.block) == (
                0,
                unit * UNIT // TOKENS_PER_BLOCK,
            )  # a unit belongs to the block it starts in
        assert set(batch.ids[batch.choosable].tolist()) <= {*range(5, 1005)}
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken < 500e6
    kept = rows.block_order(0).nbytes + sum(source.blocks.nbytes for source in rows.sources)
    assert kept == 12 * shards.blocks  # of the data itself: a process keeps no index


@pytest.mark.parametrize("layout", [Paper(), Packed()], ids=["paper", "packed"])
@pytest.mark.parametrize("unit", KNOWN)
def test_known_tokens_are_found_where_they_stand_in_100_gigabytes(
    huge: Shards, unit: int, layout: Paper | Packed
) -> None:
    rows = Rows(huge, layout, 128, seed=1)
    block = unit * UNIT // TOKENS_PER_BLOCK
    group = int(np.flatnonzero(rows.block_order(2)[:, 1] == block)[0]) // BLOCKS_PER_GROUP
    refs = [ref for ref in rows.group(2, group)[:] if ref.block == block]
    pieces = sorted((ref.pieces[0], at) for at, ref in enumerate(refs))
    assert [piece.start for piece, _ in pieces] == [unit * UNIT, *(piece.stop for piece, _ in pieces[:-1])]
    assert pieces[-1][0].stop == (unit + 1) * UNIT  # a document, or a part of one
    batch = rows.batch([refs[at] for _, at in pieces[:12]])
    found = batch.ids[batch.choosable].tolist()
    assert found[:1000] == list(range(5, 1005))


def test_documents_in_100_gigabytes_end_where_the_index_says(huge: Shards) -> None:
    blocks = {unit: unit * UNIT // TOKENS_PER_BLOCK for unit in (6, 7, 19_999, 20_000)}
    for unit, block in blocks.items():
        assert [edges.tolist() for edges in huge.files[0].block_edges(block)] == [[unit * UNIT, (unit + 1) * UNIT]]
    assert huge.files[0].block_edges(1) == []  # within the first unit
