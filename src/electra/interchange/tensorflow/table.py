"""Sorted tables: the format of a checkpoint's ``.index``, which TensorFlow has from LevelDB.

A table is a row of blocks with a footer. A block is a list of entries, keys ascending, each written as what it adds to
the key before it; then the places at which a whole key stands, which only a search needs; then one byte for its
compression and a checksum. The footer says where the block is that says where all others are.

What a file says of itself is believed only within its length, and only where the checksum is right.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from electra.errors import UserError, convert_errors
from electra.interchange.tensorflow.crc32c import compute_crc32c, mask_checksum

FOOTER_BYTES, TRAILER_BYTES = 48, 5
MAGIC = 0xDB4775248B80FB57
STORED, SNAPPY = 0, 1  # kinds of compression
MOST_EXPANSION = 32  # Snappy makes 64 bytes of 3 at most
LONGEST_KEY = 4096  # bytes; keys are names of variables
VARINT_BYTES = 10


class Handle(NamedTuple):
    """Where a block is: its first byte, and its size without the trailer."""

    offset: int
    size: int


def read_table(path: Path) -> dict[bytes, bytes]:
    """The values of a table by their keys, in their order.

    Raises:
        UserError: the file cannot be read, is no such table, or is damaged.
    """
    with convert_errors(str(path), OSError), path.open("rb") as file:
        end = os.fstat(file.fileno()).st_size - FOOTER_BYTES
        footer = b""
        if end >= 0:
            file.seek(end)
            footer = file.read(FOOTER_BYTES)
        if int.from_bytes(footer[-8:], "little") != MAGIC:
            raise UserError(f"{path}: not the index of a TensorFlow checkpoint, or cut off: its last bytes are others")
        with convert_errors(f"{path}: damaged", ValueError):
            _, at = parse_handle(footer, 0)
            index, _ = parse_handle(footer, at)
            return read_entries(file, end, index)


def read_entries(file: BinaryIO, end: int, index: Handle) -> dict[bytes, bytes]:
    """The entries of all blocks that the block at ``index`` names; blocks end before ``end``. Raises ``ValueError``."""
    entries: dict[bytes, bytes] = {}
    last = None
    for _, place in iterate_block(read_block(file, end, index)):
        handle, _ = parse_handle(place, 0)
        for key, value in iterate_block(read_block(file, end, handle)):
            if last is not None and key <= last:
                raise ValueError(f"the key {key!r} follows {last!r}")
            entries[key] = value
            last = key
    return entries


def read_block(file: BinaryIO, end: int, handle: Handle) -> bytes:
    """A block's entries. Raises ``ValueError`` if it is not within the file, or not as it was written."""
    if handle.offset + handle.size + TRAILER_BYTES > end:
        raise ValueError(f"a block of {handle.size:,} bytes at {handle.offset:,} is not within the file")
    file.seek(handle.offset)
    raw = file.read(handle.size + TRAILER_BYTES)
    content, kind, checksum = raw[: handle.size], raw[handle.size], int.from_bytes(raw[handle.size + 1 :], "little")
    if mask_checksum(compute_crc32c(raw[: handle.size + 1])) != checksum:
        raise ValueError(f"the checksum of the block at byte {handle.offset:,} is another")
    if kind not in (STORED, SNAPPY):
        raise ValueError(f"the block at byte {handle.offset:,} is compressed in a way {kind} that is not known")
    return content if kind == STORED else decompress_snappy(content)


def decompress_snappy(content: bytes) -> bytes:
    """What Snappy made ``content`` of, which begins with its size. Raises ``ValueError`` if it cannot be that."""
    import pyarrow as pa

    size, _ = parse_varint(content, 0)
    if size > MOST_EXPANSION * len(content):
        raise ValueError(f"{len(content):,} bytes cannot be {size:,} compressed ones")
    try:
        return bytes(pa.Codec("snappy").decompress(content, decompressed_size=size, asbytes=True))
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"a compressed block: {error}") from error


def iterate_block(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of a block. Raises ``ValueError`` if it does not hold what it says."""
    whole_keys = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (whole_keys + 1)
    if len(block) < 4 or end < 0:
        raise ValueError("a block is shorter than it says")
    at, key = 0, b""
    while at < end:
        shared, at = parse_varint(block, at)
        added, at = parse_varint(block, at)
        size, at = parse_varint(block, at)
        if shared > len(key) or shared + added > LONGEST_KEY or at + added + size > end:
            raise ValueError("an entry is longer than its block, or its key than a name")
        key = key[:shared] + block[at : at + added]
        yield key, block[at + added : at + added + size]
        at += added + size


def parse_handle(data: bytes, at: int) -> tuple[Handle, int]:
    """The handle that begins at ``at``, and where it ends. Raises ``ValueError`` as ``parse_varint``."""
    offset, at = parse_varint(data, at)
    size, at = parse_varint(data, at)
    return Handle(offset, size), at


def parse_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that begins at ``at``, seven bits in a byte, the lowest first; and where it ends.

    Raises:
        ValueError: the data end within it, or it has more than 64 bits.
    """
    number = 0
    for index, octet in enumerate(data[at : at + VARINT_BYTES]):
        number |= (octet & 0x7F) << 7 * index
        if octet < 0x80:
            if number >= 1 << 64:
                break
            return number, at + index + 1
    raise ValueError("a number has no end")
