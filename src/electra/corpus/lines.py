"""Lines of a file → Documents: plain text and JSON lines; also where a large file can be cut between documents."""

import codecs
import json
from collections.abc import Iterator
from io import BufferedReader

from electra.corpus.documents import (
    HALF_SURROGATE,
    NOT_UTF8,
    Boundary,
    Document,
    Skipped,
    Span,
    TextFormat,
    is_encodable,
)
from electra.corpus.opening import READ_ERRORS, find_compression, is_piped, open_span
from electra.errors import UserError, convert_errors

LONGEST_DOCUMENT = 1 << 26  # bytes of a document that are held at once; a longer text goes on as another document
MOST_LINES = 1 << 20  # … as does one of more lines


def read_text_documents(
    span: Span, file: BufferedReader, text_format: TextFormat, skipped: Skipped
) -> Iterator[Document]:
    """The documents of a text file."""
    for offset, content in group_lines(read_span_lines(file, span), text_format.documents):
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            skipped.note(f"document is {NOT_UTF8}", lambda bad=offset + error.start: describe_line(span, bad))  # type: ignore[misc]
            continue
        if text.strip():
            yield Document(text, span.shown, offset)


def read_json_documents(
    span: Span, file: BufferedReader, text_format: TextFormat, skipped: Skipped
) -> Iterator[Document]:
    """The documents of a file with a JSON object in each line.

    Raises:
        UserError: no text under the field, if the file has had none before.
    """
    field = text_format.field
    field_is_right = span.start > 0  # whoever reads the beginning of the file finds out
    for offset, line in read_span_lines(file, span):
        if not line.strip():
            continue
        where = lambda offset=offset: describe_line(span, offset)  # noqa: E731
        try:
            record = json.loads(line.decode())
        except UnicodeDecodeError:
            skipped.note(f"line is {NOT_UTF8}", where)
            continue
        except (ValueError, RecursionError):
            skipped.note("line is not JSON", where)
            continue
        text = record.get(field) if isinstance(record, dict) else None
        if not isinstance(text, str):
            if not field_is_right and (text is not None or not isinstance(record, dict) or field not in record):
                keys = f"keys {', '.join(map(repr, record))}" if isinstance(record, dict) else type(record).__name__
                raise UserError(f"{where()}: no text under {field!r}; found {keys}. --field names the right one")
            skipped.note(f"line has no text under {field!r}", where)
            continue
        field_is_right = True
        if not is_encodable(text):
            skipped.note(HALF_SURROGATE, where)
        elif text.strip():
            yield Document(text, span.shown, offset)


def read_plain_lines(path: str) -> Iterator[str]:
    """The lines of a file of any format, decompressed; bytes that are not UTF-8 are left out."""
    span = Span(path)
    with convert_errors(path, *READ_ERRORS), open_span(span) as raw:
        for line in find_compression(span.name)[1](raw):
            yield line.decode(errors="ignore")


def group_lines(lines: Iterator[tuple[int, bytes]], documents: Boundary) -> Iterator[tuple[int, bytes]]:
    """(offset, bytes) of each document, from (offset, bytes) of each line."""
    held, count, start = bytearray(), 0, 0  # a list of millions of short lines takes many times their bytes
    for offset, line in lines:
        ends = documents == "line" or (documents == "blank-line" and not line.strip())
        if held and (ends or len(held) + len(line) > LONGEST_DOCUMENT or count >= MOST_LINES):
            yield start, bytes(held)
            held, count = bytearray(), 0
        if not held:
            if not line.strip():
                continue
            start = offset
        held += line
        count += 1
    if held:
        yield start, bytes(held)


def read_span_lines(file: BufferedReader, span: Span) -> Iterator[tuple[int, bytes]]:
    """(offset, bytes) of each line of a span. A line longer than ``LONGEST_DOCUMENT`` comes in parts, cut at a space
    or, if it has none, between characters.

    A byte order mark belongs to no line. A span of a compressed file or of standard input has no end but theirs.
    """
    offset, rest = span.start, b""
    stop = span.stop if find_compression(span.name)[0] == span.name else 0
    while (not stop or offset < stop) and (part := file.readline(LONGEST_DOCUMENT - len(rest))):
        line, rest = rest + part, b""
        if not line.endswith(b"\n") and len(line) >= LONGEST_DOCUMENT:
            cut = line.rfind(b" ") + 1 or find_last_character(line)
            line, rest = line[:cut], line[cut:]
        if offset == 0 and line.startswith(codecs.BOM_UTF8):
            offset, line = len(codecs.BOM_UTF8), line.removeprefix(codecs.BOM_UTF8)
        yield offset, line
        offset += len(line)
    if rest:
        yield offset, rest


def find_last_character(line: bytes) -> int:
    """Where the last character of UTF-8 begins, which may be cut off; the end if it is one byte, and so is whole."""
    start = next((i for i in range(len(line) - 1, len(line) - 5, -1) if line[i] & 0xC0 != 0x80), len(line))
    return start if line[start : start + 1] >= b"\xc0" else len(line)


def find_next_document(file: BufferedReader, offset: int, lines: bool) -> int:
    """The first byte from ``offset`` on at which a document may begin: a line's if ``lines``, else the one after a
    blank line. The end of the file if there is none."""
    file.seek(offset - 1)
    reached = False
    is_whole = False  # the line before ``offset`` may have begun anywhere
    while not reached and (line := file.readline(LONGEST_DOCUMENT)):
        ends = line.endswith(b"\n")
        reached = ends and (lines or (is_whole and not line.strip()))
        is_whole = ends
    return file.tell()


def describe_line(span: Span, offset: int) -> str:
    """The file and the number of the line at an offset. Reads all before it: for one message, not for many."""
    if is_piped(span.path):
        return f"standard input, byte {offset:,}"
    number, left = 1, offset
    with open_span(Span(span.path)) as raw:
        content = find_compression(span.name)[1](raw)
        while left and (chunk := content.read(min(left, 1 << 20))):
            number += chunk.count(b"\n")
            left -= len(chunk)
    return f"{span.shown}, line {number:,}"
