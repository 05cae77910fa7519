"""``electra data``: what it says of prepared data, and of damaged data."""

import shutil
from pathlib import Path

import pytest

from electra.dataset.shards import Shards
from electra.errors import UserError
from electra.workflows.data import LENGTH_EDGES, DataConfig, count_document_lengths, data


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
    data(DataConfig(data=str(copy), samples=0, rows=0, histogram=""))
    with pytest.raises(UserError, match=f"damaged: {path}; prepare the data anew"):
        data(DataConfig(data=str(copy), verify=True, samples=0, rows=0, histogram=""))


def test_data_that_is_not_there_is_said(tmp_path: Path) -> None:
    for folder, said in (
        ("", "which data"),
        (str(tmp_path / "no"), "no such folder"),
        (str(tmp_path), "manifest.json"),
    ):
        with pytest.raises(UserError, match=said):
            data(DataConfig(data=folder))
