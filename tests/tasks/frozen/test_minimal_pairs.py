"""Minimal pairs: what is read, what counts as correct, and what is said of a file that is none."""

import gzip
import json
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from electra.errors import UserError
from electra.tasks.frozen import minimal_pairs
from electra.tasks.frozen.minimal_pairs import MinimalPair, evaluate_pairs, read_pairs, tabulate_pairs
from electra.tasks.frozen.sentence_groups import UnreadableSentence
from electra.tasks.frozen.sentence_scores import SentenceScores

GOOD, BAD = "The cats annoy Tim.", "The cats annoys Tim."


class Length:
    """A score for tests: minus the number of letters."""

    name = "brevity"

    def __init__(self, longest: int = 1000) -> None:
        self.longest = longest
        self.calls: list[int] = []

    def score(self, sentences: Sequence[str]) -> SentenceScores:
        """Minus the lengths; a sentence that is too long cannot be read."""
        self.calls.append(len(sentences))
        for index, text in enumerate(sentences):
            if len(text) > self.longest:
                raise UnreadableSentence(index, f"{len(text)} tokens")
        lengths = np.array([len(text) for text in sentences])
        return SentenceScores(-lengths.astype(np.float64), lengths.astype(np.int64), len(sentences))


def write(path: Path, *lines: dict | str) -> Path:
    """A file of lines; gzipped if its name says so."""
    text = "\n".join(line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def test_files_of_both_kinds_and_both_names_are_read(tmp_path: Path) -> None:
    fields = {"sentence_good": GOOD, "sentence_bad": BAD, "UID": "agreement_1", "linguistics_term": "agreement"}
    write(tmp_path / "b.jsonl", fields, "", fields | {"UID": None, "linguistics_term": "s-selection"})
    write(tmp_path / "deep" / "a.jsonl.gz", {"good": "ein Häuschen", "bad": "eine\u2028Häuschen", "field": "syntax"})
    write(tmp_path / "c.jsonl", {"good": "a", "bad": "b"})
    write(tmp_path / "README.txt", "no pairs")
    pairs, notes = read_pairs(tmp_path)
    assert notes == []
    assert pairs == [
        MinimalPair(GOOD, BAD, "agreement_1", "agreement", f"{tmp_path / 'b.jsonl'}, line 1"),
        MinimalPair(GOOD, BAD, "b", "argument_structure", f"{tmp_path / 'b.jsonl'}, line 3"),
        MinimalPair("a", "b", "c", "c", f"{tmp_path / 'c.jsonl'}, line 1"),
        MinimalPair("ein Häuschen", "eine\u2028Häuschen", "a", "syntax", f"{tmp_path / 'deep' / 'a.jsonl.gz'}, line 1"),
    ]
    assert read_pairs(tmp_path / "b.jsonl")[0] == pairs[:2]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"good": "a", "bad": ', r"x\.jsonl, line 2: not JSON: Expecting value"),
        ({"good": "a", "worse": "b"}, r"line 2: no text in sentence_bad or bad; fields found: good, worse$"),
        ({"sentence_good": " ", "bad": "b"}, r"line 2: no text in sentence_good or good; fields found: sentence_good"),
        ({"good": "a", "bad": 3}, r"line 2: no text in sentence_bad or bad"),
        ("{}", r"line 2: .* fields found: none$"),
        ('["a", "b"]', r"line 2: expected an object with sentence_good and sentence_bad, found \[\"a\", \"b\"\]$"),
    ],
)
def test_a_line_that_is_no_pair_is_named(line: dict | str, message: str, tmp_path: Path) -> None:
    write(tmp_path / "x.jsonl", {"good": "a", "bad": "b"}, line)
    with pytest.raises(UserError, match=message):
        read_pairs(tmp_path)


def test_folders_and_files_that_hold_nothing_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no \.jsonl or \.jsonl\.gz file here; a line of one has sentence_good"):
        read_pairs(tmp_path)
    write(tmp_path / "x.jsonl", "")
    with pytest.raises(UserError, match="no pairs in 1 file$"):
        read_pairs(tmp_path)
    (tmp_path / "x.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(UserError, match=r"x\.jsonl\.gz: Not a gzipped file"):
        read_pairs(tmp_path)
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress(b"{}" * 100)[:-12])
    with pytest.raises(UserError, match=r"x\.jsonl\.gz: "):
        read_pairs(tmp_path)
    (tmp_path / "x.jsonl.gz").unlink()
    (tmp_path / "x.jsonl").write_bytes(b'{"good": "\xff"}')
    with pytest.raises(UserError, match=r"x\.jsonl: 'utf-8' codec can't decode byte 0xff"):
        read_pairs(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pairs of one paradigm: correct, wrong, tied; two of another of the same phenomenon; one of a second."""
    one, two = {"UID": "one", "linguistics_term": "P"}, {"UID": "two", "linguistics_term": "P"}
    write(
        tmp_path / "pairs.jsonl",
        {"good": "a", "bad": "ab", **one}, {"good": "abc", "bad": "ab", **one}, {"good": "a", "bad": "a", **one},
        {"good": "a", "bad": "ab", **two}, {"good": "a", "bad": "ab", **two},
        {"good": "a", "bad": "ab", "UID": "three", "linguistics_term": "Q"},
    )  # fmt: skip
    return tmp_path


@pytest.mark.parametrize("chunk", [1, 4, 2000])
def test_figures(chunk: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minimal_pairs, "CHUNK", chunk)
    scorer = Length()
    result = evaluate_pairs(folder, scorer)
    assert {key: result[key] for key in ("score", "accuracy", "pairs", "ties", "rows", "tokens", "notes")} == {
        "score": "brevity", "accuracy": 4 / 6, "pairs": 6, "ties": 1, "rows": 12, "tokens": 19, "notes": [],
    }  # fmt: skip
    assert result["phenomena"] == {
        "P": {"accuracy": 3 / 5, "pairs": 5, "ties": 1},
        "Q": {"accuracy": 1.0, "pairs": 1, "ties": 0},
    }
    assert [part["accuracy"] for part in result["paradigms"].values()] == [1 / 3, 1.0, 1.0]
    assert list(result["paradigms"]) == ["one", "three", "two"]
    assert max(scorer.calls) <= 2 * chunk
    assert tabulate_pairs(result) == [("P", 5, 1, "60.0"), ("Q", 1, 0, "100.0"), ("all", 6, 1, "66.7")]
    assert tabulate_pairs(result, "paradigms")[0] == ("one", 3, 1, "33.3")
    json.dumps(result)


def test_a_limit_takes_the_first_of_each_paradigm(folder: Path) -> None:
    result = evaluate_pairs(folder, Length(), limit=1)
    assert result["pairs"] == 3 and result["accuracy"] == 1.0


def test_a_sentence_that_cannot_be_read_is_named_by_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minimal_pairs, "CHUNK", 2)
    write(tmp_path / "x.jsonl", *[{"good": "a", "bad": "b"}] * 3, {"good": "a", "bad": "b" * 50})
    with pytest.raises(UserError, match=re.escape(f"{tmp_path / 'x.jsonl'}, line 4: 50 tokens")):
        evaluate_pairs(tmp_path, Length(longest=40))


def test_the_whole_of_blimp(shared: Path, tmp_path: Path) -> None:
    with tarfile.open(shared / "data" / "blimp.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    pairs, notes = read_pairs(tmp_path)
    assert len(pairs) == 67_000 and notes == []
    assert len({pair.paradigm for pair in pairs}) == 67
    assert len({pair.phenomenon for pair in pairs}) == 12
    result = evaluate_pairs(tmp_path, Length(), limit=3)
    assert result["pairs"] == 201 and result["phenomena"]["argument_structure"]["pairs"] == 27
    first = next(tmp_path.rglob("*.jsonl"))
    first.write_text("".join(first.read_text().splitlines(keepends=True)[:-1]))
    assert "66,999 pairs, not 67,000: incomplete" in read_pairs(tmp_path)[1][0]
