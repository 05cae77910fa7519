"""Hashes of what a result came from: equal if all contents are equal, whatever files and folders are called."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

CHUNK_BYTES = 1 << 22  # read at once


def hash_values(values: Iterable[object]) -> str:
    """A hash of values in their order: values that JSON takes, and dataclasses of such values, by their fields."""
    digest = hashlib.blake2b(digest_size=16)
    for value in values:
        digest.update(json.dumps(value, default=vars, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def hash_bytes(content: bytes) -> str:
    """A hash of some bytes."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def hash_file(path: Path) -> str:
    """A hash of a file's bytes, whatever it is called. Raises ``OSError`` if it cannot be read."""
    with path.open("rb") as file:
        return hash_stretch(file)


def hash_files(files: Iterable[Path]) -> str:
    """A hash of files in their order: of the name, without its folder, and the bytes of each.

    Raises:
        OSError: one of them cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path in files:
        digest.update(json.dumps([path.name, hash_file(path)]).encode())
    return digest.hexdigest()


def hash_folder(folder: Path, patterns: Sequence[str]) -> str:
    """A hash of the files in a folder, not below it, that match a glob pattern.

    Raises:
        OSError: as ``hash_files``.
    """
    files = {path.name: path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return hash_files(path for _, path in sorted(files.items()))


def hash_stretch(file: BinaryIO, size: int | None = None) -> str:
    """A hash of the next ``size`` bytes of an open file, or of all that are left."""
    digest = hashlib.blake2b(digest_size=16)
    while chunk := file.read(CHUNK_BYTES if size is None else min(CHUNK_BYTES, size)):
        digest.update(chunk)
        size = None if size is None else size - len(chunk)
    return digest.hexdigest()
