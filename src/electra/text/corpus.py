"""Files of raw text → Documents, one at a time: .txt and .jsonl, plain or gzipped."""

import glob
import gzip
import io
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from electra.errors import UserError
from electra.progress import Progress

ENDINGS = (".txt", ".jsonl", ".txt.gz", ".jsonl.gz")
LONGEST = 1 << 26  # bytes of a document that are held at once; a longer text goes on as another document

Boundary = Literal["blank-line", "file"]


@dataclass(frozen=True)
class Document:
    """A text that belongs together. ``source`` is its file, ``index`` its place there, from 0."""

    text: str
    source: str
    index: int


class Skipped(Counter[str]):
    """How much was left out, by reason, with the place where each reason was met first."""

    def __init__(self) -> None:
        super().__init__()
        self.first: dict[str, str] = {}

    def note(self, reason: str, where: str) -> None:
        """Count one more for ``reason``."""
        self[reason] += 1
        self.first.setdefault(reason, where)

    def lines(self) -> list[str]:
        """Each reason with its count, and where it was met first."""
        return [
            f"skipped {count:,}: {reason}" + (f" (first at {self.first[reason]})" if reason in self.first else "")
            for reason, count in self.most_common()
        ]


def files(patterns: Sequence[str]) -> list[Path]:
    """The text files that names, folders and globs stand for, sorted within each pattern, none twice.

    Raises:
        UserError: a pattern that stands for nothing, a folder without text, a file of another kind.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.name.endswith(ENDINGS) and file.is_file())
            if not inside:
                raise UserError(f"{path}: no text in this folder; {', '.join(ENDINGS)} are read")
        else:
            inside = [path] if path.is_file() else sorted(map(Path, glob.glob(pattern, recursive=True)))
            inside = [file for file in inside if file.is_file()]
            if not inside:
                raise UserError(f"{pattern}: no such file")
        for file in inside:
            if not file.name.endswith(ENDINGS):
                raise UserError(f"{file}: not one of {', '.join(ENDINGS)}")
            found[file] = None
    if not found:
        raise UserError("--data is missing: files, folders or globs of text")
    return list(found)


def read(
    paths: Sequence[Path], skipped: Skipped, label: str, boundary: Boundary = "blank-line", field: str = "text"
) -> Iterator[Document]:
    """The documents of the files, in order, with progress under ``label``.

    A .txt file holds one document, or several with blank lines between them, as ``boundary`` says; a .jsonl file one
    a line, under the key ``field``. What cannot be read as UTF-8 or JSON is skipped and counted.

    Raises:
        UserError: a file that cannot be opened, a gzip stream that is cut off, a field that the first line lacks.
    """
    size = sum(path.stat().st_size for path in paths) / 1e6
    before = 0.0
    with Progress(label, size, "MB") as progress:
        for path in paths:
            try:
                with path.open("rb") as raw:
                    content = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
                    if path.name.removesuffix(".gz").endswith(".jsonl"):
                        documents = from_jsonl(path, content, skipped, field)
                    else:
                        documents = from_text(path, content, skipped, boundary)
                    for document in documents:
                        yield document
                        progress.at(before + raw.tell() / 1e6)
            except (OSError, EOFError, zlib.error) as error:
                raise UserError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
            before += path.stat().st_size / 1e6
            progress.at(before)


def from_text(path: Path, file: io.BufferedIOBase, skipped: Skipped, boundary: Boundary) -> Iterator[Document]:
    """The documents of a text file."""
    for index, (number, content) in enumerate(stretches(file, boundary == "blank-line")):
        try:
            text = content.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            line = number + content[: error.start].count(b"\n")
            skipped.note("document is not UTF-8", f"{path}, line {line}")
            continue
        if text.strip():
            yield Document(text, str(path), index)


def stretches(file: io.BufferedIOBase, blank_lines: bool) -> Iterator[tuple[int, bytes]]:
    """(number of the first line, bytes) of each document."""
    held: list[bytes] = []
    size, first = 0, 1
    for number, line in lines(file):
        if held and ((blank_lines and not line.strip()) or size + len(line) > LONGEST):
            yield first, b"".join(held)
            held, size = [], 0
        if not held:
            first = number
        held.append(line)
        size += len(line)
    if held:
        yield first, b"".join(held)


def lines(file: io.BufferedIOBase) -> Iterator[tuple[int, bytes]]:
    """(number, bytes) of each line; one longer than ``LONGEST`` comes in parts, cut at spaces where there are any."""
    number, rest = 1, b""
    while part := file.readline(LONGEST - len(rest)):
        line, rest = rest + part, b""
        if not line.endswith(b"\n") and len(line) >= LONGEST:
            cut = line.rfind(b" ") + 1 or len(line)
            line, rest = line[:cut], line[cut:]
        yield number, line
        number += line.endswith(b"\n")
    if rest:
        yield number, rest


def from_jsonl(path: Path, file: io.BufferedIOBase, skipped: Skipped, field: str) -> Iterator[Document]:
    """The documents of a file with a JSON object a line."""
    found = False
    for number, line in lines(file):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        try:
            record = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError:
            skipped.note("line is not UTF-8", where)
            continue
        except ValueError:
            skipped.note("line is not JSON", where)
            continue
        text = record.get(field) if isinstance(record, dict) else None
        if not isinstance(text, str):
            if not found:
                keys = f"keys {', '.join(map(repr, record))}" if isinstance(record, dict) else type(record).__name__
                raise UserError(f"{where}: no text under {field!r}; found {keys}. --field names the right one")
            skipped.note(f"line has no text under {field!r}", where)
            continue
        found = True
        try:
            text.encode()
        except UnicodeEncodeError:
            skipped.note("text has half a surrogate pair, which is no character", where)
            continue
        if text.strip():
            yield Document(text, str(path), number - 1)
