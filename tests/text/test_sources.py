"""Names → sources → parts: which files there are, here and remote, and how the work on them is cut."""

import bz2
import gzip
import json
import lzma
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from electra.errors import UserError
from electra.text import readers, sources
from electra.text.corpus import Boundary, Format, Skipped, Span
from electra.text.sources import Part, Source


def lay(folder: Path, *names: str) -> None:
    """Text files of a few bytes."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"text of {name}")


def paths(*patterns: Path | str) -> list[Path]:
    """The files of the patterns, which are all of one source."""
    (source,) = sources.sources([str(pattern) for pattern in patterns])
    return [Path(span.path) for span in source.spans]


def texts(spans: Sequence[Span], form: Format | None = None, skipped: Skipped | None = None) -> list[str]:
    """The texts of some spans, in order."""
    skipped = Skipped() if skipped is None else skipped
    return [document.text for span in spans for document in readers.documents(span, form or Format(), skipped)]


def of_parts(work: Sequence[Part], form: Format | None = None, skipped: Skipped | None = None) -> list[str]:
    """The texts of all parts, in order."""
    return [text for part in work for text in texts(part.spans, form, skipped)]


def test_globs_and_folders_are_searched_in_order_and_nothing_is_read_twice(tmp_path: Path) -> None:
    lay(tmp_path, "x/a.txt", "x/y/b.jsonl", "x/y/c.md", "x/y.csv", "x/z.parquet.gz", "x/B.txt.zst")
    inside = [tmp_path / "x" / name for name in ("B.txt.zst", "a.txt", "y/b.jsonl", "y.csv")]
    assert paths(tmp_path / "x", tmp_path / "x" / "*.txt") == inside
    assert paths(tmp_path / "**" / "*.jsonl") == [tmp_path / "x/y/b.jsonl"]
    assert paths(tmp_path / "x" / "*.txt", tmp_path / "x") == [inside[1], inside[0], *inside[2:]]
    (source,) = sources.sources([str(tmp_path / "x" / "a.txt")])
    assert source == Source("text", (Span(str(tmp_path / "x" / "a.txt"), 0, len("text of x/a.txt")),))


def test_a_file_whose_name_has_the_signs_of_a_glob_is_a_file(tmp_path: Path) -> None:
    lay(tmp_path, "a[1].txt", "a1.txt")
    assert paths(tmp_path / "a[1].txt") == [tmp_path / "a[1].txt"]


def test_what_symbolic_links_lead_to_is_read_once_and_loops_end(tmp_path: Path) -> None:
    lay(tmp_path, "elsewhere/c.txt", "x/a.txt", "x/y/b.txt")
    (tmp_path / "x" / "again.txt").symlink_to(tmp_path / "x" / "a.txt")
    (tmp_path / "x" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "x" / "y" / "up").symlink_to(tmp_path / "x")
    (tmp_path / "x" / "round").symlink_to(tmp_path / "x" / "round")
    (tmp_path / "x" / "nowhere.txt").symlink_to(tmp_path / "absent")
    (tmp_path / "other").symlink_to(tmp_path / "x")
    once = [tmp_path / "x" / name for name in ("a.txt", "linked/c.txt", "y/b.txt")]
    assert paths(tmp_path / "x") == once
    assert paths(tmp_path / "x", tmp_path / "elsewhere", tmp_path / "other" / "a.txt") == once


def test_sources_have_names(tmp_path: Path) -> None:
    lay(tmp_path, "wiki/a.txt", "wiki/b.txt", "books/c.jsonl", "books/d.jsonl", "other.txt")
    found = sources.sources(
        [
            f"wiki={tmp_path}/wiki",
            f"{tmp_path}/other.txt",
            f"books-1.0={tmp_path}/books/c.*",
            f"wiki={tmp_path}/books",
            f"copy={tmp_path}/wiki/a.txt",
        ]
    )
    assert [(source.name, [Path(span.path).name for span in source.spans]) for source in found] == [
        ("wiki", ["a.txt", "b.txt", "d.jsonl"]),
        ("text", ["other.txt"]),
        ("books-1.0", ["c.jsonl"]),
    ]


def test_a_path_with_an_equals_sign_that_exists_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lay(tmp_path, "lang=en/a.txt", "en/b.txt")
    assert sources.sources(["lang=en"])[0].name == "text"
    assert sources.sources(["lang=en/a.txt"])[0].spans[0].path == "lang=en/a.txt"
    assert sources.sources(["lang=en/b.txt"])[0] == Source("lang", (Span("en/b.txt", 0, 16),))
    assert sources.sources(["lang=lang=en"])[0] == Source("lang", (Span("lang=en/a.txt", 0, 21),))
    assert sources.sources([f"{tmp_path}/lang=*/a.txt"])[0].name == "text"


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("absent.txt", "absent.txt: no such file"),
        ("wiki=absent.txt", "absent.txt: no such file"),
        ("*.txt.gz", "*.txt.gz: no such file"),
        ("*", "*: no such file"),
        ("empty", "empty: no text in this folder; .txt, .txt.gz, .txt.bz2, .txt.xz, .txt.zst, .jsonl"),
        ("table.xlsx", "table.xlsx: not one of .txt, .txt.gz"),
        ("table.*", "table.xlsx: not one of .txt, .txt.gz"),
        ("-.xlsx", "-.xlsx: standard input is -, or - and one of .txt, .txt.gz"),
        ("a" * 300, f"{'a' * 300}: File name too long"),
        ("a/" * 3000, f"{'a/' * 2999}a: File name too long"),
        ("nul\0.txt", "nul\0.txt: no such file"),
        ("", "--data is missing"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    if pattern.startswith("table"):
        (tmp_path / "table.xlsx").write_text("a,b")
    with pytest.raises(UserError) as raised:
        sources.sources([pattern])
    assert str(raised.value).startswith(said)
    assert "\n" not in str(raised.value)


def test_no_name_at_all_is_an_error() -> None:
    with pytest.raises(
        UserError, match="--data is missing: files, folders or globs of text, - for standard input, or bu"
    ):
        sources.sources([])


@pytest.mark.skipif(os.geteuid() == 0, reason="no folder is closed to root")
def test_a_folder_that_is_closed_to_this_user_is_an_error(tmp_path: Path) -> None:
    lay(tmp_path, "x/a.txt", "x/closed/b.txt")
    (tmp_path / "x" / "closed").chmod(0)
    try:
        for pattern in ("x", "x/closed/b.txt"):
            with pytest.raises(UserError, match=r"x/closed.*: Permission denied"):
                sources.sources([str(tmp_path / pattern)])
    finally:
        (tmp_path / "x" / "closed").chmod(0o700)


@pytest.mark.parametrize("name", ["-", "-.txt", "-.jsonl.gz", "-.arrow", "builtin"])
def test_standard_input_and_the_builtin_corpus_have_no_size_that_is_known(name: str) -> None:
    assert sources.sources([name, f"again={name}"]) == [Source("text", (Span(name),))]


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """A folder of JSON lines in several files that ``datasets`` loads."""
    folder = tmp_path / "rows"
    folder.mkdir()
    for number in range(3):
        rows = [{"text": f"row {number}-{row}"} for row in range(4)] + [{"text": None}]
        (folder / f"{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_a_data_set_that_datasets_loads_is_streamed_shard_by_shard(hub: Path) -> None:
    (source,) = sources.sources([f"rows=hub:{hub}"])
    assert source == Source("rows", tuple(Span(f"hub:{hub}#{shard}/3") for shard in range(3)))
    work, skipped = sources.parts([source], Format()), Skipped()
    assert [len(part.spans) for part in work] == [1, 1, 1]
    assert of_parts(work, skipped=skipped) == [f"row {number}-{row}" for number in range(3) for row in range(4)]
    assert skipped.lines() == [f"skipped 3: row has no text under 'text' (first at hub:{hub}#0/3, row 4)"]


def test_what_datasets_cannot_load_is_an_error_of_one_line(hub: Path) -> None:
    for pattern, said in ((f"hub:{hub}/absent", "datasets cannot load this"), (f"hub:{hub}::test", "Bad split: test")):
        with pytest.raises(UserError, match=said) as raised:
            sources.sources([pattern])
        assert "\n" not in str(raised.value)
    (hub / "1.jsonl").write_text('{"text": "a"}\n{"text": 5 5}\n')
    with pytest.raises(UserError, match=f"^hub:{hub}: datasets cannot load this: "):
        texts([Span(f"hub:{hub}#1/3")])
    (hub / "1.jsonl").unlink()
    with pytest.raises(UserError, match=f"^hub:{hub}: "):
        texts([Span(f"hub:{hub}#2/3")])


def test_a_data_set_without_the_field_names_its_columns(hub: Path) -> None:
    with pytest.raises(UserError, match=f"^hub:{hub}: no column 'body'; its columns: 'text'. --field names the right"):
        texts([Span(f"hub:{hub}#0/3")], Format(field="body"))


def test_paths_of_fsspec_are_files_folders_and_globs(tmp_path: Path) -> None:
    lay(tmp_path, "x/a.txt", "x/y/b.txt", "x/y/c.md", "x/d[1].txt")
    of = {
        name: Span(f"file://{tmp_path}/x/{name}", 0, len(f"text of x/{name}"))
        for name in ("a.txt", "d[1].txt", "y/b.txt")
    }
    for pattern, names in (
        ("x/a.txt", ["a.txt"]),
        ("x", list(of)),
        ("x/**/*.txt", list(of)),
        ("x/d[1].txt", ["d[1].txt"]),
    ):
        (source,) = sources.sources([f"some=file://{tmp_path}/{pattern}"])
        assert source == Source("some", tuple(of[name] for name in names))
    assert texts(list(of.values())) == [f"text of x/{name}" for name in of]


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("file://FOLDER/absent.txt", "no such file"),
        ("file://FOLDER/*.txt", "no text there; .txt, .txt.gz"),
        ("file://FOLDER/table.xlsx", "no text there; .txt, .txt.gz"),
        ("unheard-of://FOLDER", "ValueError: Protocol not known: unheard-of"),
    ],
)
def test_what_is_not_there_remotely_is_named(tmp_path: Path, pattern: str, said: str) -> None:
    (tmp_path / "table.xlsx").write_text("a,b")
    pattern = pattern.replace("FOLDER", str(tmp_path))
    with pytest.raises(UserError) as raised:
        sources.sources([pattern])
    assert str(raised.value).startswith(f"{pattern}: {said}")


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A client of an S3 server on this machine, with an empty bucket ``bucket``."""
    pytest.importorskip("s3fs", reason="s3:// needs the package s3fs")
    server_of = pytest.importorskip("moto.server", reason="a server of s3:// needs the package moto[server]")
    import boto3

    server = server_of.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server.get_host_and_port()))
        patch.setenv("AWS_ACCESS_KEY_ID", "anyone")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "anything")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        client = boto3.client("s3")
        client.create_bucket(Bucket="bucket")
        yield client
    server.stop()


def test_objects_of_s3_are_read_in_ranges(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "PART", 1 << 20)
    documents = [f"text {n} " + "of many words " * 100 for n in range(6000)]
    content = {
        "a.jsonl": "".join(json.dumps({"text": text}) + "\n" for text in documents).encode(),
        "b.txt": "\n\n".join(documents).encode(),
        "c.txt.gz": gzip.compress("\n\n".join(documents).encode()),
        "d.csv": b"text,n\n" + "".join(f'"{text}",1\n' for text in documents).encode(),
        "e.md": b"",
    }
    for name, body in content.items():
        s3.put_object(Bucket="bucket", Key=f"ranges/{name}", Body=body)
    (source,) = sources.sources(["s3://bucket/ranges"])
    names = [name for name in content if name != "e.md"]
    assert source.spans == tuple(Span(f"s3://bucket/ranges/{name}", 0, len(content[name])) for name in names)
    assert sources.sources(["s3://bucket/ranges/*.*"]) == [source]
    work, skipped = sources.parts([source], Format()), Skipped()
    cut = [span.path for part in work for span in part.spans]
    assert [cut.count(f"s3://bucket/ranges/{name}") for name in names] == [8, 8, 1, 1]
    found = of_parts(work, skipped=skipped)
    assert [text.strip("\n") for text in found] == documents * 4
    assert not skipped


def test_columns_are_read_from_s3(s3: Any, tmp_path: Path) -> None:
    import datasets

    rows = datasets.Dataset.from_dict({"text": [f"text {n}" for n in range(3000)]})
    rows.to_parquet(tmp_path / "a.parquet")
    rows.save_to_disk("s3://bucket/saved")
    s3.upload_file(str(tmp_path / "a.parquet"), "bucket", "saved/a.parquet")
    (source,) = sources.sources(["s3://bucket/saved/"])
    assert [span.path.rpartition(".")[2] for span in source.spans] == ["parquet", "arrow"]
    assert texts(source.spans) == 2 * rows["text"][:]


def test_invalid_utf8_is_located_in_s3(s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="bad.txt", Body=b"good\n\nbad \xff\n\n")
    skipped = Skipped()
    assert texts([Span("s3://bucket/bad.txt", 6, 13)], skipped=skipped) == []
    assert skipped.lines() == ["skipped 1: document is not UTF-8 (first at s3://bucket/bad.txt, line 3)"]


@pytest.mark.parametrize("path", ["s3://bucket/absent.txt", "s3://absent-bucket/a.txt"])
def test_a_bucket_or_object_that_is_not_there_is_named(s3: Any, path: str) -> None:
    with pytest.raises(UserError, match=f"^{path}: no such file$"):
        sources.sources([path])
    with pytest.raises(UserError, match=f"^{path}: no such file$"):
        texts([Span(path, 0, 1)])


def test_an_object_that_goes_while_it_is_read_is_an_error(s3: Any) -> None:
    body = b"word " * (1 << 20) + b"\n\n"
    s3.put_object(Bucket="bucket", Key="going.txt", Body=body * 4)
    found = readers.documents(Span("s3://bucket/going.txt", 0, 4 * len(body)), Format(), Skipped())
    next(found)
    s3.delete_object(Bucket="bucket", Key="going.txt")
    with pytest.raises(UserError, match=r"^s3://bucket/going.txt: "):
        list(found)


def test_an_object_that_shrank_since_it_was_planned_is_an_error(s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="small.txt", Body=b"12345")
    with pytest.raises(UserError, match=r"^s3://bucket/small.txt: 5 bytes, and 9 a moment ago; it changes while"):
        texts([Span("s3://bucket/small.txt", 0, 9)])


def test_a_server_that_does_not_answer_is_an_error_of_one_line(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(UserError, match=r"^s3://bucket/a.txt: .*Could not connect") as raised:
        sources.sources(["s3://bucket/a.txt"])
    s3fs.S3FileSystem.clear_instance_cache()
    assert "\n" not in str(raised.value)


def whole(path: Path, name: str = "text") -> list[Source]:
    """A source of one file."""
    return [Source(name, (Span(str(path), 0, path.stat().st_size),))]


def test_small_files_go_together_and_parts_are_numbered_through_all_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "PART", 100)
    for name, size in (("a", 40), ("b", 40), ("c", 40), ("d", 150), ("e", 10), ("f", 10)):
        (tmp_path / f"{name}.txt").write_text("x" * size)
    found = sources.sources([f"one={tmp_path}/[a-e].txt", f"two={tmp_path}/f.txt"])
    work = sources.parts(found, Format())
    assert [(part.number, part.source, [Path(span.path).stem for span in part.spans]) for part in work] == [
        (0, "one", ["a", "b", "c"]),
        (1, "one", ["d"]),
        (2, "one", ["e"]),
        (3, "two", ["f"]),
    ]
    assert [part.size for part in work] == [120, 150, 10, 10]


def test_what_has_no_known_size_is_a_part_of_its_own(tmp_path: Path) -> None:
    lay(tmp_path, "a.txt", "b.txt")
    found = sources.sources([str(tmp_path / "a.txt"), "builtin", "-", str(tmp_path / "b.txt")])
    spans = [[Path(span.path).name for span in part.spans] for part in sources.parts(found, Format())]
    assert spans == [["a.txt"], ["builtin"], ["-"], ["b.txt"]]


def test_there_are_no_more_than_so_many_parts_of_large_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "PART", 10)
    monkeypatch.setattr(sources, "MOST_PARTS", 7)
    (tmp_path / "a.txt").write_text("a line\n" * 10_000)
    work = sources.parts(whole(tmp_path / "a.txt"), Format("line"))
    assert len(work) == 6
    assert of_parts(work, Format("line")) == ["a line\n"] * 10_000


@pytest.mark.parametrize(
    "ending",
    [".txt.gz", ".txt.bz2", ".txt.xz", ".jsonl.zst", ".csv", ".tsv"],
)
def test_compressed_files_and_tables_are_in_one_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr(sources, "PART", 10)
    content = {
        ".txt": b"".join(b"text %d\n\n" % n for n in range(999)),
        ".jsonl": b"".join(b'{"text": "text %d"}\n' % n for n in range(999)),
        ".csv": b"text\n" + b"".join(b"text %d\n" % n for n in range(999)),
        ".tsv": b"text\n" + b"".join(b"text %d\n" % n for n in range(999)),
    }["." + ending.split(".")[1]]
    compress = {
        "gz": gzip.compress,
        "bz2": bz2.compress,
        "xz": lzma.compress,
        "zst": lambda content: pyarrow.compress(content, "zstd", asbytes=True),
    }
    path = tmp_path / f"a{ending}"
    path.write_bytes(compress.get(ending.split(".")[-1], bytes)(content))
    (part,) = sources.parts(whole(path), Format())
    assert part.spans == whole(path)[0].spans
    assert [text.strip() for text in texts(part.spans)] == [f"text {n}" for n in range(999)]


def test_a_file_that_is_one_document_is_in_one_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "PART", 10)
    (tmp_path / "a.txt").write_text("a line\n\n" * 100)
    assert len(sources.parts(whole(tmp_path / "a.txt"), Format("file"))) == 1
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n' * 100)
    assert len(sources.parts(whole(tmp_path / "a.jsonl"), Format("file"))) == 100


def test_lines_without_text_are_counted_wherever_a_piece_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "PART", 10)
    lines = ['{"text": "a"}', '{"body": "b"}', "[]", '{"text": null}', "{"]
    (tmp_path / "a.jsonl").write_text("\n".join(lines * 20))
    work, skipped = sources.parts(whole(tmp_path / "a.jsonl"), Format()), Skipped()
    assert len(work) > 50
    assert of_parts(work, skipped=skipped) == ["a"] * 20
    assert skipped.said() == {
        "line has no text under 'text'": {"count": 60, "first": f"{tmp_path}/a.jsonl, line 2"},
        "line is not JSON": {"count": 20, "first": f"{tmp_path}/a.jsonl, line 5"},
    }


LINE = st.one_of(
    st.sampled_from(["", "", " ", "\t \r", "\u00a0", "\ufeff", "\0"]),
    st.text(st.sampled_from("ab é€𝕨\r"), max_size=12),
    st.integers(0, 60).map("x".__mul__),
)


@settings(max_examples=400, deadline=None)
@given(
    lines=st.lists(LINE, max_size=40),
    newline=st.sampled_from(["\n", "\r\n"]),
    ends=st.booleans(),
    boundary=st.sampled_from(["blank-line", "line", "file"]),
    part=st.integers(1, 200),
    longest=st.sampled_from([8, 20, 1000]),
)
@example(["a", "", "b"] * 9, "\n", True, "blank-line", 3, 1000)
@example(["a" * 30, "  ", "é" * 30] * 9, "\r\n", False, "blank-line", 20, 8)
def test_the_pieces_of_a_text_have_the_documents_of_the_whole(
    lines: list[str], newline: str, ends: bool, boundary: Boundary, part: int, longest: int
) -> None:
    form = Format(boundary)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "PART", part)
        patch.setattr(sources, "LONGEST", longest)
        patch.setattr(readers, "LONGEST", longest)
        path = Path(folder, "a.txt")
        path.write_bytes((newline.join(lines) + newline * ends).encode())
        source = whole(path)
        work = sources.parts(source, form)
        spans = [span for part in work for span in part.spans]
        assert [part.number for part in work] == list(range(len(work)))
        assert spans[0].start == 0 and spans[-1].stop == path.stat().st_size
        assert all(one.stop == two.start for one, two in pairwise(spans))
        assert all(span.size >= part for span in spans[:-1])
        expected = list(readers.documents(source[0].spans[0], form, Skipped()))
        found = [document for span in spans for document in readers.documents(span, form, Skipped())]
        assert found == expected


@settings(max_examples=200, deadline=None)
@given(
    documents=st.lists(st.one_of(st.none(), st.text(max_size=40)), max_size=40),
    between=st.lists(st.sampled_from(["\n", "\r\n", "\n \n", "\nno JSON\n"]), min_size=40, max_size=40),
    part=st.integers(1, 200),
)
def test_the_pieces_of_json_lines_have_the_documents_of_the_whole(
    documents: list[str | None], between: list[str], part: int
) -> None:
    lines = (
        json.dumps({"text": text}, ensure_ascii=False) + end for text, end in zip(documents, between, strict=False)
    )
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "PART", part)
        path = Path(folder, "a.jsonl")
        path.write_bytes("".join(lines).encode())
        source, once, cut = whole(path), Skipped(), Skipped()
        expected = texts(source[0].spans, skipped=once)
        assert expected == [text for text in documents if text and text.strip()]
        assert of_parts(sources.parts(source, Format()), skipped=cut) == expected
        assert cut.said() == once.said()


def test_a_file_that_is_removed_before_it_is_cut_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "PART", 10)
    (tmp_path / "a.txt").write_text("a line\n\n" * 100)
    found = whole(tmp_path / "a.txt")
    longer = [replace(source, spans=tuple(replace(span, stop=1000) for span in source.spans)) for source in found]
    with pytest.raises(UserError, match=r"a.txt: 800 bytes, and 1,000 a moment ago; it changes while it is read"):
        sources.parts(longer, Format())
    (tmp_path / "a.txt").unlink()
    with pytest.raises(UserError, match=r"a.txt: No such file or directory"):
        sources.parts(found, Format())
