"""Files line by line: each line in its place, a bounded number of them at once, results that are whole or absent."""

import bz2
import gzip
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from electra.errors import UserError
from electra.tasks.frozen.sentence_windows import ReportShare
from electra.workflows import line_files
from electra.workflows.line_by_line import Judgement, judge_lines
from electra.workflows.line_files import open_lines, open_results
from terminal import Terminal

CONTENT = b"\xef\xbb\xbfone\r\n\n  two \x00\x0b words\xe2\x80\xa8\r\nlast"
TEXTS = ["one", "", "  two \x00\x0b words\u2028", "last"]


def read(path: object, most: int = 2) -> list[tuple[int, list[str], int]]:
    with open_lines(str(path)) as file:
        return [tuple(block) for block in file.read_blocks(most)]


def test_lines_keep_their_number_and_lose_their_end(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(CONTENT)
    (tmp_path / "text.gz").write_bytes(gzip.compress(CONTENT))
    (tmp_path / "text.bz2").write_bytes(bz2.compress(CONTENT))
    assert read(tmp_path / "text") == [(1, TEXTS[:2], read(tmp_path / "text")[0][2]), (3, TEXTS[2:], len(CONTENT))]
    for name in ("text.gz", "text.bz2"):
        blocks = read(tmp_path / name)
        assert [text for _, texts, _ in blocks for text in texts] == TEXTS
        assert blocks[-1][2] == (tmp_path / name).stat().st_size
    (tmp_path / "empty").write_bytes(b"")
    assert read(tmp_path / "empty") == []


@pytest.mark.parametrize(("name", "content"), [("-", CONTENT), ("-.gz", gzip.compress(CONTENT))], ids=["plain", "gz"])
def test_standard_input_is_read_too(name: str, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(content))))
    assert [text for _, texts, _ in read(name) for text in texts] == TEXTS
    with pytest.raises(UserError, match="standard input can be read once only"):
        read(name)


def test_no_more_is_read_than_a_block_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a pipe in which no more comes: the first block is there, and blocks of long lines have few."""
    reading, writing = os.pipe()
    os.write(writing, b"a\nb\nc\n")
    monkeypatch.setattr(sys, "stdin", os.fdopen(reading))
    with open_lines("-") as file:
        blocks = file.read_blocks(2)
        assert next(blocks).texts == ["a", "b"]
        monkeypatch.setattr(line_files, "HELD_BYTES", 5)
        os.write(writing, b"long line\nd\n")
        os.close(writing)
        assert [block.texts for block in blocks] == [["c", "long line"], ["d"]]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("text", b"good\nb\xffd\n", r"text, line 2: not UTF-8 at byte 2; iconv"),
        ("utf16", "a b".encode("utf-16"), r"utf16, line 1: not UTF-8 at byte 1"),
        ("text", b"good\n\n" + b"x" * (1 << 20) + b"\n", r"text, line 3: more than 1,048,576 bytes"),
        ("text.gz", gzip.compress(b"a line\n" * 1000)[:-20], r"text\.gz: "),
        ("text.gz", b"no gzip", r"text\.gz: "),
        ("absent", None, r"absent: No such file"),
        ("", None, r": Is a directory"),
    ],
    ids=["line", "utf16", "long", "cut", "not-gz", "absent", "folder"],
)
def test_what_cannot_be_read_is_named(name: str, content: bytes | None, said: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said):
        read(tmp_path / name)


def write_half(out: Path, error: type[BaseException]) -> None:
    """Begin a file of results, and fail."""
    with open_results(str(out)) as stream:
        print("half", file=stream, flush=True)
        assert not out.exists() and len(list(out.parent.iterdir())) == 1
        raise error


def test_results_are_whole_or_absent(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    for error in (KeyboardInterrupt, ValueError):
        with pytest.raises(error):
            write_half(out, error)
        assert list(tmp_path.iterdir()) == []
    with open_results(str(out)) as stream:
        print("wholé", file=stream)
    assert out.read_text(encoding="utf-8") == "wholé\n" and list(tmp_path.iterdir()) == [out]
    with pytest.raises(UserError, match=r"out\.jsonl: is there already; choose another --out"), open_results(str(out)):
        pass
    with pytest.raises(UserError, match=r"other: is there already"), open_results(str(tmp_path / "other")) as stream:
        (tmp_path / "other").write_text("came meanwhile")
    assert (tmp_path / "other").read_text() == "came meanwhile"
    with pytest.raises(UserError, match="absent/out: No such file"), open_results(str(tmp_path / "absent" / "out")):
        pass


def judge(texts: Sequence[str], report: ReportShare) -> list[Judgement]:
    """As a model would, of which a token is a character and that reads ten at once."""
    report(0.5)
    return [Judgement({"size": len(text)}, len(text), len(text) > 10) for text in texts]


@pytest.mark.parametrize("most", [1, 3, 4096])
def test_each_line_has_its_record(most: int, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "text").write_text("one\n\n" + "x" * 11 + "\n\nfive\n")
    figures = judge_lines(str(tmp_path / "text"), "", "judge", lambda: judge, most)
    said, aside = capsys.readouterr()
    expected = [{"line": number, "size": size} for number, size in enumerate([3, 0, 11, 0, 4], 1)]
    assert [json.loads(line) for line in said.splitlines()] == expected
    assert "judge: 0.0 kB" in aside.splitlines()[0].replace("0.0/0.0", "0.0") and "5 lines, " in aside
    assert aside.splitlines()[1:] == [
        "warning: lines without a token: no score: 2 (first: line 2)",
        "warning: lines longer than the model reads at once: judged in windows that overlap: 1 (first: line 3)",
    ]
    assert (figures.lines, figures.tokens) == (5, 18)
    judge_lines(str(tmp_path / "text"), str(tmp_path / "out"), "judge", lambda: judge, most)
    assert (tmp_path / "out").read_text() == said and capsys.readouterr().out == ""


def test_nothing_is_loaded_for_files_that_cannot_be_opened(tmp_path: Path) -> None:
    def load() -> None:
        raise AssertionError("loaded")

    with pytest.raises(UserError, match="absent: No such file"):
        judge_lines(str(tmp_path / "absent"), str(tmp_path / "out"), "judge", load)
    (tmp_path / "text").write_text("a")
    with pytest.raises(UserError, match="text: is there already"):
        judge_lines(str(tmp_path / "text"), str(tmp_path / "text"), "judge", load)
    assert [path.name for path in tmp_path.iterdir()] == ["text"]


def test_no_bar_is_drawn_between_results_on_a_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "stderr", shown := Terminal())
    monkeypatch.setattr(sys, "stdout", results := Terminal())
    (tmp_path / "text").write_text("one\n")
    judge_lines(str(tmp_path / "text"), "", "judge", lambda: judge)
    assert results.getvalue() == '{"line": 1, "size": 3}\n'
    assert "1 lines, " in shown.getvalue() and "\x1b" not in shown.getvalue()
