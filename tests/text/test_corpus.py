"""Files → Documents: what is read, what is skipped and counted, what is an error."""

import gzip
import json
from pathlib import Path

import pytest

from electra.errors import UserError
from electra.text import corpus
from electra.text.corpus import Document, Skipped, files, read


def texts(path: Path, skipped: Skipped | None = None, **how: str) -> list[str]:
    return [
        document.text
        for document in read(files([str(path)]), Skipped() if skipped is None else skipped, "reading", **how)
    ]


def test_blank_lines_or_files_bound_documents(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone\r\ntwo\r\n\r\n \nthree\n\n\n".encode())
    assert texts(path) == ["one\r\ntwo\r\n", " \nthree\n"]
    assert texts(path, boundary="file") == ["one\r\ntwo\r\n\r\n \nthree\n\n\n"]


def test_gzipped_and_plain_files_are_the_same(tmp_path: Path) -> None:
    content = "".join(json.dumps({"id": n, "text": f"text {n}\nwith two lines"}) + "\n" for n in range(5))
    (tmp_path / "a.jsonl").write_text(content)
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as file:
        file.write(content)
    one, two = (list(read([tmp_path / name], Skipped(), "reading")) for name in ("a.jsonl", "b.jsonl.gz"))
    assert [d.text for d in one] == [d.text for d in two] == [f"text {n}\nwith two lines" for n in range(5)]
    assert one[3] == Document("text 3\nwith two lines", str(tmp_path / "a.jsonl"), 3)


def test_globs_and_folders_are_searched_and_nothing_is_read_twice(tmp_path: Path) -> None:
    for name in ("x/a.txt", "x/y/b.jsonl", "x/y/c.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("a b")
    wanted = [tmp_path / "x/a.txt", tmp_path / "x/y/b.jsonl"]
    assert files([str(tmp_path / "x"), str(tmp_path / "x" / "*.txt")]) == wanted
    assert files([str(tmp_path / "**" / "*.jsonl")]) == wanted[1:]


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("absent.txt", "absent.txt: no such file"),
        ("*.txt.gz", "no such file"),
        ("empty", "empty: no text in this folder; .txt, .jsonl"),
        ("table.csv", "table.csv: not one of .txt, .jsonl"),
    ],
)
def test_what_is_not_there_is_named(tmp_path: Path, pattern: str, said: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "table.csv").write_text("a,b")
    with pytest.raises(UserError, match=said):
        files([str(tmp_path / pattern)])
    with pytest.raises(UserError, match="--data is missing"):
        files([])


def test_invalid_utf8_is_skipped_counted_and_located(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"good\n\nfine line\nbad \xff line\n\nalso good\n")
    skipped = Skipped()
    assert [text.strip() for text in texts(tmp_path / "a.txt", skipped)] == ["good", "also good"]
    assert skipped.lines() == [f"skipped 1: document is not UTF-8 (first at {tmp_path / 'a.txt'}, line 4)"]


def test_damaged_jsonl_lines_are_skipped_counted_and_located(tmp_path: Path) -> None:
    lines = [
        b'{"text": "good"}',
        b"{not json",
        b'{"text": "\xff"}',
        b'{"body": "x"}',
        b'{"text": "\\ud800"}',
        b"",
        b"[1]",
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    skipped = Skipped()
    assert texts(tmp_path / "a.jsonl", skipped) == ["good"]
    assert skipped.total() == 5
    assert skipped.first["line is not JSON"].endswith("a.jsonl, line 2")
    assert skipped["line has no text under 'text'"] == 2


def test_a_wrong_field_is_an_error_that_names_the_keys(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"body": "x", "id": 1}\n')
    with pytest.raises(UserError, match=r"a.jsonl, line 1: no text under 'text'; found keys 'body', 'id'"):
        texts(tmp_path / "a.jsonl")
    assert texts(tmp_path / "a.jsonl", field="body") == ["x"]


def test_a_truncated_gzip_is_an_error(tmp_path: Path) -> None:
    whole = gzip.compress(b"word " * 100_000)
    (tmp_path / "a.txt.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"a.txt.gz: .*end-of-stream"):
        texts(tmp_path / "a.txt.gz")
    (tmp_path / "b.txt.gz").write_bytes(b"plain text")
    with pytest.raises(UserError, match=r"b.txt.gz: Not a gzipped file"):
        texts(tmp_path / "b.txt.gz")


def test_a_very_long_document_goes_on_as_another_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "LONGEST", 1000)
    words = [f"word{n}" for n in range(2000)]
    for name, content in (
        ("line.txt", " ".join(words)),
        ("lines.txt", "\n".join(words)),
        ("solid.txt", "".join(words)),
    ):
        (tmp_path / name).write_text(content)
        found = texts(tmp_path / name)
        assert len(found) > 10 and max(map(len, found)) <= 1000
        assert "".join(found) == content
