"""Files of a text a line, read in blocks, and files of a JSON object a line, written whole or not at all."""

import codecs
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple, TextIO

from electra.corpus.documents import NOT_UTF8, Span
from electra.corpus.opening import READ_ERRORS, find_compression, is_piped, open_span
from electra.errors import UserError, convert_errors
from electra.files import write_whole

HELD_BYTES = 1 << 19  # a block ends with the line that comes to these: their tokens take some hundred times as much
LONGEST_LINE = 1 << 20  # bytes


class Block(NamedTuple):
    """Lines that are held together. ``first``: the number of the first, from 1. ``end``: how many bytes of the file as
    it is stored were read until then."""

    first: int
    texts: list[str]
    end: int


@contextmanager
def open_lines(path: str) -> Iterator["LineFile"]:
    """A file of lines, closed at the end: from the disk, a remote one or - for standard input, also compressed.

    Raises:
        UserError: it cannot be opened.
    """
    span = Span(path)
    with convert_errors(span.shown, *READ_ERRORS):
        raw = open_span(span)
    with raw:
        yield LineFile(span, raw)


class LineFile:
    """An open file of lines. ``size``: its bytes as it is stored; 0 if they are not known."""

    def __init__(self, span: Span, raw: BufferedReader):
        self.span, self.raw = span, raw
        self.shown = "standard input" if is_piped(span.path) else span.shown
        self.size = os.path.getsize(span.path) if os.path.isfile(span.path) and not is_piped(span.path) else 0

    def read_blocks(self, most_lines: int) -> Iterator[Block]:
        """The lines in order, without their ends.

        Raises:
            UserError: a file that cannot be read on, or a line that is not UTF-8 or has more than ``LONGEST_LINE``
                bytes: which one.
        """
        content = find_compression(self.span.name)[1](self.raw)
        texts, held, number, read = list[str](), 0, 0, 0
        while line := self.read_line(content):
            number, read = number + 1, read + len(line)
            texts.append(self.decode_line(line, number))
            held += len(line)
            if len(texts) >= most_lines or held >= HELD_BYTES:
                yield Block(number + 1 - len(texts), texts, self.raw.tell() if self.size else read)
                texts, held = [], 0
        if texts:
            yield Block(number + 1 - len(texts), texts, self.size or read)

    def read_line(self, content: BufferedReader) -> bytes:
        """The next line, or a part of one that is too long; empty at the end of the file."""
        with convert_errors(self.shown, *READ_ERRORS):
            return content.readline(LONGEST_LINE + 1)

    def decode_line(self, line: bytes, number: int) -> str:
        """The text of a line; the mark that some files begin with belongs to none."""
        if len(line) > LONGEST_LINE:
            raise UserError(
                f"{self.shown}, line {number:,}: more than {LONGEST_LINE:,} bytes; a sentence or a paragraph a line"
            )
        try:
            text = line.removeprefix(codecs.BOM_UTF8 if number == 1 else b"").decode()
        except UnicodeDecodeError as error:
            raise UserError(
                f"{self.shown}, line {number:,}: {NOT_UTF8} at byte {error.start + 1}; iconv -t UTF-8 converts a file"
            ) from error
        return text.removesuffix("\n").removesuffix("\r")


@contextmanager
def open_results(out: str) -> Iterator[TextIO]:
    """A stream for lines: standard output, or the file ``out``, which is there once the body has ended well.

    Raises:
        UserError: ``out`` is there already, or cannot be written.
    """
    if not out:
        yield sys.stdout
        return
    refuse_existing_file(out)
    with convert_errors(out, OSError), write_whole(Path(out)) as partial:
        with partial.open("w", encoding="utf-8") as stream:
            yield stream
        refuse_existing_file(out)  # it may have come meanwhile


def refuse_existing_file(out: str) -> None:
    """Raise ``UserError`` if something is there: a file of lines has no sign by which it is known to be ours."""
    if os.path.lexists(out):
        raise UserError(f"{out}: is there already; choose another --out, or remove it")
