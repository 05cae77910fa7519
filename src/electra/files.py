"""Write files and folders whole or not at all, and remove or replace only what this program wrote.

A folder of ours has ``electra.json`` in it: our name and format number, what the folder holds, and which files were
written with it. Only this file makes a folder ours, never the folder's name.
"""

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from glob import escape
from io import FileIO
from pathlib import Path
from typing import Any, TextIO
from uuid import uuid4

from electra.errors import UserError

MARKER, PROGRAM, MARKER_FORMAT = "electra.json", "electra", 1
LOCK = ".electra.lock"  # while a process works in a folder: who, and since when
TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{32}\.partial", re.DOTALL)
SIGN_WITHIN = 4096  # bytes of a file in which our mark stands


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Give a name to write under; the file becomes ``path`` once it is on the disk, and is removed on a failure.

    The file of that name is there, empty, and must be written in place: while it is, a lock tells it from a leftover.
    """
    partial, held = make_partial_file(path)
    try:
        with held:
            yield partial
            sync_to_disk(partial)
            partial.replace(path)
        sync_to_disk(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def make_partial_file(path: Path) -> tuple[Path, TextIO]:
    """Make a file with a temporary name, open and locked, for as long as a process writes it."""
    while True:
        partial = temporary_path(path)
        held = partial.open("x", encoding="utf-8")
        with suppress(OSError):  # a disk without locks
            fcntl.flock(held, fcntl.LOCK_EX)
        if is_still_there(held, partial):
            return partial, held
        held.close()


@contextmanager
def write_whole_folder(folder: Path, kind: str) -> Iterator[Path]:
    """Give a folder to write into; it becomes ``folder`` when it is on the disk, and is removed if anything fails.

    An earlier ``folder`` is replaced if it is ours and of the same kind. What a killed process left of it is removed.

    Raises:
        UserError: something else is there, or files in it that were not written with it.
        OSError: the disk does not take it.
    """
    folder = Path(os.path.realpath(folder))  # a link stays, and the folder that it leads to is written
    refuse_foreign_folder(folder, kind)
    remove_partial_folders(folder.parent, escape(folder.name))
    make_folder(folder.parent)
    partial, marker = make_partial_folder(folder)
    try:
        with marker:
            marker.write(format_marker(kind))
            marker.flush()
            yield partial
            written = sorted(list_files(partial) - {MARKER})
            marker.seek(0)
            marker.write(format_marker(kind, written))
            marker.flush()
            for path in (*partial.rglob("*"), partial):
                sync_to_disk(path)
            move_into_place(partial, folder, kind)
    finally:
        remove_partial_folder(partial)


def make_partial_folder(folder: Path) -> tuple[Path, TextIO]:
    """Make a folder with a temporary name, and in it our file, open, empty and locked. The lock ends with the process:
    a folder whose file nobody holds is a leftover, and may be taken for one before the lock is held."""
    while True:
        partial = temporary_path(folder)
        partial.mkdir()
        with suppress(FileNotFoundError):
            marker = (partial / MARKER).open("x", encoding="utf-8")
            with suppress(OSError):  # a disk without locks
                fcntl.flock(marker, fcntl.LOCK_EX)
            if is_still_there(marker, partial / MARKER):
                return partial, marker
            marker.close()


def is_still_there(file: TextIO | FileIO, path: Path) -> bool:
    """Whether an open file is the one that has this path now."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False


def remove_partial_folder(partial: Path) -> None:
    """Remove a folder with a temporary name, if it is there: its name cannot be guessed, so all in it is ours.

    Our file goes last: by it the next try knows what a kill leaves of this.
    """
    with suppress(OSError):
        remove_files(partial, list_files(partial))
    shutil.rmtree(partial, ignore_errors=True)


def move_into_place(new: Path, folder: Path, kind: str) -> None:
    """Rename ``new`` to ``folder``; an empty folder, or one of ours, that has this name is replaced."""
    refuse_foreign_folder(folder, kind)  # while the new one was written, someone may have put something there
    old = None
    if not is_vacant(folder):
        old = temporary_path(folder)
        folder.rename(old)
    new.rename(folder)
    sync_to_disk(folder.parent)
    if old:
        remove_folder(old, kind)


def claim_folder(folder: Path, kind: str) -> None:
    """Make a folder ours, before anything is written into it, if it is absent or empty.

    Raises:
        UserError: something else is there.
        OSError: the disk does not take it.
    """
    refuse_taken_folder(folder, kind)
    if read_kind(folder) != kind:
        mark_folder(folder, kind)


def refuse_taken_folder(folder: Path, kind: str) -> None:
    """Raises ``UserError`` unless the folder is vacant, or ours and of that kind."""
    if not is_vacant(folder) and read_kind(folder) != kind:  # in this order: another process may be claiming it now
        raise foreign_folder_error(folder, kind)


def mark_folder(folder: Path, kind: str) -> None:
    """Make the folder if it is missing, and write into it that it is ours."""
    make_folder(folder)
    with write_whole(folder / MARKER) as file:
        file.write_text(format_marker(kind), encoding="utf-8")


@contextmanager
def claim_or_restore(folder: Path, kind: str) -> Iterator[None]:
    """``claim_folder``, undone if the body fails before it has written anything but empty folders."""
    existed, was_ours = folder.exists(), read_kind(folder) == kind
    claim_folder(folder, kind)
    try:
        yield
    except BaseException:
        if not was_ours and list_files(folder) - {LOCK} == {MARKER}:
            for path in sorted(folder.rglob("*"), reverse=True):
                remove_if_empty(path)
            remove_files(folder, [MARKER], keep_folder=existed)
        raise


def read_kind(folder: Path) -> str | None:
    """What a folder of ours holds; None if it is not ours.

    Raises:
        UserError: it is ours, of another format.
    """
    marker = read_marker(folder)
    if marker and marker.get("format") != MARKER_FORMAT:
        raise UserError(
            f"{folder / MARKER}: format {marker.get('format')}, this version writes {MARKER_FORMAT}; "
            "choose another folder"
        )
    return str(marker.get("holds")) if marker else None


def read_marker(folder: Path) -> dict[str, Any]:
    """The content of ``electra.json`` in a folder; empty if there is none, or it is another program's."""
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return marker if isinstance(marker, dict) and marker.get("program") == PROGRAM else {}


def read_written(folder: Path) -> list[str]:
    """The files that were written with a folder of ours. Raises ``UserError`` if ``electra.json`` does not say it."""
    written = read_marker(folder).get("files")
    if not isinstance(written, list) or not all(map(is_inside, written)):
        raise UserError(f"{folder / MARKER}: damaged: 'files' does not name files of this folder; choose another one")
    return written


def is_inside(name: object) -> bool:
    """Whether this is the path of a file, relative to a folder and within it."""
    return isinstance(name, str) and not Path(name).is_absolute() and ".." not in Path(name).parts


def format_marker(kind: str, written: Iterable[str] = ()) -> str:
    """The text of ``electra.json``."""
    return json.dumps({"program": PROGRAM, "format": MARKER_FORMAT, "holds": kind, "files": list(written)}, indent=1)


def is_vacant(folder: Path) -> bool:
    """Whether a folder may be taken: it is missing, or empty but for what a killed process left."""
    if not os.path.lexists(folder):
        return True
    return folder.is_dir() and all(is_leftover(path) for path in folder.iterdir())


def refuse_foreign_folder(folder: Path, kind: str) -> None:
    """Raises ``UserError`` unless the folder is vacant, or of that kind with nothing in it but the files we wrote."""
    refuse_taken_folder(folder, kind)
    if is_vacant(folder):
        return
    if added := sorted(list_files(folder) - {MARKER, *read_written(folder)}):
        raise UserError(f"{folder}: holds {added[0]} too, which was not written with it; move it to another place")


def foreign_folder_error(folder: Path, kind: str) -> UserError:
    """The error for a folder that is not ours."""
    content = "a file"
    if folder.is_dir():
        content = f"holds {min(path.name for path in folder.iterdir() if not is_leftover(path))}"
    return UserError(f"{folder}: is there already, and no {kind} of this program ({content}); choose another --out")


def refuse_foreign_file(path: Path, sign: bytes) -> None:
    """Raises ``UserError`` for an existing file without our ``sign`` in its first bytes."""
    if not os.path.lexists(path):
        return
    if path.is_file():
        with path.open("rb") as file:
            if sign in file.read(SIGN_WITHIN):
                return
    raise UserError(f"{path}: is there already, and not written by this command; choose another name")


def remove_files(folder: Path, names: Iterable[str], keep_folder: bool = False) -> None:
    """Remove files of ours in a folder, and the folders below it that are empty then; itself too, unless it is kept.

    Our own file is the last, so that what a kill leaves is still known to be ours.
    """
    names = sorted(names, key=lambda name: (name == MARKER, name))
    for name in names:
        (folder / name).unlink(missing_ok=True)
    parents = {parent for name in names for parent in Path(name).parents} - ({Path()} if keep_folder else set())
    for parent in sorted(parents, key=lambda path: len(path.parts), reverse=True):
        remove_if_empty(folder / parent)


def remove_if_empty(folder: Path) -> None:
    """Remove a folder unless it holds something, or is a link."""
    with suppress(OSError):
        folder.rmdir()


def remove_folder(folder: Path, kind: str) -> None:
    """Remove the files that were written with a folder of ours, and the folder if it holds nothing else."""
    if not folder.is_symlink() and read_kind(folder) == kind:
        remove_files(folder, (*read_written(folder), MARKER))


def remove_partial_folders(parent: Path, name: str) -> None:
    """Remove half-written folders that a killed process left. ``name``: what they were to be called, a glob pattern."""
    for partial in list_leftovers(parent, name):
        remove_if_empty(partial)
        if read_marker(partial) or list_files(partial) == {MARKER}:
            with suppress(OSError), (partial / MARKER).open("r+") as marker:
                fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails where another process writes it now
                remove_partial_folder(partial)


def remove_partial_files(folder: Path) -> None:
    """Remove half-written files that a killed process left in a folder where nobody but this program writes. What
    another process writes now stays."""
    for partial in list_leftovers(folder, "*"):
        if partial.is_file():
            with suppress(OSError), partial.open("r+") as held:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails where it is being written
                partial.unlink()


def list_leftovers(parent: Path, name: str) -> list[Path]:
    """The files and folders in ``parent`` with a temporary name of ours for ``name`` (a glob pattern)."""
    leftovers = []
    for path in parent.iterdir() if parent.is_dir() else ():
        match = TEMPORARY.fullmatch(path.name)
        if match and fnmatchcase(match[1], name) and not path.is_symlink():
            leftovers.append(path)
    return leftovers


def is_leftover(path: Path) -> bool:
    """Whether this is a half-written folder of ours, a half-written ``electra.json``, or a process's lock."""
    if path.name == LOCK:
        return not path.is_symlink() and path.is_file()
    match = TEMPORARY.fullmatch(path.name)
    if not match or path.is_symlink():
        return False
    return bool(read_marker(path)) or not any(path.iterdir()) if path.is_dir() else match[1] == MARKER


def temporary_path(path: Path) -> Path:
    """A path beside ``path`` with a name that nobody else has."""
    return path.with_name(f".{path.name}.{uuid4().hex}.partial")


def final_name(name: str) -> str:
    """The name that a file gets when it is written; ``name`` may be its temporary one."""
    match = TEMPORARY.fullmatch(name)
    return match[1] if match else name


def list_files(folder: Path) -> set[str]:
    """The files in a folder and below it, as paths relative to it; a link counts as a file."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}


def make_folder(folder: Path) -> list[Path]:
    """Make a folder, and those above it that are missing, so that they survive a power cut; returns those it made."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync_to_disk(path.parent)
    return missing


def sync_to_disk(path: Path) -> None:
    """Have a file's content, or a folder's list of names, on the disk: only then does a rename survive a power cut."""
    if path.is_symlink():
        return  # it is on the disk with the folder that it lies in
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError:
        if not path.is_dir():  # some file systems, as of networks, sync no folders
            raise
    finally:
        os.close(opened)
