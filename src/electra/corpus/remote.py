"""Paths with a scheme (s3://, gs://, hf://, https://), through fsspec."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from typing import Any

from electra import fingerprints
from electra.errors import UserError, summarize_error

VERSION_KEYS = (
    "size", "etag", "lastmodified", "last_modified", "mtime", "created", "updated", "md5hash", "crc32c", "sha256",
    "oid", "generation", "versionid", "version_id",
)  # fmt: skip
READ_AHEAD = 1 << 22  # bytes, less than a part: s3fs's own 50 MB would be fetched for every part


class RemoteFile(io.RawIOBase):
    """A remote file that is read in ranges. Whatever its client raises becomes a ``UserError``."""

    def __init__(self, path: str, file: Any) -> None:
        self.path, self.file = path, file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        with convert_client_errors(self.path):
            content = self.file.read(len(into))
        into[: len(content)] = content
        return len(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with convert_client_errors(self.path):
            self.file.seek(offset, whence)
        return self.file.tell()

    def tell(self) -> int:
        return self.file.tell()

    def close(self) -> None:
        if not self.closed:
            self.file.close()
        super().close()


def open_remote_file(path: str) -> BufferedReader:
    """A remote file as a buffered stream that can seek, as one on the disk."""
    system, inside = find_file_system(path)
    with convert_client_errors(path):
        file = system.open(inside, "rb", block_size=READ_AHEAD)
    return BufferedReader(RemoteFile(path, file), 1 << 18)


def list_remote_files(pattern: str) -> list[tuple[str, int]]:
    """(path, bytes) of the files that a remote file, folder or glob stands for, sorted; 0 bytes if not known."""
    system, inside = find_file_system(pattern)
    with convert_client_errors(pattern):
        if any(sign in inside for sign in "*?[") and not system.exists(inside):
            entries = system.glob(inside, detail=True)
        elif system.isdir(inside):
            entries = system.find(inside, detail=True)
        else:
            entries = {inside: system.info(inside)}
    return sorted((system.unstrip_protocol(name), info["size"] or 0) for name, info in entries.items())


def fingerprint_remote_file(path: str) -> str:
    """A hash of what identifies the file's content to its server: those of ``VERSION_KEYS`` that the server gives."""
    system, inside = find_file_system(path)
    with convert_client_errors(path):
        entry = system.info(inside)
    return fingerprints.hash_values(f"{key} {entry[key]}" for key in sorted(entry) if key.lower() in VERSION_KEYS)


def find_file_system(path: str) -> tuple[Any, str]:
    """fsspec's file system for a path, and the path within it."""
    import fsspec

    with convert_client_errors(path):
        return fsspec.core.url_to_fs(path)


@contextmanager
def convert_client_errors(path: str) -> Iterator[None]:
    """Raise ``UserError`` for whatever the client of a file system raises."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except Exception as error:  # each client raises its own: no key, no network, no package
        raise UserError(f"{path}: {type(error).__name__}: {summarize_error(error)}") from error
