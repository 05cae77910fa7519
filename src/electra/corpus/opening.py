"""A Span → a binary stream of its content: from the disk, a remote file or standard input, decompressed."""

import bz2
import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Callable
from io import BufferedReader
from multiprocessing import parent_process
from pathlib import Path

from electra.corpus.documents import Span
from electra.errors import UserError

BUFFER_BYTES = 1 << 18  # that a decompressor is asked for at once
STANDARD_INPUT = "-"
READ_ERRORS = (OSError, EOFError, zlib.error, lzma.LZMAError)  # of files and decompressors


def open_span(span: Span) -> BufferedReader:
    """The file of a span as it is stored, at the span's start.

    Raises:
        UserError: standard input in a worker process or for the second time; a file that became too short.
        OSError: the file cannot be opened.
    """
    if is_piped(span.path):
        if sys.stdin is None or sys.stdin.closed:
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


def is_piped(path: str) -> bool:
    """Whether a name stands for standard input, which can be read only once and only in the main process."""
    return path.split(".")[0] == STANDARD_INPUT


def find_compression(path: str) -> tuple[str, Callable[[BufferedReader], BufferedReader]]:
    """The name without the ending of a compression, and the function that decompresses. Standard input is ``-.txt``."""
    name = path + ".txt" if path == STANDARD_INPUT else path
    for ending, decompress in COMPRESSIONS.items():
        if name.endswith(ending):
            return name.removesuffix(ending), decompress
    return name, lambda raw: raw


def decompress_gzip(raw: BufferedReader) -> BufferedReader:
    """Several members as one stream; one that is cut off raises when it is read."""
    refuse_no_bytes(raw)
    return BufferedReader(gzip.GzipFile(fileobj=raw), BUFFER_BYTES)


def decompress_zstandard(raw: BufferedReader) -> BufferedReader:
    """Several frames as one stream; a frame that is cut off raises (some libraries end silently in both cases)."""
    import pyarrow

    refuse_no_bytes(raw)
    return BufferedReader(pyarrow.CompressedInputStream(pyarrow.PythonFile(raw, mode="r"), "zstd"), BUFFER_BYTES)


def refuse_no_bytes(raw: BufferedReader) -> None:
    """Raise ``EOFError`` for a compressed file of 0 bytes, which libraries take for an empty text."""
    if not raw.peek(1):
        raise EOFError("0 bytes, where even an empty text has some when it is compressed; was it fetched whole?")


COMPRESSIONS: dict[str, Callable[[BufferedReader], BufferedReader]] = {
    ".gz": decompress_gzip,
    ".bz2": lambda raw: BufferedReader(bz2.BZ2File(raw), BUFFER_BYTES),
    ".xz": lambda raw: BufferedReader(lzma.LZMAFile(raw), BUFFER_BYTES),  # noqa: SIM115
    ".zst": decompress_zstandard,
}
