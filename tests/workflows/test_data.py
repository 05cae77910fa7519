"""``electra data``: what it says of prepared data, and of damaged data."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from electra.dataset import data as data_module
from electra.dataset.data import Data
from electra.dataset.layout import Packed
from electra.dataset.rows import Place, Rows
from electra.dataset.shards import Shards
from electra.errors import UserError
from electra.workflows.data import LENGTH_EDGES, DataConfig, count_document_lengths, data, print_length_shares


@pytest.fixture
def copy(prepared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared, tmp_path / "data"))


def test_it_tells_what_is_there_and_shows_some(copy: Path, capsys: pytest.CaptureFixture) -> None:
    manifest = data(DataConfig(data=str(copy), verify=True, samples=1, rows=3, length=48, layout="packed"))
    said = capsys.readouterr().out
    train = manifest["splits"]["train"]
    assert f"train: the checksums of all {len(train['shards'])} shards hold" in said
    assert f"{copy} train: {train['documents']:,} documents" in said and "a document, decoded:" in said
    assert "rows of 48, packed:" in said and said.count("\nrow ") == 3 and "[CLS]" in said
    assert (copy / "lengths.png").read_bytes().startswith(b"\x89PNG")


def test_a_decoded_document_is_the_text_as_the_tokenizer_reads_it(copy: Path, capsys: pytest.CaptureFixture) -> None:
    data(DataConfig(data=str(copy), samples=1, rows=0, histogram=""))
    decoded = capsys.readouterr().out.split("a document, decoded:\n  ")[1].split("\n")[0]
    assert len(decoded.split()) > 3 and decoded == decoded.lower() and "##" not in decoded
    assert not (copy / "lengths.png").exists()


def test_lengths_count_every_document(prepared: Path) -> None:
    shards = Shards.open(prepared, "train")
    counts = count_document_lengths(shards)
    assert counts.sum() == shards.manifest["splits"]["train"]["documents"]
    low, high = (counts * LENGTH_EDGES[:-1]).sum(), (counts * LENGTH_EDGES[1:]).sum()
    assert low <= shards.tokens <= high


def test_a_flipped_bit_is_found_and_named(copy: Path) -> None:
    path = next(copy.glob("train-*.shard"))
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{path}: damaged"):
        data(DataConfig(data=str(copy), samples=0, rows=0, histogram=""))
    with pytest.raises(UserError, match=f"damaged: {path}; prepare the data anew"):
        data(DataConfig(data=str(copy), verify=True, samples=0, rows=0, histogram=""))


def test_a_document_as_long_as_a_row_is_within_it(capsys: pytest.CaptureFixture) -> None:
    counts = np.histogram([128] * 3 + [129, 512, 513, 1], LENGTH_EDGES)[0]
    assert counts.sum() == 7
    print_length_shares(counts)
    assert "57% within 128, 86% within 512 tokens; the longest has at most" in capsys.readouterr().out


def test_a_manifest_without_a_count_is_damaged(copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["splits"]["train"]["words"]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"manifest.json: damaged; prepare the data anew: no count: 'words'"):
        data(DataConfig(data=str(copy), samples=0, rows=0, histogram=""))


def test_data_that_is_not_there_is_said(tmp_path: Path) -> None:
    for folder, said in (
        ("", "which data"),
        (str(tmp_path / "no"), "no such folder; expected prepared data, and --data names where it lies"),
        (str(tmp_path), "manifest.json"),
    ):
        with pytest.raises(UserError, match=said):
            data(DataConfig(data=folder))


MANIFEST_DAMAGES: dict[str, object] = {
    "special": {"pad": "x"},
    "vocab_size": None,
    "tokenizer": 7,
    "weights": [],
    "splits": {"train": {"shards": [1]}},
    "sources": {"a": 1},
    "skipped": [],
}


@pytest.mark.parametrize("key", MANIFEST_DAMAGES)
def test_a_manifest_of_another_shape_is_damaged(copy: Path, key: str) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    for changed in (manifest | {key: MANIFEST_DAMAGES[key]}, {k: v for k, v in manifest.items() if k != key}):
        (copy / "manifest.json").write_text(json.dumps(changed))
        with pytest.raises(UserError, match=r"manifest.json: damaged; prepare the data anew: "):
            Data.open(copy)


@pytest.mark.parametrize("content", ["[]", "null", "7", "{", ""])
def test_a_manifest_that_is_no_object_is_damaged(copy: Path, content: str) -> None:
    (copy / "manifest.json").write_text(content)
    with pytest.raises(UserError, match=r"manifest.json: damaged; prepare the data anew"):
        Data.open(copy)


def test_a_shard_that_lacks_its_name_is_damaged(copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    for key in ("file", "source", "checksum"):
        changed = json.loads(json.dumps(manifest))
        del changed["splits"]["train"]["shards"][0][key]
        (copy / "manifest.json").write_text(json.dumps(changed))
        with pytest.raises(UserError, match=r"manifest.json: damaged|not the shard that manifest.json speaks of"):
            Data.open(copy)


def swap_ids(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    special = manifest["special"]
    manifest["special"] = special | {"mask": special["sep"], "sep": special["mask"]}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def grow_vocabulary(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"vocab_size": manifest["vocab_size"] + 1}))


def rename_piece(folder: Path) -> None:
    path = folder / "tokenizer" / "tokenizer.json"
    path.write_text(path.read_text().replace('"the"', '"thx"'))


def cut(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "tokenizer" / name).write_text((folder / "tokenizer" / name).read_text()[:40])


TOKENIZER_DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (cut("tokenizer.json"), "tokenizer: transformers cannot load"),
    "config-cut": (cut("tokenizer_config.json"), "tokenizer_config.json: "),
    "missing": (lambda folder: shutil.rmtree(folder / "tokenizer"), "tokenizer: "),
    "another-piece": (rename_piece, "tokenizer: damaged, or not the tokenizer that the data was prepared with"),
    "special-ids": (swap_ids, "manifest.json: damaged: its special ids"),
    "vocabulary": (grow_vocabulary, "manifest.json: damaged: its special ids or its vocabulary's size"),
}


@pytest.mark.parametrize("kind", TOKENIZER_DAMAGES)
def test_a_damaged_tokenizer_is_found_at_the_start(copy: Path, kind: str) -> None:
    damage, message = TOKENIZER_DAMAGES[kind]
    Data.open(copy).verify_at_start()
    damage(copy)
    with pytest.raises(UserError, match=message):
        Data.open(copy).verify_at_start()


def test_a_shard_of_large_data_is_compared_when_it_is_first_read(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_module, "VERIFIED_BYTES", 0)
    whole = Data.open(copy)
    whole.verify_at_start()
    assert whole.train.unverified
    rows, _ = Rows(whole.train, Packed(), 32, seed=1).take(Place(), 3)
    assert len(rows) == 3 and not whole.train.unverified
    path = whole.train.files[0].path
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    damaged = Data.open(copy)
    damaged.verify_at_start()
    assert Rows(damaged.held_out, Packed(), 32, seed=1).take(Place(), 1)[0]
    others = Data.open(copy)
    others.verify_at_start(number=1, processes=2)  # the first shard is the other process's to compare
    assert not others.train.unverified and Rows(others.train, Packed(), 32, seed=1).take(Place(), 1)[0]
    with pytest.raises(UserError, match=f"{path.name}: damaged: its checksum is another now; prepare the data anew"):
        Rows(damaged.train, Packed(), 32, seed=1).take(Place(), 1)


def test_the_fingerprint_is_of_all_that_a_run_reads(copy: Path) -> None:
    before, order = Data.open(copy).fingerprint, Shards.open(copy, "train").fingerprint
    assert Data.open(copy.rename(copy.with_name("moved"))).fingerprint == before
    copy = copy.with_name("moved")
    config_file, manifest_file = copy / "tokenizer" / "tokenizer_config.json", copy / "manifest.json"
    manifest = json.loads(manifest_file.read_text())
    held_out = json.loads(json.dumps(manifest))
    held_out["splits"]["held-out"]["shards"] = manifest["splits"]["train"]["shards"]
    for path, content in (
        (config_file, config_file.read_text() + " "),
        (manifest_file, json.dumps(held_out)),
        (manifest_file, json.dumps(manifest | {"vocab_size": 1001})),
        (manifest_file, json.dumps(manifest | {"special": manifest["special"] | {"pad": 7}})),
    ):
        text = path.read_text()
        path.write_text(content)
        assert Data.open(copy).fingerprint != before
        assert Shards.open(copy, "train").fingerprint == order, "the order of rows depends on the tokens alone"
        path.write_text(text)
    assert Data.open(copy).fingerprint == before
