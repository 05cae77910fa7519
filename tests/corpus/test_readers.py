"""Spans → Documents: what is read of each format, what is skipped, counted and located, what is an error."""

import bz2
import gzip
import json
import lzma
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from electra.corpus import lines as text_lines
from electra.corpus import readers, sources
from electra.corpus.documents import Boundary, Document, Skipped, Span, TextFormat
from electra.corpus.lines import read_plain_lines
from electra.errors import UserError
from formats import ENDINGS, LETTERS, as_arrow_file, as_arrow_stream, as_csv, as_jsonl, as_parquet, read, texts


def zstandard(content: bytes) -> bytes:
    file = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(file, "zstd") as stream:
        stream.write(content)
    return file.getvalue().to_pybytes()


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard,
}
COMPRESSED = [ending for ending in COMPRESS if ending]


@pytest.mark.parametrize(
    ("boundary", "expected"),
    [
        ("blank-line", ["one\r\ntwo\r\n", " \u00a0three\n", "four"]),
        ("line", ["one\r\n", "two\r\n", " \u00a0three\n", "four"]),
        ("file", ["one\r\ntwo\r\n\r\n \t\r\n \u00a0three\n\n\nfour"]),
    ],
)
def test_a_boundary_ends_documents_and_leading_blank_lines_belong_to_none(
    tmp_path: Path, boundary: Boundary, expected: list[str]
) -> None:
    content = "\n \r\none\r\ntwo\r\n\r\n \t\r\n \u00a0three\n\n\nfour".encode()
    for mark in (b"", b"\xef\xbb\xbf"):
        (tmp_path / "a.txt").write_bytes(mark + content)
        found = read(tmp_path / "a.txt", documents=boundary)
        assert [document.text for document in found] == expected
        assert found[0] == Document(expected[0], str(tmp_path / "a.txt"), len(mark) + 4)


@pytest.mark.parametrize("boundary", ["blank-line", "line", "file"])
@pytest.mark.parametrize(
    "content", [b"", b"\n", b" \r\n\t\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n", "\u3000\n\u2028".encode()]
)
def test_a_file_of_white_space_has_no_documents(tmp_path: Path, content: bytes, boundary: Boundary) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    skipped = Skipped()
    assert texts(tmp_path / "a.txt", skipped, documents=boundary) == []
    assert not skipped


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".tsv"])
def test_a_byte_order_mark_is_no_part_of_a_record(tmp_path: Path, ending: str) -> None:
    content = {".jsonl": '{"text": "a"}\n', ".csv": "text,n\r\na,1\r\n", ".tsv": "text\tn\na\t1"}[ending]
    (tmp_path / f"a{ending}").write_bytes(b"\xef\xbb\xbf" + content.encode())
    assert texts(tmp_path / f"a{ending}") == ["a"]


@pytest.mark.parametrize("compression", COMPRESSED)
@pytest.mark.parametrize("ending", [".txt", ".jsonl", ".csv", ".tsv"])
def test_compressed_and_plain_files_are_the_same(tmp_path: Path, ending: str, compression: str) -> None:
    documents = [f"text {n}\nwith two lines of € 5" for n in range(5000)]
    content = {
        ".txt": "\n\n".join(documents).encode(),
        ".jsonl": as_jsonl(documents),
        ".csv": as_csv(documents),
        ".tsv": ("text\n" + "\n".join(documents)).encode(),
    }[ending]
    plain, compressed = tmp_path / f"a{ending}", tmp_path / f"a{ending}{compression}"
    plain.write_bytes(content)
    compressed.write_bytes(COMPRESS[compression](content))
    expected = [(document.text, document.index) for document in read(plain)]
    assert len(expected) == (10_000 if ending == ".tsv" else 5000)
    assert [(document.text, document.index) for document in read(compressed)] == expected


@pytest.mark.parametrize("compression", COMPRESSED)
def test_streams_one_after_the_other_in_a_compressed_file_are_all_read(tmp_path: Path, compression: str) -> None:
    path = tmp_path / f"a.txt{compression}"
    path.write_bytes(b"".join(COMPRESS[compression](f"part {n}\n\n".encode()) for n in range(3)))
    assert texts(path) == ["part 0\n", "part 1\n", "part 2\n"]


def test_an_index_is_the_byte_of_a_text_and_the_row_of_a_record(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("é\n\nb\n\nc")
    assert [document.index for document in read(tmp_path / "a.txt")] == [0, 4, 7]
    (tmp_path / "a.csv").write_bytes(as_csv(["a", " ", "b\nc", "d"]))
    assert [document.index for document in read(tmp_path / "a.csv")] == [0, 2, 3]
    (tmp_path / "a.parquet").write_bytes(as_parquet(["a", None, "b"]))
    assert [document.index for document in read(tmp_path / "a.parquet")] == [0, 2]


def test_a_csv_is_one_whatever_its_folder_is_called(tmp_path: Path) -> None:
    (tmp_path / "old.tsv.files").mkdir()
    (tmp_path / "old.tsv.files" / "a.csv").write_text('n,text\n1,"a, b"\n')
    assert texts(tmp_path / "old.tsv.files" / "a.csv") == ["a, b"]


STANDARD_INPUT = """
import json, sys
from electra.errors import UserError
from electra.corpus import readers
from electra.corpus.documents import Skipped, Span, TextFormat
skipped = Skipped()
try:
    found = list(readers.read_documents(Span(sys.argv[1]), TextFormat(), skipped))
    print(json.dumps([[document.text for document in found], skipped.lines()]))
    list(readers.read_documents(Span(sys.argv[1]), TextFormat(), skipped))
except UserError as error:
    print(json.dumps(str(error)))
"""


def piped(name: str, content: bytes) -> list:
    """What a process reads of its standard input: [texts, lines of what is skipped], and then of its second time."""
    done = subprocess.run(
        [sys.executable, "-c", STANDARD_INPUT, name], input=content, stdout=subprocess.PIPE, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("-", b"a\n\nb\n\nnot \xff this\n\nc"),
        ("-.txt.gz", gzip.compress(b"a\n\nb\n\nnot \xff this\n\nc", mtime=0)),
        ("-.txt.zst", zstandard(b"a\n\nb\n\nnot \xff this\n\nc")),
    ],
)
def test_standard_input_is_read_once(name: str, content: bytes) -> None:
    (found, skipped), again = piped(name, content)
    assert found == ["a\n", "b\n", "c"]
    assert skipped == ["skipped 1: document is not UTF-8 (first at standard input, byte 10)"]
    assert again == f"{name}: standard input can be read once only; save it to a file"


@pytest.mark.parametrize(
    ("name", "write"),
    [("-.jsonl", as_jsonl), ("-.csv", as_csv), ("-.arrow", as_arrow_stream)],
)
def test_standard_input_may_have_any_format_that_is_read_from_its_beginning(
    name: str, write: Callable[[Sequence[str]], bytes]
) -> None:
    documents = [f"text {n}" for n in range(5000)]
    (found, skipped), _ = piped(name, write(documents))
    assert (found, skipped) == (documents, [])


@pytest.mark.parametrize(("name", "write"), [("-.parquet", as_parquet), ("-.arrow", as_arrow_file)])
def test_a_pipe_cannot_give_what_is_read_from_its_end(name: str, write: Callable[[Sequence[str]], bytes]) -> None:
    assert piped(name, write(["a"])) == [f"{name}: is read from its end, which a pipe does not give; save it to a file"]


SPAWNED = """
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from electra.corpus import readers
from electra.corpus.documents import Skipped, Span, TextFormat

def read():
    return list(readers.read_documents(Span("-"), TextFormat(), Skipped()))

if __name__ == "__main__":
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        print(pool.submit(read).exception())
"""


def test_a_spawned_process_does_not_take_its_own_empty_standard_input_for_the_text(tmp_path: Path) -> None:
    (tmp_path / "spawned.py").write_text(SPAWNED)
    done = subprocess.run(
        [sys.executable, tmp_path / "spawned.py"], input="text", text=True, stdout=subprocess.PIPE, check=True
    )
    assert done.stdout == "-: standard input is not there for several processes; --workers 1\n"


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_invalid_utf8_is_skipped_counted_and_located(tmp_path: Path, compression: str, mark: bytes) -> None:
    path = tmp_path / f"a.txt{compression}"
    path.write_bytes(COMPRESS[compression](mark + b"good\n\nfine line\n\xff bad line\n\nalso good\n\n\xff"))
    skipped = Skipped()
    assert [text.strip() for text in texts(path, skipped)] == ["good", "also good"]
    assert skipped.lines() == [f"skipped 2: document is not UTF-8 (first at {path}, line 4)"]
    path.write_bytes(COMPRESS[compression](mark + b"good\n\xff"))
    skipped = Skipped()
    assert texts(path, skipped) == []
    assert skipped.first["document is not UTF-8"] == f"{path}, line 2"


@pytest.mark.parametrize(
    ("ending", "bad", "said"),
    [
        (".txt", b"fine\nbad \xff\n\n", "document is not UTF-8"),
        (".jsonl", b'{"text": "fine"}\n{"text": "\xff"}\n', "line is not UTF-8"),
    ],
)
def test_a_span_that_begins_inside_a_file_names_its_line_of_the_file(
    tmp_path: Path, ending: str, bad: bytes, said: str
) -> None:
    path, before = tmp_path / f"a{ending}", b'{"text": "a"}\n\n' * 1000
    path.write_bytes(before + bad + before)
    skipped = Skipped()
    found = list(readers.read_documents(Span(str(path), len(before), len(before + bad)), TextFormat(), skipped))
    assert [document.text for document in found] == (["fine"] if ending == ".jsonl" else [])
    assert skipped.lines() == [f"skipped 1: {said} (first at {path}, line 2,002)"]


def test_damaged_jsonl_lines_are_skipped_counted_and_located(tmp_path: Path) -> None:
    lines = [
        b'{"text": null}',
        b'{"text": "good"}',
        b"{not json",
        b'{"text": "\xff"}',
        b'{"body": "x"}',
        b'{"text": "\\ud800"}',
        b"",
        b"[1]",
        b"[" * 100_000,
        b'{"text": ' + b"9" * 10_000 + b"}",
        b'{"text": "cut o',
    ]
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(lines))
    skipped = Skipped()
    assert texts(path, skipped) == ["good"]
    assert skipped.to_json() == {
        "line has no text under 'text'": {"count": 3, "first": f"{path}, line 1"},
        "line is not JSON": {"count": 4, "first": f"{path}, line 3"},
        "line is not UTF-8": {"count": 1, "first": f"{path}, line 4"},
        "text has half a surrogate pair, which is no character": {"count": 1, "first": f"{path}, line 6"},
    }


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'\n{"body": "x", "n": 1}\n', "line 2: no text under 'text'; found keys 'body', 'n'. --field"),
        ("a.jsonl", b'{"text": ["x"]}\n', "line 1: no text under 'text'; found keys 'text'. --field"),
        ("a.jsonl", b'["x"]\n', "line 1: no text under 'text'; found list. --field"),
        ("a.csv", b"n,body\n1,x\n", "a.csv: no column 'text'; its columns: 'n', 'body'. --field names the right one"),
        ("a.csv", b"", "a.csv: no column 'text'; its columns: nothing. --field"),
        ("a.tsv", b"n,text\n", "a.tsv: no column 'text'; its columns: 'n,text'. --field"),
        ("a.arrow", as_arrow_file([]).replace(b"text", b"body"), "a.arrow: no column 'text'; its columns: 'n', 'body'"),
        ("a.parquet", as_parquet([]).replace(b"text", b"body"), "a.parquet: no column 'text'; its columns: 'n', 'bo"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_an_error_that_names_those_that_are_there(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as raised:
        texts(tmp_path / name)
    assert said in str(raised.value)


@pytest.mark.parametrize("write", [as_jsonl, as_csv, as_parquet, as_arrow_stream, as_arrow_file])
def test_the_field_may_have_another_name(tmp_path: Path, write: Callable[[Sequence[str]], bytes]) -> None:
    ending = ENDINGS[write]
    (tmp_path / f"a{ending}").write_bytes(write(["x"]).replace(b"text", b"body"))
    assert texts(tmp_path / f"a{ending}", field="body") == ["x"]


@pytest.mark.parametrize("ending", [".txt", ".jsonl", ".csv", ".tsv", ".parquet", ".arrow"])
def test_nul_is_a_character_like_others(tmp_path: Path, ending: str) -> None:
    content = {
        ".txt": b"a\0b\n\n\0",
        ".jsonl": as_jsonl(["a\0b\n", "\0"]),
        ".csv": b'text,n\n"a\0b\n",1\n\0,2\n',
        ".tsv": b"text\tn\na\0b\n\0\t2\n",
        ".parquet": as_parquet(["a\0b\n", "\0"]),
        ".arrow": as_arrow_stream(["a\0b\n", "\0"]),
    }[ending]
    (tmp_path / f"a{ending}").write_bytes(content)
    skipped = Skipped()
    assert [text.removesuffix("\n") for text in texts(tmp_path / f"a{ending}", skipped)] == ["a\0b", "\0"]
    assert not skipped


def test_a_raw_nul_in_json_is_a_damaged_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "a\0b"}\n{"text": "c"}\n')
    skipped = Skipped()
    assert texts(tmp_path / "a.jsonl", skipped) == ["c"]
    assert skipped.lines() == [f"skipped 1: line is not JSON (first at {tmp_path / 'a.jsonl'}, line 1)"]


@pytest.mark.parametrize(("ending", "unit"), [(".txt", "document"), (".jsonl", "line")])
def test_utf16_is_not_taken_for_text(tmp_path: Path, ending: str, unit: str) -> None:
    path, skipped = tmp_path / f"a{ending}", Skipped()
    path.write_text('{"text": "a"}', encoding="utf-16")
    assert texts(path, skipped) == []
    assert skipped.lines() == [f"skipped 1: {unit} is not UTF-8 (first at {path}, line 1)"]


@pytest.mark.parametrize("boundary", ["blank-line", "line", "file"])
@pytest.mark.parametrize("content", [" ".join, "\n".join, "".join], ids=["line", "lines", "solid"])
@pytest.mark.parametrize("word", ["word", "é", "€uro", "𝕨ord"])
def test_a_very_long_document_goes_on_as_another_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, boundary: Boundary, content: Callable, word: str
) -> None:
    whole = content(f"{word}{n % 7 or ''}" for n in range(3000))
    for mark in ("", "\ufeff"):
        (tmp_path / "a.txt").write_text(mark + whole)
        for longest in range(1000, 1005):
            monkeypatch.setattr(text_lines, "LONGEST_DOCUMENT", longest)
            skipped = Skipped()
            found = read(tmp_path / "a.txt", skipped, documents=boundary)
            assert not skipped
            assert max(len(document.text.encode()) for document in found) <= longest
            assert "".join(document.text for document in found) == whole
            content_at = (tmp_path / "a.txt").read_bytes()
            for document in found:
                assert content_at[document.index :].startswith(document.text.encode())


def test_a_document_of_very_many_lines_goes_on_as_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_lines, "MOST_LINES", 2)
    (tmp_path / "a.txt").write_text("a\nb\nc\n\nd\ne\n")
    assert texts(tmp_path / "a.txt") == ["a\nb\n", "c\n", "d\ne\n"]


def test_a_very_long_json_line_is_counted_and_the_next_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_lines, "LONGEST_DOCUMENT", 1000)
    (tmp_path / "a.jsonl").write_bytes(as_jsonl(["a", "b " * 600, "c"]))
    skipped = Skipped()
    assert texts(tmp_path / "a.jsonl", skipped) == ["a", "c"]
    assert skipped.first == {"line is not JSON": f"{tmp_path / 'a.jsonl'}, line 2"}


@pytest.mark.parametrize("compression", COMPRESSED)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.999])
@pytest.mark.parametrize("ending", [".txt", ".jsonl", ".csv"])
def test_a_compressed_file_that_is_cut_off_is_an_error(
    tmp_path: Path, ending: str, compression: str, share: float
) -> None:
    documents = LETTERS.split("\n")
    content = {".txt": "\n\n".join(documents).encode(), ".jsonl": as_jsonl(documents), ".csv": as_csv(documents)}[
        ending
    ]
    whole = COMPRESS[compression](content)
    path = tmp_path / f"a{ending}{compression}"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UserError, match=rf"^{path}: .*(end-of-stream|Truncated)"):
        texts(path)
    with pytest.raises(UserError, match=rf"^{path}: "):
        list(read_plain_lines(str(path)))


@pytest.mark.parametrize("garbage", [b"plain text\n" * 100, bytes(1000), random.Random(0).randbytes(1000)])
@pytest.mark.parametrize("ending", [*(".txt" + ending for ending in COMPRESSED), ".parquet", ".arrow"])
def test_what_is_not_of_the_format_is_an_error_of_one_line(tmp_path: Path, ending: str, garbage: bytes) -> None:
    path = tmp_path / f"a{ending}"
    path.write_bytes(garbage)
    with pytest.raises(UserError, match=f"^{path}: ") as raised:
        texts(path)
    assert "\n" not in str(raised.value)


def test_a_file_that_shrank_since_it_was_planned_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(as_jsonl(["a", "b"]))
    (source,) = sources.find_sources([str(path)])
    path.write_bytes(as_jsonl(["a"]))
    with pytest.raises(UserError, match=f"^{path}: 22 bytes, and 44 a moment ago; it changes while it is read$"):
        list(readers.read_documents(source.spans[0], TextFormat(), Skipped()))


@pytest.mark.parametrize("ending", COMPRESSED)
def test_a_compressed_file_of_no_bytes_is_an_error_and_an_empty_text_is_none(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.txt{ending}"
    path.write_bytes(COMPRESS[ending](b""))
    assert read(path) == []
    path.write_bytes(b"")
    with pytest.raises(UserError, match=f"^{path}: "):
        read(path)


@pytest.mark.parametrize("ending", readers.ENDINGS)
def test_a_file_that_was_removed_since_it_was_planned_is_an_error(tmp_path: Path, ending: str) -> None:
    with pytest.raises(UserError, match=f"^{tmp_path}/a{ending}: No such file or directory$"):
        list(readers.read_documents(Span(f"{tmp_path}/a{ending}", 0, 9), TextFormat(), Skipped()))


@pytest.mark.parametrize("ending", [".txt", ".jsonl.gz", ".parquet"])
def test_progress_is_told_in_bytes_of_the_disk(tmp_path: Path, ending: str) -> None:
    documents = [f"{n} {LETTERS[n:]}".replace("\n", " ") for n in range(100)]
    path = tmp_path / f"a{ending}"
    path.write_bytes(
        {
            ".txt": "\n\n".join(documents).encode(),
            ".jsonl.gz": gzip.compress(as_jsonl(documents)),
            ".parquet": as_parquet(documents, row_group_size=10),
        }[ending]
    )
    told: list[int] = []
    size = path.stat().st_size
    assert (
        len(list(readers.read_documents(Span(str(path), 0, size), TextFormat(), Skipped(), told.append)))
        == len(told)
        == 100
    )
    assert 0 < told[0] <= told[-1] <= size
    if ending != ".parquet":
        assert told == sorted(told) and told[50] > size / 10


@settings(max_examples=150, deadline=None)
@given(
    documents=st.lists(
        st.text(st.one_of(st.sampled_from("\r\n\0\"', \t\\\ufeff\u2028"), st.characters(codec="utf-8")))
    ),
    write=st.sampled_from(list(ENDINGS)),
    compression=st.sampled_from(list(COMPRESS)),
)
def test_what_is_written_is_what_is_read(
    documents: list[str], write: Callable[[Sequence[str]], bytes], compression: str
) -> None:
    ending = ENDINGS[write]
    compression = "" if ending in readers.COLUMNAR else compression
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"a{ending}{compression}")
        path.write_bytes(COMPRESS[compression](write(documents)))
        skipped = Skipped()
        assert texts(path, skipped) == [text for text in documents if text.strip()]
        assert not skipped


@settings(max_examples=100, deadline=None)
@given(
    documents=st.lists(
        st.text(st.characters(codec="utf-8"), min_size=1).filter(
            lambda text: not any(not line.strip() for line in text.encode().split(b"\n")) and text.strip()
        )
    ),
    newline=st.sampled_from(["\n", "\r\n"]),
    compression=st.sampled_from(list(COMPRESS)),
)
def test_plain_text_is_read_as_it_is_written(documents: list[str], newline: str, compression: str) -> None:
    documents = [text for text in documents if not text.startswith("\ufeff")]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"a.txt{compression}")
        path.write_bytes(COMPRESS[compression]("".join(text + 2 * newline for text in documents).encode()))
        assert texts(path) == [text + newline for text in documents]
