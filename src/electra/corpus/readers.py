"""A Span → its Documents: plain text and JSON lines here, tables in ``tables``; compressed, remote or from a pipe."""

import bz2
import codecs
import gzip
import io
import json
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from io import BufferedReader
from multiprocessing import parent_process
from pathlib import Path

from electra.corpus import builtin, tables
from electra.corpus.documents import HALF_SURROGATE, NOT_UTF8, Document, Skipped, Span, TextFormat, is_encodable
from electra.errors import UserError, convert_errors

LONGEST_DOCUMENT = 1 << 26  # bytes of a document that are held at once; a longer text goes on as another document
BUFFER_BYTES = 1 << 18  # bytes that a decompressor is asked for at once
STANDARD_INPUT = "-"
BUILTIN = "builtin"
READ_ERRORS = (OSError, EOFError, zlib.error, lzma.LZMAError)  # what a file and what decompresses it raise


def read_documents(
    span: Span, form: TextFormat, skipped: Skipped, told: Callable[[int], object] = int
) -> Iterator[Document]:
    """The documents of a span, in order; ``told`` is given the bytes that are read of it so far.

    What cannot be read as UTF-8, JSON or a row is skipped and counted.

    Raises:
        UserError: a file that cannot be opened or was changed, a stream that is cut off, a field that is missing.
    """
    if span.path == BUILTIN:
        yield from builtin.collect_docstrings(skipped, workers=1 if parent_process() else None)
        return
    if span.path.startswith(tables.HUB_PREFIX):
        yield from tables.read_hub_documents(span.path, form, skipped)
        return
    name, decompress = find_compression(span.name)
    reader = next(read for ending, read in READERS.items() if name.endswith(ending))
    with convert_errors(span.path, *READ_ERRORS), open_span(span) as raw:
        for document in reader(span, decompress(raw), form, skipped):
            yield document
            told(raw.tell() - span.start if raw.seekable() else 0)


def find_compression(path: str) -> tuple[str, Callable[[BufferedReader], BufferedReader]]:
    """The name without the ending of a compression, and what undoes it. Standard input has the name ``-.txt``."""
    name = path + ".txt" if path == STANDARD_INPUT else path
    for ending, decompress in COMPRESSIONS.items():
        if name.endswith(ending):
            return name.removesuffix(ending), decompress
    return name, lambda raw: raw


def decompress_zstandard(raw: BufferedReader) -> BufferedReader:
    """Several frames are read as one stream, and one that is cut off raises (not every library does either)."""
    import pyarrow

    return BufferedReader(pyarrow.CompressedInputStream(pyarrow.PythonFile(raw, mode="r"), "zstd"), BUFFER_BYTES)


COMPRESSIONS: dict[str, Callable[[BufferedReader], BufferedReader]] = {
    ".gz": lambda raw: BufferedReader(gzip.GzipFile(fileobj=raw), BUFFER_BYTES),
    ".bz2": lambda raw: BufferedReader(bz2.BZ2File(raw), BUFFER_BYTES),
    ".xz": lambda raw: BufferedReader(lzma.LZMAFile(raw), BUFFER_BYTES),  # noqa: SIM115
    ".zst": decompress_zstandard,
}


def is_piped(path: str) -> bool:
    """Whether a name stands for standard input, which can be read once and in this process alone."""
    return path.split(".")[0] == STANDARD_INPUT


def open_span(span: Span) -> BufferedReader:
    """The file of a span, at its start."""
    if is_piped(span.path):
        if sys.stdin.closed:
            raise UserError(f"{span.path}: standard input can be read once only; save it to a file")
        if parent_process():
            raise UserError(f"{span.path}: standard input is not there for several processes; --workers 1")
        return sys.stdin.buffer  # type: ignore[return-value]
    if "://" in span.path:
        from electra.corpus.remote import open_remote_file

        file = open_remote_file(span.path)
    else:
        file = Path(span.path).open("rb")  # noqa: SIM115  the caller closes it
    if span.stop and (size := file.seek(0, io.SEEK_END)) < span.stop:
        raise UserError(f"{span.path}: {size:,} bytes, and {span.stop:,} a moment ago; it changes while it is read")
    file.seek(span.start)
    return file


def read_text_documents(span: Span, file: BufferedReader, form: TextFormat, skipped: Skipped) -> Iterator[Document]:
    """The documents of a text file."""
    for at, content in group_lines(read_span_lines(file, span), form.documents):
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            skipped.note(f"document is {NOT_UTF8}", lambda bad=at + error.start: describe_line(span, bad))  # type: ignore[misc]
            continue
        if text.strip():
            yield Document(text, span.shown, at)


def group_lines(numbered: Iterator[tuple[int, bytes]], documents: str) -> Iterator[tuple[int, bytes]]:
    """(offset, bytes) of each document."""
    held: list[bytes] = []
    size, first = 0, 0
    for at, line in numbered:
        ends = documents == "line" or (documents == "blank-line" and not line.strip())
        if held and (ends or size + len(line) > LONGEST_DOCUMENT):
            yield first, b"".join(held)
            held, size = [], 0
        if not held:
            if not line.strip():
                continue
            first = at
        held.append(line)
        size += len(line)
    if held:
        yield first, b"".join(held)


def read_span_lines(file: BufferedReader, span: Span) -> Iterator[tuple[int, bytes]]:
    """(offset, bytes) of each line of a span; one longer than ``LONGEST_DOCUMENT`` comes in parts, cut at a space
    or character.

    A byte order mark belongs to no line. A span of a compressed file is the whole file, and so is one from a pipe.
    """
    at, rest = span.start, b""
    last = span.stop if find_compression(span.name)[0] == span.name else 0
    while (not last or at < last) and (part := file.readline(LONGEST_DOCUMENT - len(rest))):
        line, rest = rest + part, b""
        if not line.endswith(b"\n") and len(line) >= LONGEST_DOCUMENT:
            cut = line.rfind(b" ") + 1 or count_whole_characters(line)
            line, rest = line[:cut], line[cut:]
        if at == 0 and line.startswith(codecs.BOM_UTF8):
            at, line = len(codecs.BOM_UTF8), line.removeprefix(codecs.BOM_UTF8)
        yield at, line
        at += len(line)
    if rest:
        yield at, rest


def count_whole_characters(line: bytes) -> int:
    """How many of the bytes stand before the last character's first, if that character may be cut off."""
    start = next((i for i in range(len(line) - 1, len(line) - 5, -1) if line[i] & 0xC0 != 0x80), len(line))
    return start if line[start : start + 1] >= b"\xc0" else len(line)


def read_json_documents(span: Span, file: BufferedReader, form: TextFormat, skipped: Skipped) -> Iterator[Document]:
    """The documents of a file with a JSON object a line."""
    found = span.start > 0  # whether the field is the right one is told by the file's beginning
    for at, line in read_span_lines(file, span):
        if not line.strip():
            continue
        where = lambda at=at: describe_line(span, at)  # noqa: E731
        try:
            record = json.loads(line.decode())
        except UnicodeDecodeError:
            skipped.note(f"line is {NOT_UTF8}", where)
            continue
        except (ValueError, RecursionError):
            skipped.note("line is not JSON", where)
            continue
        text = record.get(form.field) if isinstance(record, dict) else None
        if not isinstance(text, str):
            if not found and (text is not None or not isinstance(record, dict) or form.field not in record):
                keys = f"keys {', '.join(map(repr, record))}" if isinstance(record, dict) else type(record).__name__
                raise UserError(f"{where()}: no text under {form.field!r}; found {keys}. --field names the right one")
            skipped.note(f"line has no text under {form.field!r}", where)
            continue
        found = True
        if not is_encodable(text):
            skipped.note(HALF_SURROGATE, where)
        elif text.strip():
            yield Document(text, span.shown, at)


def read_plain_lines(path: str) -> Iterator[str]:
    """The lines of a file, decompressed and whatever its format; what is not UTF-8 in them is left out."""
    with convert_errors(path, *READ_ERRORS), open_span(Span(path)) as raw:
        for line in find_compression(Span(path).name)[1](raw):
            yield line.decode(errors="ignore")


def describe_line(span: Span, at: int) -> str:
    """Which line of the file stands at an offset. Reads all before it, so this is for one message, not for many."""
    if is_piped(span.path):
        return f"standard input, byte {at:,}"
    number, left = 1, at
    with open_span(Span(span.path)) as raw:
        content = find_compression(span.name)[1](raw)
        while left and (chunk := content.read(min(left, 1 << 20))):
            number += chunk.count(b"\n")
            left -= len(chunk)
    return f"{span.shown}, line {number:,}"


READERS = {
    ".txt": read_text_documents,
    ".jsonl": read_json_documents,
    ".csv": tables.read_csv_documents,
    ".tsv": tables.read_tsv_documents,
    ".parquet": tables.read_parquet_documents,
    ".arrow": tables.read_arrow_documents,
}
SPLITTABLE = (".txt", ".jsonl")  # a document begins where a line does
COLUMNAR = (".parquet", ".arrow")  # compressed within
ENDINGS = tuple(
    ending + compression
    for ending in READERS
    for compression in ("", *(COMPRESSIONS if ending not in COLUMNAR else ()))
)
