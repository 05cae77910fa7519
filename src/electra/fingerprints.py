"""What a result came from, as hashes of contents: equal where nothing that was read differs, whatever it is called."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

CHUNK_BYTES = 1 << 22  # bytes read at once


def hash_values(values: Iterable[object]) -> str:
    """Of values in their order: what JSON takes, and dataclasses of it, which are told by their fields."""
    digest = hashlib.blake2b(digest_size=16)
    for value in values:
        digest.update(json.dumps(value, default=vars, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def hash_bytes(content: bytes) -> str:
    """Of some bytes."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def hash_files(files: Iterable[Path]) -> str:
    """Of files, in their order, each by its own name and its bytes.

    Raises:
        OSError: one of them cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path in files:
        with path.open("rb") as file:
            digest.update(json.dumps([path.name, hash_stretch(file)]).encode())
    return digest.hexdigest()


def hash_folder(folder: Path, patterns: Sequence[str]) -> str:
    """Of those files of a folder, not below it, that match one of the patterns. Raises ``OSError`` as
    ``hash_files``."""
    found = {path.name: path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return hash_files(path for _, path in sorted(found.items()))


def hash_stretch(file: BinaryIO, size: int | None = None) -> str:
    """Of the next ``size`` bytes of a file, or of all that are left."""
    digest = hashlib.blake2b(digest_size=16)
    while chunk := file.read(CHUNK_BYTES if size is None else min(CHUNK_BYTES, size)):
        digest.update(chunk)
        size = None if size is None else size - len(chunk)
    return digest.hexdigest()
