"""From files to data on disk: all of it or nothing, and what a user is told."""

import json
import os
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from electra import files
from electra.corpus import folder
from electra.corpus.prepare import PrepareConfig, prepare
from electra.corpus.train_tokenizer import TokenizerConfig, tokenizer
from electra.dataset import shards
from electra.dataset.shards import Shard, Shards, ShardWriter
from electra.errors import UserError
from electra.tokenization.loading import load_tokenizer
from formats import join_units


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A folder with text and a tokenizer of its own."""
    words = np.array(["the", "chef", "ate", "a", "meal", "and", "then", "cook", "made", "another", "one", "for"])
    draw = np.random.default_rng(0)
    lines = [" ".join(draw.choice(words, draw.integers(3, 30))) for _ in range(900)]
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("\n\n".join("\n".join(lines[n : n + 3]) for n in range(0, 900, 3)))
    tokenizer(TokenizerConfig(data=(str(tmp_path / "text"),), out=str(tmp_path / "tok"), vocab_size=100))
    return tmp_path


def config(text: Path, **changes: object) -> PrepareConfig:
    given = {"data": (str(text / "text"),), "tokenizer": str(text / "tok"), "out": str(text / "data"), "held_out": 0.1}
    return PrepareConfig(**given | changes)


def test_what_is_written_is_what_the_tokenizer_gives(text: Path, capsys: pytest.CaptureFixture) -> None:
    manifest = prepare(config(text))
    found = load_tokenizer(text / "tok")
    documents = (text / "text" / "a.txt").read_text().split("\n\n")
    expected = sorted(token for document in found.encode(documents) for token in document)
    parts = [Shards.open(text / "data", split) for split in ("train", "held-out")]
    read = [token for part in parts for shard in part.files for token in shard.tokens.tolist()]
    assert sorted(read) == expected
    assert sum(split["documents"] for split in manifest["splits"].values()) == len(documents) == 300
    assert 10 < manifest["splits"]["held-out"]["documents"] < 60
    assert sum(split["words"] for split in manifest["splits"].values()) == len(" ".join(documents).split())
    assert not any(list(part.find_damaged_files()) for part in parts)
    said = capsys.readouterr().out
    for word in ("documents", "tokens", "words", "bytes a token", "% unknown"):
        assert word in said


def test_blocks_hold_whole_units_of_each_document_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "TOKENS_PER_BLOCK", 50)
    monkeypatch.setattr(shards, "SHARD_TOKENS", 400)
    draw = np.random.default_rng(0)
    documents = [[[7] * int(n) for n in draw.integers(1, 30, draw.integers(1, 6))] for _ in range(60)]
    writer = ShardWriter(tmp_path, "train-00000", "fingerprint", np.dtype(np.uint16))
    for document in documents:
        writer.add_document(join_units((np.array(unit, np.uint16).tobytes() for unit in document), writer.dtype))
    entries = [{"source": "text"} | entry for entry in writer.finish()]
    assert len(entries) > 2
    manifest = {
        "splits": {"train": {"shards": entries}},
        "weights": {},
        "special": {},
        "vocab_size": 100,
        "tokenizer": "fingerprint",
    }
    data = Shards(tmp_path, "train", manifest)
    assert data.tokens == sum(len(unit) for document in documents for unit in document)
    lengths = [[len(unit) for unit in document] for document in documents]
    joined: list[list[int]] = []
    for number, shard in enumerate(data.files):
        ends = {int(shard.units[int(unit)]) for unit in shard.documents}
        open_document = False
        for block in range(shard.blocks):
            for edges in shard.block_edges(block):
                assert block * 50 <= edges[0] < (block + 1) * 50
                joined = (
                    [*joined[:-1], joined[-1] + np.diff(edges).tolist()]
                    if open_document
                    else [*joined, np.diff(edges).tolist()]
                )
                open_document = int(edges[-1]) not in ends
        assert not open_document, number
    assert joined == lengths


def test_few_of_many_shards_are_open_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_TOKENS", 1)
    monkeypatch.setattr(shards, "MOST_MAPPED", 3)
    monkeypatch.setattr(shards, "MAPPED", deque())
    writer = ShardWriter(tmp_path, "train-00000", "fingerprint", np.dtype(np.uint16))
    for number in range(12):
        writer.add_document(join_units([np.array([number], np.uint16).tobytes()], writer.dtype))
    expected = [{key: entry[key] for key in entry if key != "file"} for entry in writer.finish()]
    files = [Shard(tmp_path / f"train-00000-{number:03d}.shard", each) for number, each in enumerate(expected)]
    for _ in range(2):
        assert [shard.tokens.tolist() for shard in files] == [[number] for number in range(12)]
        opened = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
        assert sum(path.startswith(f"{tmp_path}/") for path in opened) == 3


def test_the_same_text_falls_on_the_same_side_in_any_order(text: Path) -> None:
    one = prepare(config(text))
    documents = (text / "text" / "a.txt").read_text().split("\n\n")
    (text / "text" / "a.txt").write_text("\n\n".join(reversed(documents)))
    two = prepare(config(text, out=str(text / "two")))
    assert one["splits"]["held-out"]["tokens"] == two["splits"]["held-out"]["tokens"]


def test_a_tokenizer_says_what_it_takes_off(text: Path, capsys: pytest.CaptureFixture) -> None:
    asked = TokenizerConfig(data=(str(text / "text"),), out=str(text / "plain"), vocab_size=100)
    tokenizer(asked)
    tokenizer(replace(asked, out=str(text / "exact"), lower_case=False))
    plain, exact = capsys.readouterr().out.splitlines()[-2:]
    assert "lower case (--no-lower-case keeps capitals), without accents: é is e" in plain
    assert exact.endswith(" ids")


def test_a_failure_leaves_nothing(text: Path) -> None:
    (text / "text" / "a.txt").write_text("the chef")
    with pytest.raises(UserError, match=r"no document for the train split, of 1 in all"):
        prepare(config(text, held_out=0.999999))
    (text / "text" / "a.txt").write_text("the chef\n\nate the meal")
    with pytest.raises(UserError, match=r"no document for the held-out split, of 2 in all; --held-out 0.1 would set a"):
        prepare(config(text, held_out=0.000001))
    assert sorted(path.name for path in text.iterdir()) == ["text", "tok"]


def read_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_data_that_was_made_otherwise_is_left_alone(text: Path) -> None:
    prepare(config(text))
    before, file = read_files(text / "data"), text / "text" / "a.txt"
    content = file.read_text()
    for changes in ({"held_out": 0.3}, {"fewest_words": 2}, {"weights": ("a=1",)}, {"data": (f"mine={file}",)}):
        with pytest.raises(UserError, match=r"data: is there already; choose another --out|weights"):
            prepare(config(text, **changes))
    assert prepare(config(text, data=(str(file),)))["splits"], "the same text by another name"
    file.write_text(content.swapcase())  # of the same size
    with pytest.raises(UserError, match="data: is there already; choose another --out"):
        prepare(config(text))
    assert before == read_files(text / "data")


def test_data_that_another_process_ends_meanwhile_is_left_alone(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between looking for a manifest and holding the lock the other one may come to its end, and remove its work."""
    claim, before = files.claim_folder, {}

    def end_elsewhere(path: Path, kind: str) -> None:
        monkeypatch.setattr(files, "claim_folder", claim)
        prepare(config(text))
        before.update(read_files(text / "data"))
        claim(path, kind)

    (text / "bad.csv").write_text("n\n1\n")
    for data in (str(text / "text"), str(text / "bad.csv")):
        monkeypatch.setattr(files, "claim_folder", end_elsewhere)
        with pytest.raises(UserError, match="data: is there already; choose another --out, or remove it"):
            prepare(config(text, data=(data,), held_out=0.2))
        assert before and before == read_files(text / "data")
        shutil.rmtree(text / "data")


def test_the_same_command_finds_its_data_complete_below_the_source(text: Path, capsys: pytest.CaptureFixture) -> None:
    asked = config(text, out=str(text / "text" / "data"))
    first = prepare(asked)
    assert first["splits"]["train"]["documents"] and prepare(asked) == first
    assert "is complete" in capsys.readouterr().out


def test_what_a_kill_left_of_the_manifest_is_removed(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = text / "data" / f".manifest.json.{'0' * 32}.partial"
    write = folder.write_json

    def die(path: Path, content: object, indent: int | None = None) -> None:
        if path.name == "manifest.json":
            left.write_text("{")
            raise KeyboardInterrupt
        write(path, content, indent)

    monkeypatch.setattr(folder, "write_json", die)
    with pytest.raises(KeyboardInterrupt):
        prepare(config(text))
    monkeypatch.setattr(folder, "write_json", write)
    assert left.exists()
    prepare(config(text))
    assert not left.exists()


@pytest.mark.parametrize("removed", [None, 0, 1, 2, 3])
def test_after_a_kill_behind_the_manifest_the_same_command_says_that_it_is_complete(
    text: Path, removed: int | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """``removed``: how many files of parts/ were removed before the kill; None: no kill."""
    remove = files.remove_files

    def die(folder: Path, names: Sequence[str], keep_folder: bool = False) -> None:
        if folder.name.endswith(".partial"):  # what was written in it is in its place by now
            return remove(folder, names, keep_folder)
        remove(folder, sorted(names)[:removed], keep_folder=True)
        raise KeyboardInterrupt

    if removed is None:
        prepare(config(text))
    else:
        monkeypatch.setattr(files, "remove_files", die)
        with pytest.raises(KeyboardInterrupt):
            prepare(config(text))
        assert (text / "data" / "parts").is_dir()
        monkeypatch.setattr(files, "remove_files", remove)
    before = {name: content for name, content in read_files(text / "data").items() if not name.startswith("parts/")}
    assert prepare(config(text)) == json.loads((text / "data" / "manifest.json").read_text())
    assert "data: is complete, of this text and with these settings" in capsys.readouterr().out
    assert read_files(text / "data") == before


def test_missing_settings_are_named(text: Path) -> None:
    for changes, said in [
        ({"tokenizer": ""}, "--tokenizer is missing"),
        ({"out": ""}, "--out is missing"),
        ({"data": ()}, "--data is missing"),
        ({"tokenizer": str(text / "absent")}, "absent: no tokenizer here"),
        ({"held_out": 0.0}, "held_out: expected a number above 0 and below 1, found 0.0"),
    ]:
        with pytest.raises(UserError, match=said):
            prepare(config(text, **changes))


def test_the_vocabulary_is_not_trained_without_a_folder_for_it(text: Path) -> None:
    absent = (str(text / "absent.txt"),)
    with pytest.raises(UserError, match="--out is missing"):
        tokenizer(TokenizerConfig(data=absent))
    with pytest.raises(UserError, match="tok: is there already"):
        tokenizer(TokenizerConfig(data=absent, out=str(text / "tok")))


@pytest.mark.parametrize(
    ("name", "line", "count", "most"),
    [
        ("long.txt", "the chef ate a meal and then ", 1_724_137, 800_000),
        ("short.txt", "ab\n", 700_000, 400_000),
    ],
)
def test_a_long_document_is_read_in_little_memory(text: Path, name: str, line: str, count: int, most: int) -> None:
    """``most``: KiB, of which Python and its packages take 250,000."""
    content = line * count
    (text / "text" / name).write_text(f'{{"text": "{content}"}}' if name.endswith("jsonl") else content)
    code = (
        f"from electra.corpus.prepare import *; prepare({config(text)!r}); "
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"  # ru_maxrss would be pytest's too
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    manifest = json.loads((text / "data" / "manifest.json").read_text())
    assert sum(split["words"] for split in manifest["splits"].values()) > count
    assert int(told.stdout.split()[-1]) < most, "KiB of memory"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "manifest.json").unlink(), r"manifest.json: No such file.*writes it last"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "manifest.json: damaged"),
        (lambda folder: (folder / "train-00000-000.shard").unlink(), "train-00000-000.shard: No such file"),
        (lambda folder: os.truncate(folder / "train-00000-000.shard", 9000), r"damaged: 9,000 bytes of"),
        (lambda folder: os.truncate(folder / "train-00000-000.shard", 20), "its header cannot be read"),
        (
            lambda folder: shutil.copy(folder / "held-out-00000-000.shard", folder / "train-00000-000.shard"),
            "not the shard that manifest.json speaks of",
        ),
    ],
)
def test_damaged_data_is_refused(text: Path, damage, said: str) -> None:
    prepare(config(text))
    damage(text / "data")
    with pytest.raises(UserError, match=said):
        Shards.open(text / "data", "train")


def test_a_flipped_bit_is_found(text: Path) -> None:
    prepare(config(text))
    path = text / "data" / "train-00000-000.shard"
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    assert list(Shards.open(text / "data", "train").find_damaged_files()) == [path]


def test_an_existing_vocabulary_is_taken_over(text: Path) -> None:
    with pytest.raises(UserError, match="--vocab-size beside --existing: a tokenizer that is there is taken as it is"):
        tokenizer(TokenizerConfig(existing=str(text / "tok"), out=str(text / "again"), vocab_size=50))
    taken = tokenizer(TokenizerConfig(existing=str(text / "tok" / "vocab.txt"), out=str(text / "again")))
    assert taken.fingerprint == load_tokenizer(text / "tok").fingerprint
    with pytest.raises(UserError, match="again: is there already"):
        tokenizer(TokenizerConfig(existing=str(text / "tok"), out=str(text / "again")))


def test_a_vocabulary_that_knows_too_little_is_called_out(text: Path, capsys: pytest.CaptureFixture) -> None:
    (text / "text" / "greek.txt").write_text("ο μάγειρας έφαγε\n\n" * 400)
    prepare(config(text))
    assert "are unknown to this vocabulary" in capsys.readouterr().out
