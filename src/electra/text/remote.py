"""Paths with a scheme (s3://, gs://, hf://, https://), through fsspec."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from electra.errors import UserError


def open_remote(path: str) -> BinaryIO:
    """The file, to be read in ranges."""
    system, inside = system_of(path)
    with mended(path):
        return system.open(inside, "rb")


def listed(pattern: str) -> list[tuple[str, int]]:
    """(path, bytes) of the files that a remote file, folder or glob stands for."""
    system, inside = system_of(pattern)
    with mended(pattern):
        if any(sign in inside for sign in "*?["):
            found = system.glob(inside, detail=True)
        elif system.isdir(inside):
            found = system.find(inside, detail=True)
        else:
            found = {inside: system.info(inside)}
    return sorted((system.unstrip_protocol(name), info["size"] or 0) for name, info in found.items())


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
        raise UserError(f"{path}: {type(error).__name__}: {' '.join(str(error).split())[:300]}") from error
