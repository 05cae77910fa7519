"""Tokens on disk: shards that are read by memory map, and a manifest that is written last.

A shard is a header of 4,096 bytes (JSON: format, dtype, counts, tokenizer, checksum of the rest), the tokens (filled
up with zeros to a multiple of 8 bytes), the offset at which each unit starts (uint64, and the end), the unit with which
each document starts (uint64, and the end). A unit is a stretch of text at whose edges a segment may break: a line.
"""

import errno
import hashlib
import itertools
import json
import os
import weakref
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from jaxtyping import Int, Integer, UInt8, UInt64

from electra.errors import UserError, convert_errors
from electra.files import sync_to_disk
from electra.run_folder import read_json
from electra.strict_json import require_shape

DATA_FORMAT = 2
HEADER_BYTES = 4096
MANIFEST = "manifest.json"
SHARD_TOKENS = 1 << 28  # tokens after which a shard ends, at the next document
SHARD_UNITS = 1 << 24  # … and units
TOKENS_PER_BLOCK = 1 << 16  # tokens that are laid out into rows together
MOST_MAPPED = 256  # shards that are mapped into memory at once
MAPPED: "deque[weakref.ref[Shard]]" = deque()  # those shards, and what is left of shards that are gone
CHECKSUM_CHUNK = 1 << 22  # bytes read at once for a checksum

REMEDY = "prepare the data anew"

Split = Literal["train", "held-out"]
Manifest = dict[str, Any]  # JSON, as ``corpus.manifest.build_manifest`` makes it
MANIFEST_SHAPE: dict[str, Any] = {
    "tokenizer": str,
    "vocab_size": int,
    "special": dict[str, int],
    "sources": dict[str, dict[str, dict[str, int]]],
    "weights": dict[str, float],
    "splits": dict[Split, dict[str, int | list[dict[str, int | str]]]],
    "skipped": dict[str, dict[str, int | str]],
}


@dataclass(frozen=True)
class ShardHeader:
    """The beginning of a shard. ``tokenizer``: its fingerprint. ``checksum``: of all behind the header."""

    tokenizer: str
    dtype: str
    tokens: int = 0
    units: int = 0
    documents: int = 0
    checksum: str = ""
    format: int = DATA_FORMAT

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self.index + 8 * (self.units + self.documents + 2)

    @property
    def index(self) -> int:
        """The byte at which the offsets start."""
        return HEADER_BYTES + -(-self.tokens * np.dtype(self.dtype).itemsize // 8) * 8


@dataclass
class Units:
    """The tokens of a document, one after another, and where each of its units ends.

    ``content``: the bytes of an array of ``dtype``. ``ends``: how many tokens there are up to the end of each unit.
    """

    dtype: np.dtype
    content: bytearray = field(default_factory=bytearray)
    ends: "array[int]" = field(default_factory=lambda: array("Q"))

    def append(self, unit: bytes) -> None:
        """Add a unit, the bytes of an array of ``dtype``, which is not empty."""
        self.content += unit
        self.ends.append(len(self.content) // self.dtype.itemsize)

    def __len__(self) -> int:
        """The number of units."""
        return len(self.ends)

    @property
    def tokens(self) -> Integer[np.ndarray, " tokens"]:
        """The tokens of all units."""
        return np.frombuffer(self.content, self.dtype)


class ShardWriter:
    """Writes documents into shards of a folder, ``STEM-000.shard`` and on."""

    def __init__(self, folder: Path, stem: str, tokenizer: str, dtype: np.dtype):
        self.folder, self.stem, self.tokenizer, self.dtype = folder, stem, tokenizer, dtype
        self.written: list[tuple[str, ShardHeader]] = []
        self.file: BinaryIO | None = None

    def add_document(self, units: Units) -> None:
        """Append a document."""
        if self.file is None:
            self.file = (self.folder / self.name).open("wb")
            self.file.write(b" " * HEADER_BYTES)
            self.unit_starts, self.document_starts, self.tokens = array("Q", [0]), array("Q", [0]), 0
        self.file.write(units.content)
        self.unit_starts.frombytes((np.frombuffer(units.ends, np.uint64) + np.uint64(self.tokens)).data.cast("B"))
        self.tokens += len(units.content) // self.dtype.itemsize
        self.document_starts.append(len(self.unit_starts) - 1)
        if self.tokens >= SHARD_TOKENS or len(self.unit_starts) > SHARD_UNITS:
            self.finish()

    @property
    def name(self) -> str:
        """The file name of the shard that is being written."""
        return f"{self.stem}-{len(self.written):03d}.shard"

    def finish(self) -> list[dict[str, object]]:
        """Close the shard that is open; returns the manifest's entry of each shard: its file and its header."""
        if self.file is not None:
            counts = (self.tokens, len(self.unit_starts) - 1, len(self.document_starts) - 1)
            header = ShardHeader(self.tokenizer, self.dtype.name, *counts)
            self.file.write(bytes(header.index - HEADER_BYTES - self.tokens * self.dtype.itemsize))
            for starts in (self.unit_starts, self.document_starts):
                self.file.write(np.frombuffer(starts, np.uint64).astype("<u8", copy=False).data)
            self.file.close()
            path = self.folder / self.name
            header = replace(header, checksum=compute_checksum(path))
            with path.open("r+b") as file:
                file.write(json.dumps(asdict(header)).encode())
            sync_to_disk(path)
            sync_to_disk(self.folder)  # its name too, before a note says that the part is done
            self.written.append((self.name, header))
            self.file = None
        return [{"file": name} | asdict(header) for name, header in self.written]


def refuse_damaged_file(shard: "Shard") -> None:
    """Raise ``UserError`` if the checksum of a file is not the one in its header."""
    if compute_checksum(shard.path) != shard.header.checksum:
        raise UserError(f"{shard.path}: damaged: its checksum is another now; {REMEDY}")


def compute_checksum(path: Path) -> str:
    """The hash of a shard's bytes behind its header."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        file.seek(HEADER_BYTES)
        while chunk := file.read(CHECKSUM_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


class Shard:
    """A shard that is mapped into memory while it is read."""

    def __init__(self, path: Path, expected: Mapping[str, object]):
        """Open the file, whose header must equal ``expected``.

        Raises:
            UserError: it cannot be read, is another shard, or is not as long as its header says.
        """
        self.path = path
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                self.header = ShardHeader(**json.loads(file.read(HEADER_BYTES)))
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}") from error
        except (ValueError, TypeError, RecursionError) as error:
            raise UserError(f"{path}: damaged: its header cannot be read; prepare the data anew") from error
        if asdict(self.header) != expected:
            raise UserError(f"{path}: not the shard that {MANIFEST} speaks of; prepare the data anew")
        if size != self.header.size:
            raise UserError(f"{path}: damaged: {size:,} bytes of {self.header.size:,}; prepare the data anew")
        self.mapped: UInt8[np.ndarray, " bytes"] | None = None
        self.map_content()

    def map_content(self) -> UInt8[np.ndarray, " bytes"]:
        """The bytes of the file by memory map. Each map keeps a file open, of which a process may have about a
        thousand: the one that was made first makes room.

        Raises:
            UserError: the file cannot be read any more.
        """
        content = self.mapped
        if content is None:
            with convert_errors(str(self.path), OSError, ValueError):
                content = self.mapped = np.asarray(np.memmap(self.path, np.uint8, "r"))
            MAPPED.append(weakref.ref(self))
            if len(MAPPED) > MOST_MAPPED and (first := MAPPED.popleft()()):
                first.mapped = None
        return content

    @property
    def tokens(self) -> Integer[np.ndarray, " tokens"]:
        """All tokens."""
        end = HEADER_BYTES + self.header.tokens * np.dtype(self.header.dtype).itemsize
        return self.map_content()[HEADER_BYTES:end].view(self.header.dtype)

    @property
    def units(self) -> UInt64[np.ndarray, " edges"]:
        """Where each unit starts among the tokens, and the end."""
        return self.map_content()[self.header.index : self.header.index + 8 * (self.header.units + 1)].view("<u8")

    @property
    def documents(self) -> UInt64[np.ndarray, " edges"]:
        """The unit that each document starts with, and the end."""
        return self.map_content()[self.header.index + 8 * (self.header.units + 1) :].view("<u8")

    @property
    def blocks(self) -> int:
        """The number of blocks. A unit belongs to the block in which it starts."""
        return -(-self.header.tokens // TOKENS_PER_BLOCK)

    def block_edges(self, index: int) -> list[Int[np.ndarray, "_"]]:
        """For each document, or part of one, in the block: the offsets of its units' edges in ``tokens``."""
        # uint64 as the offsets are: for another type NumPy would copy all of them.
        block = np.array([index * TOKENS_PER_BLOCK, (index + 1) * TOKENS_PER_BLOCK], dtype="<u8")
        first, last = np.searchsorted(self.units[:-1], block)
        edges = np.array(self.units[first : last + 1], dtype=np.int64)
        inner = np.searchsorted(self.documents, np.array([first + 1, last], dtype="<u8"))
        cuts = np.array(self.documents[inner[0] : inner[1]], dtype=np.int64) - first
        bounds = [0, *cuts.tolist(), int(last - first)]
        return [edges[start : end + 1] for start, end in itertools.pairwise(bounds) if end > start]


class Shards:
    """One split of prepared data."""

    def __init__(self, folder: Path, split: Split, manifest: Manifest):
        self.folder, self.split, self.manifest = folder, split, manifest
        entries = manifest["splits"][split]["shards"]
        self.files = [
            Shard(folder / entry["file"], {key: entry[key] for key in entry if key not in ("file", "source")})
            for entry in entries
        ]
        self.sources: list[str] = [entry["source"] for entry in entries]  # of each file
        # Source → share of the tokens that training reads. Empty: every token is read once an epoch.
        self.weights: dict[str, float] = manifest["weights"] if split == "train" else {}
        self.special: dict[str, int] = manifest["special"]  # pad, unk, cls, sep, mask → id
        self.vocab_size: int = manifest["vocab_size"]
        self.tokenizer: str = manifest["tokenizer"]
        self.unverified: set[int] = set()  # files that are compared with their checksums when they are first read

    @classmethod
    def open(cls, folder: Path, split: Split) -> "Shards":
        """A split of a folder that ``prepare`` wrote.

        Raises:
            UserError: no prepared data; data of another version; a shard that is missing or cut short.
        """
        path = folder / MANIFEST
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; expected prepared data, and --data names where it lies")
        if not path.exists():
            raise UserError(
                f"{path}: {os.strerror(errno.ENOENT)}; `electra prepare` writes it last, and the same command goes on"
            )
        manifest = read_json(path, REMEDY)
        version = manifest.get("format")
        if version != DATA_FORMAT:
            raise UserError(f"{path}: data format {version}, this version reads {DATA_FORMAT}; prepare the data anew")
        for key, shape in MANIFEST_SHAPE.items():
            require_shape(manifest.get(key), shape, f"{path}: damaged; {REMEDY}: {key}")
        with convert_errors(f"{path}: damaged; {REMEDY}", KeyError, TypeError):
            return cls(folder, split, manifest)

    @property
    def mask_id(self) -> int:
        """The id of [MASK]."""
        return self.special["mask"]

    @property
    def tokens(self) -> int:
        """The number of tokens."""
        return sum(shard.header.tokens for shard in self.files)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the shards' checksums, the tokenizer and the weights: equal for equal data."""
        origins = [self.tokenizer, json.dumps(self.weights), *(shard.header.checksum for shard in self.files)]
        return hashlib.blake2b(" ".join(origins).encode(), digest_size=16).hexdigest()

    @cached_property
    def first_blocks(self) -> Int[np.ndarray, " files"]:
        """The number of each file's first block: how many blocks the files before it have."""
        counts = [shard.blocks for shard in self.files]
        return np.cumsum([0, *counts])[:-1]

    @property
    def blocks(self) -> int:
        """The number of blocks in all files."""
        return sum(shard.blocks for shard in self.files)

    def locate_block(self, block: int) -> tuple[int, int]:
        """The file that a block belongs to, and the block's number in that file."""
        file = int(np.searchsorted(self.first_blocks, block, "right")) - 1
        return file, block - int(self.first_blocks[file])

    def verify_later(self, first: int = 0, every: int = 1) -> None:
        """Compare each file with its checksum when it is first read, not now: those numbered ``first``, ``first +
        every`` … if other processes compare the others."""
        self.unverified = set(range(first, len(self.files), every))

    def read_file(self, number: int) -> Shard:
        """A file, as it was written. Raises ``UserError`` if its checksum is another now."""
        if number in self.unverified:
            refuse_damaged_file(self.files[number])
            self.unverified.discard(number)
        return self.files[number]

    def find_damaged_files(self, report_progress: Callable[[int], object] | None = None) -> Iterator[Path]:
        """The files whose checksum is not the one in their header. Reads everything; after each file
        ``report_progress`` gets the bytes read so far."""
        done = 0
        for shard in self.files:
            if compute_checksum(shard.path) != shard.header.checksum:
                yield shard.path
            done += shard.header.size
            if report_progress:
                report_progress(done)
