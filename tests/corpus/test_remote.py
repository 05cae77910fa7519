"""Files behind a scheme → spans and Documents: what fsspec and a server of S3 give, and what they say."""

import gzip
import hashlib
import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from electra.corpus import readers, sources
from electra.corpus.documents import Skipped, Span, TextFormat
from electra.corpus.prepare import PrepareConfig, prepare
from electra.corpus.sources import TextSource
from electra.errors import UserError
from electra.tokenization.training import train_tokenizer
from formats import lay, of_parts, of_spans


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
        (source,) = sources.find_sources([f"some=file://{tmp_path}/{pattern}"])
        assert source == TextSource("some", tuple(of[name] for name in names))
    assert of_spans(list(of.values())) == [f"text of x/{name}" for name in of]


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
        sources.find_sources([pattern])
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
    monkeypatch.setattr(sources, "PART_BYTES", 1 << 20)
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
    (source,) = sources.find_sources(["s3://bucket/ranges"])
    names = [name for name in content if name != "e.md"]
    assert source.spans == tuple(Span(f"s3://bucket/ranges/{name}", 0, len(content[name])) for name in names)
    assert sources.find_sources(["s3://bucket/ranges/*.*"]) == [source]
    work, skipped = sources.cut_parts([source], TextFormat()), Skipped()
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
    (source,) = sources.find_sources(["s3://bucket/saved/"])
    assert [span.path.rpartition(".")[2] for span in source.spans] == ["parquet", "arrow"]
    assert of_spans(source.spans) == 2 * rows["text"][:]


def test_invalid_utf8_is_located_in_s3(s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="bad.txt", Body=b"good\n\nbad \xff\n\n")
    skipped = Skipped()
    assert of_spans([Span("s3://bucket/bad.txt", 6, 13)], skipped=skipped) == []
    assert skipped.lines() == ["skipped 1: document is not UTF-8 (first at s3://bucket/bad.txt, line 3)"]


@pytest.mark.parametrize("path", ["s3://bucket/absent.txt", "s3://absent-bucket/a.txt"])
def test_a_bucket_or_object_that_is_not_there_is_named(s3: Any, path: str) -> None:
    with pytest.raises(UserError, match=f"^{path}: no such file$"):
        sources.find_sources([path])
    with pytest.raises(UserError, match=f"^{path}: no such file$"):
        of_spans([Span(path, 0, 1)])


def test_an_object_that_goes_while_it_is_read_is_an_error(s3: Any) -> None:
    body = b"word " * (1 << 20) + b"\n\n"
    s3.put_object(Bucket="bucket", Key="going.txt", Body=body * 4)
    found = readers.read_documents(Span("s3://bucket/going.txt", 0, 4 * len(body)), TextFormat(), Skipped())
    next(found)
    s3.delete_object(Bucket="bucket", Key="going.txt")
    with pytest.raises(UserError, match=r"^s3://bucket/going.txt: "):
        list(found)


def test_an_object_that_shrank_since_it_was_planned_is_an_error(s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="small.txt", Body=b"12345")
    with pytest.raises(UserError, match=r"^s3://bucket/small.txt: 5 bytes, and 9 a moment ago; it changes while"):
        of_spans([Span("s3://bucket/small.txt", 0, 9)])


def test_a_server_that_does_not_answer_is_an_error_of_one_line(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(UserError, match=r"^s3://bucket/a.txt: .*Could not connect") as raised:
        sources.find_sources(["s3://bucket/a.txt"])
    s3fs.S3FileSystem.clear_instance_cache()
    assert "\n" not in str(raised.value)


class Guarded(SimpleHTTPRequestHandler):
    """Serves ``files`` to whoever has the password and a token; ``asked`` are the requests."""

    files: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.answer(self.command == "GET")

    do_HEAD = do_GET

    def answer(self, with_content: bool) -> None:
        path, _, query = self.path.partition("?")
        self.asked.append(self.path)
        known = self.headers.get("Authorization") == "Basic " + b64encode(b"me:pass-word").decode()
        content = self.files.get(path, b"")
        if not known or not query.startswith("token=to-ken") or not content:
            self.send_error(404 if known else 401)
            return
        first, last = 0, len(content) - 1
        if asked := self.headers.get("Range"):
            first, last = (int(part or last) for part in asked.removeprefix("bytes=").split("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content[first : last + 1])))
        self.end_headers()
        if with_content:
            self.wfile.write(content[first : last + 1])

    def log_message(self, *words: object) -> None:
        """Nothing."""


@pytest.fixture
def guarded() -> Iterator[str]:
    """The address of a server with ``a.txt``, behind a password, without a token."""
    pytest.importorskip("aiohttp", reason="https:// needs the package aiohttp")
    text = "\n\n".join(f"the chef ate {n} meals and then \xff another one" for n in range(900))
    Guarded.files = {f"/{name}.txt": text.replace("chef", name).encode("latin-1") for name in ("a", "b")}
    Guarded.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Guarded)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://me:pass-word@127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_passwords_and_tokens_are_neither_written_nor_printed(
    guarded: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """And what was begun with them goes on, with a new token too, while another address is another source."""
    Guarded.files = {name: content.replace(b"\xff", b"") + b"\n\nbad \xff" for name, content in Guarded.files.items()}
    (tmp_path / "more.txt").write_text("\n\n".join(f"some text number {n}" for n in range(500)))
    train_tokenizer([f"the chef ate a meal and then another one {n}" for n in range(40)], 60).save(tmp_path / "tok")
    asked = PrepareConfig(
        data=(f"web={guarded}/a.txt?token=to-ken-1", str(tmp_path / "more.txt")), tokenizer=str(tmp_path / "tok"),
        out=str(tmp_path / "data"), held_out=0.2, part="1/2", workers=1,
    )  # fmt: skip
    prepare(asked)
    everything = lambda: b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())  # noqa: E731
    assert b"127.0.0.1" in everything(), "where text was left out is told"
    assert b"pass-word" not in everything() and b"to-ken" not in everything()
    with pytest.raises(UserError, match="was begun otherwise .other files"):
        prepare(replace(asked, data=(f"web={guarded}/b.txt?token=to-ken-1", *asked.data[1:])))
    kept = Guarded.files["/a.txt"]
    Guarded.files["/a.txt"] = kept.replace(b"meals", b"bones")
    with pytest.raises(UserError, match=r"http://…@127.0.0.1:\d+/a.txt\?…: changed since"):
        prepare(replace(asked, part=""))
    Guarded.files["/a.txt"] = kept
    manifest = prepare(replace(asked, data=(f"web={guarded}/a.txt?token=to-ken-2", *asked.data[1:]), part=""))
    assert manifest["skipped"]["document is not UTF-8"]["first"].startswith("http://…@127.0.0.1:")
    prepare(replace(asked, out=str(tmp_path / "other"), part="", preview=1))
    for data in (
        f"{guarded}/absent.txt?token=to-ken",
        f"{guarded}/a.md?token=to-ken",
        f"{guarded.replace('pass', 'x')}/a.txt",
    ):
        with pytest.raises(UserError, match="127.0.0.1") as raised:
            prepare(replace(asked, data=(data,), out=str(tmp_path / "no")))
        assert not [word for word in ("pass-word", "x-word", "to-ken") if word in str(raised.value)]
    said = capsys.readouterr()
    assert "127.0.0.1" in said.out and not [w for w in ("pass-word", "to-ken") if w in said.out + said.err]
    assert b"pass-word" not in everything() and b"to-ken" not in everything()
