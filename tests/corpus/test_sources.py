"""Names → sources → parts: which files there are, and how the work on them is cut."""

import bz2
import gzip
import json
import lzma
import os
import tempfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pyarrow
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from electra import files
from electra.corpus import lines as text_lines
from electra.corpus import readers, sources
from electra.corpus.documents import Boundary, Skipped, Span, TextFormat
from electra.corpus.sources import TextSource
from electra.errors import UserError
from formats import lay, of_parts, of_spans


def paths(*patterns: Path | str) -> list[Path]:
    """The files of the patterns, which are all of one source."""
    (source,) = sources.find_sources([str(pattern) for pattern in patterns])
    return [Path(span.path) for span in source.spans]


def test_globs_and_folders_are_searched_in_order_and_nothing_is_read_twice(tmp_path: Path) -> None:
    lay(tmp_path, "x/a.txt", "x/y/b.jsonl", "x/y/c.md", "x/y.csv", "x/z.parquet.gz", "x/B.txt.zst")
    inside = [tmp_path / "x" / name for name in ("B.txt.zst", "a.txt", "y/b.jsonl", "y.csv")]
    assert paths(tmp_path / "x", tmp_path / "x" / "*.txt") == inside
    assert paths(tmp_path / "**" / "*.jsonl") == [tmp_path / "x/y/b.jsonl"]
    assert paths(tmp_path / "x" / "*.txt", tmp_path / "x") == [inside[1], inside[0], *inside[2:]]
    (source,) = sources.find_sources([str(tmp_path / "x" / "a.txt")])
    assert source == TextSource("text", (Span(str(tmp_path / "x" / "a.txt"), 0, len("text of x/a.txt")),))


def test_what_a_folder_holds_besides_text_is_counted_and_named(tmp_path: Path) -> None:
    lay(
        tmp_path, "x/a.txt", "x/B.TXT", "x/c.train", "x/d.tokens", "x/e.md", "x/f.md", "x/7", "x/.h.txt", "x/.git/i.txt"
    )
    lay(tmp_path, "x/cache-ff1829c94136d4d9.arrow", "x/cache-ff1829c94136d4d9_00001_of_00004.arrow", "x/README")
    (tmp_path / "x" / "gone.txt").symlink_to(tmp_path / "absent")
    skipped = Skipped()
    (source,) = sources.find_sources([str(tmp_path / "x")], skipped)
    assert [Path(span.path).name for span in source.spans] == ["a.txt"]
    assert {reason: (count, Path(skipped.first[reason]).name) for reason, count in skipped.items()} == {
        "file in .TXT, which is not read": (1, "B.TXT"),
        "file in .train, which is not read": (1, "c.train"),
        "file in .tokens, which is not read": (1, "d.tokens"),
        "file in .md, which is not read": (2, "e.md"),
        "file without a known ending": (2, "7"),
        "hidden file": (1, ".h.txt"),
        "folder that is hidden or not in its data set": (1, ".git"),
        "cache of datasets": (2, "cache-ff1829c94136d4d9.arrow"),
        "no file, or a link to none": (1, "gone.txt"),
    }


def test_what_this_program_wrote_below_a_source_is_no_text(tmp_path: Path) -> None:
    lay(tmp_path, "x/a.txt", "x/tok/vocab.txt", "x/run/metrics.jsonl", "x/run/final/vocab.txt", "x/others/vocab.txt")
    for name in ("tok", "run"):
        files.mark_folder(tmp_path / "x" / name, "tokenizer")
    for pattern, count in (("x", 2), ("x/**/[!m]*.txt", 1)):
        skipped = Skipped()
        (source,) = sources.find_sources([str(tmp_path / pattern)], skipped)
        names = [Path(span.path).relative_to(tmp_path / "x").as_posix() for span in source.spans]
        assert [name for name in names if name != "run/final/vocab.txt"] == ["a.txt", "others/vocab.txt"], pattern
        assert skipped == {sources.OWN_FOLDER: count}
    assert paths(tmp_path / "x" / "tok" / "vocab.txt"), "what is named is read"


def test_what_a_glob_or_a_server_finds_besides_text_is_counted(tmp_path: Path) -> None:
    lay(tmp_path, "x/a.txt", "x/cache-ff1829c94136d4d9.arrow", "x/y/b.txt", "z/a.txt", "z/b.md", "z/.c.txt")
    skipped = Skipped()
    (source,) = sources.find_sources([str(tmp_path / "x" / "*")], skipped)
    assert [Path(span.path).name for span in source.spans] == ["a.txt"]
    assert set(skipped) == {"cache of datasets", "folder that a glob has found; name it to have it read"}
    skipped = Skipped()
    (source,) = sources.find_sources([f"file://{tmp_path}/z"], skipped)
    assert [Path(span.path).name for span in source.spans] == ["a.txt"]
    assert set(skipped) == {"file in .md, which is not read", "hidden file"}


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


def test_a_file_with_two_names_is_read_once(tmp_path: Path) -> None:
    lay(tmp_path, "x/a.txt")
    os.link(tmp_path / "x" / "a.txt", tmp_path / "x" / "b.txt")
    assert paths(tmp_path / "x", f"file://{tmp_path}/x/a.txt") == [tmp_path / "x" / "a.txt"]


def test_sources_have_names(tmp_path: Path) -> None:
    lay(tmp_path, "wiki/a.txt", "wiki/b.txt", "books/c.jsonl", "books/d.jsonl", "other.txt")
    found = sources.find_sources(
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
    assert sources.find_sources(["lang=en"])[0].name == "text"
    assert sources.find_sources(["lang=en/a.txt"])[0].spans[0].path == "lang=en/a.txt"
    assert sources.find_sources(["lang=en/b.txt"])[0] == TextSource("lang", (Span("en/b.txt", 0, 16),))
    assert sources.find_sources(["lang=lang=en"])[0] == TextSource("lang", (Span("lang=en/a.txt", 0, 21),))
    assert sources.find_sources([f"{tmp_path}/lang=*/a.txt"])[0].name == "text"
    assert sources.find_sources(["lang=en/*.txt"]) == [TextSource("text", (Span("lang=en/a.txt", 0, 21),))]
    assert sources.find_sources(["mine=en/*.txt"]) == [TextSource("mine", (Span("en/b.txt", 0, 16),))]


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
        ("nul\0.txt", r"nul\x00.txt: no such file"),
        ("", "--data is missing"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    if pattern.startswith("table"):
        (tmp_path / "table.xlsx").write_text("a,b")
    with pytest.raises(UserError) as raised:
        sources.find_sources([pattern])
    assert str(raised.value).startswith(said[:400])  # the middle of a long line is left out
    assert "\n" not in str(raised.value)


def test_no_name_at_all_is_an_error() -> None:
    with pytest.raises(
        UserError, match="--data is missing: files, folders or globs of text, - for standard input, or bu"
    ):
        sources.find_sources([])


@pytest.mark.skipif(os.geteuid() == 0, reason="no folder is closed to root")
def test_a_folder_that_is_closed_to_this_user_is_an_error(tmp_path: Path) -> None:
    lay(tmp_path, "x/a.txt", "x/closed/b.txt")
    (tmp_path / "x" / "closed").chmod(0)
    try:
        for pattern in ("x", "x/closed/b.txt", "x/**/*.txt", "x/*/*.txt", "x/*/b.txt", "x/closed/*.txt"):
            with pytest.raises(UserError, match=r"x/closed.*: Permission denied"):
                sources.find_sources([str(tmp_path / pattern)])
    finally:
        (tmp_path / "x" / "closed").chmod(0o700)


@pytest.mark.parametrize("name", ["-", "-.txt", "-.jsonl.gz", "-.arrow", "builtin"])
def test_standard_input_and_the_builtin_corpus_have_no_size_that_is_known(name: str) -> None:
    assert sources.find_sources([name, f"again={name}"]) == [TextSource("text", (Span(name),))]


def whole(path: Path, name: str = "text") -> list[TextSource]:
    """A source of one file."""
    return [TextSource(name, (Span(str(path), 0, path.stat().st_size),))]


def test_small_files_go_together_and_parts_are_numbered_through_all_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "PART_BYTES", 100)
    for name, size in (("a", 40), ("b", 40), ("c", 40), ("d", 150), ("e", 10), ("f", 10)):
        (tmp_path / f"{name}.txt").write_text("x" * size)
    found = sources.find_sources([f"one={tmp_path}/[a-e].txt", f"two={tmp_path}/f.txt"])
    work = sources.cut_parts(found, TextFormat())
    assert [(part.number, part.source, [Path(span.path).stem for span in part.spans]) for part in work] == [
        (0, "one", ["a", "b", "c"]),
        (1, "one", ["d"]),
        (2, "one", ["e"]),
        (3, "two", ["f"]),
    ]
    assert [part.size for part in work] == [120, 150, 10, 10]


def test_what_has_no_known_size_is_a_part_of_its_own(tmp_path: Path) -> None:
    lay(tmp_path, "a.txt", "b.txt")
    found = sources.find_sources([str(tmp_path / "a.txt"), "builtin", "-", str(tmp_path / "b.txt")])
    spans = [[Path(span.path).name for span in part.spans] for part in sources.cut_parts(found, TextFormat())]
    assert spans == [["a.txt"], ["builtin"], ["-"], ["b.txt"]]


def test_there_are_no_more_than_so_many_parts_of_large_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "PART_BYTES", 10)
    monkeypatch.setattr(sources, "MOST_PARTS", 7)
    (tmp_path / "a.txt").write_text("a line\n" * 10_000)
    work = sources.cut_parts(whole(tmp_path / "a.txt"), TextFormat("line"))
    assert len(work) == 6
    assert of_parts(work, TextFormat("line")) == ["a line\n"] * 10_000


@pytest.mark.parametrize(
    "ending",
    [".txt.gz", ".txt.bz2", ".txt.xz", ".jsonl.zst", ".csv", ".tsv"],
)
def test_compressed_files_and_tables_are_in_one_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr(sources, "PART_BYTES", 10)
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
    (part,) = sources.cut_parts(whole(path), TextFormat())
    assert part.spans == whole(path)[0].spans
    assert [text.strip() for text in of_spans(part.spans)] == [f"text {n}" for n in range(999)]


def test_a_file_that_is_one_document_is_in_one_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "PART_BYTES", 10)
    (tmp_path / "a.txt").write_text("a line\n\n" * 100)
    assert len(sources.cut_parts(whole(tmp_path / "a.txt"), TextFormat("file"))) == 1
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n' * 100)
    assert len(sources.cut_parts(whole(tmp_path / "a.jsonl"), TextFormat("file"))) == 100


def test_lines_without_text_are_counted_wherever_a_piece_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "PART_BYTES", 10)
    lines = ['{"text": "a"}', '{"body": "b"}', "[]", '{"text": null}', "{"]
    (tmp_path / "a.jsonl").write_text("\n".join(lines * 20))
    work, skipped = sources.cut_parts(whole(tmp_path / "a.jsonl"), TextFormat()), Skipped()
    assert len(work) > 50
    assert of_parts(work, skipped=skipped) == ["a"] * 20
    assert skipped.to_json() == {
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
    form = TextFormat(boundary)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "PART_BYTES", part)
        patch.setattr(text_lines, "LONGEST_DOCUMENT", longest)
        path = Path(folder, "a.txt")
        path.write_bytes((newline.join(lines) + newline * ends).encode())
        source = whole(path)
        work = sources.cut_parts(source, form)
        spans = [span for part in work for span in part.spans]
        assert [part.number for part in work] == list(range(len(work)))
        assert spans[0].start == 0 and spans[-1].stop == path.stat().st_size
        assert all(one.stop == two.start for one, two in pairwise(spans))
        assert all(span.size >= part for span in spans[:-1])
        expected = list(readers.read_documents(source[0].spans[0], form, Skipped()))
        found = [document for span in spans for document in readers.read_documents(span, form, Skipped())]
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
        patch.setattr(sources, "PART_BYTES", part)
        path = Path(folder, "a.jsonl")
        path.write_bytes("".join(lines).encode())
        source, once, cut = whole(path), Skipped(), Skipped()
        expected = of_spans(source[0].spans, skipped=once)
        assert expected == [text for text in documents if text and text.strip()]
        assert of_parts(sources.cut_parts(source, TextFormat()), skipped=cut) == expected
        assert cut.to_json() == once.to_json()


def test_a_file_that_is_removed_before_it_is_cut_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "PART_BYTES", 10)
    (tmp_path / "a.txt").write_text("a line\n\n" * 100)
    found = whole(tmp_path / "a.txt")
    longer = [replace(source, spans=tuple(replace(span, stop=1000) for span in source.spans)) for source in found]
    with pytest.raises(UserError, match=r"a.txt: 800 bytes, and 1,000 a moment ago; it changes while it is read"):
        sources.cut_parts(longer, TextFormat())
    (tmp_path / "a.txt").unlink()
    with pytest.raises(UserError, match=r"a.txt: No such file or directory"):
        sources.cut_parts(found, TextFormat())
