"""Paths with a scheme (s3://, gs://, hf://, https://), through fsspec."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from typing import Any

from electra import fingerprints
from electra.errors import UserError, in_a_line

VERSION = (
    "size", "etag", "lastmodified", "last_modified", "mtime", "created", "updated", "md5hash", "crc32c", "sha256",
    "oid", "generation", "versionid", "version_id",
)  # fmt: skip
AHEAD = 1 << 22  # bytes, less than a part: s3fs's own 50 MB would be fetched for every part


class Remote(io.RawIOBase):
    """A remote file that is read in ranges; whatever its client raises becomes a ``UserError``."""

    def __init__(self, path: str, file: Any) -> None:
        self.path, self.file = path, file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        with mended(self.path):
            content = self.file.read(len(into))
        into[: len(content)] = content
        return len(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with mended(self.path):
            self.file.seek(offset, whence)
        return self.file.tell()

    def tell(self) -> int:
        return self.file.tell()

    def close(self) -> None:
        if not self.closed:
            self.file.close()
        super().close()


def open_remote(path: str) -> BufferedReader:
    """The file, as one on the disk would be."""
    system, inside = system_of(path)
    with mended(path):
        file = system.open(inside, "rb", block_size=AHEAD)
    return BufferedReader(Remote(path, file), 1 << 18)


def listed(pattern: str) -> list[tuple[str, int]]:
    """(path, bytes) of the files that a remote file, folder or glob stands for."""
    system, inside = system_of(pattern)
    with mended(pattern):
        if any(sign in inside for sign in "*?[") and not system.exists(inside):
            found = system.glob(inside, detail=True)
        elif system.isdir(inside):
            found = system.find(inside, detail=True)
        else:
            found = {inside: system.info(inside)}
    return sorted((system.unstrip_protocol(name), info["size"] or 0) for name, info in found.items())


def version(path: str) -> str:
    """A hash of what the file's server says of its content: size, time, tag, whatever of these it says."""
    system, inside = system_of(path)
    with mended(path):
        said = system.info(inside)
    return fingerprints.of_values(f"{key} {said[key]}" for key in sorted(said) if key.lower() in VERSION)


def system_of(path: str) -> tuple[Any, str]:
    """fsspec's file system for a path, and the path within it."""
    import fsspec

    with mended(path):
        return fsspec.core.url_to_fs(path)


@contextmanager
def mended(path: str) -> Iterator[None]:
    """Raises ``UserError`` for what a file system's client says in its own words."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except Exception as error:  # each client raises its own: no key, no network, no package
        raise UserError(f"{path}: {type(error).__name__}: {in_a_line(error)}") from error
