"""What is written to the disk: whole or absent; and nothing is removed or replaced but what this program wrote.

A folder of ours has ``electra.json`` in it: our name and format number, what the folder holds, and which files were
written with it. What goes on from a kill is told by it, and no folder is ours by its name.
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
from pathlib import Path
from typing import Any
from uuid import uuid4

from electra.errors import UserError

MARKER, PROGRAM, MARKER_FORMAT = "electra.json", "electra", 1
TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{32}\.partial", re.DOTALL)
SIGN_WITHIN = 4096  # bytes of a file in which our mark stands


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """A name to write under that becomes ``path`` when all is on the disk, and is gone if anything fails."""
    partial = temporary_path(path)
    try:
        yield partial
        sync_to_disk(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def write_whole_folder(folder: Path, kind: str) -> Iterator[Path]:
    """A folder to write into that becomes ``folder``, of that kind, when all is on the disk; gone if anything fails.

    One of ours of the same kind that is there is replaced. What a kill left of an earlier try is removed.

    Raises:
        UserError: something else is there, or files in it that were not written with it.
        OSError: the disk does not take it.
    """
    folder = Path(os.path.realpath(folder))  # through a link, what it stands for
    refuse_foreign_folder(folder, kind)
    remove_partial_folders(folder.parent, escape(folder.name))
    partial = temporary_path(folder)
    partial.mkdir(parents=True)
    try:
        with (partial / MARKER).open("x", encoding="utf-8") as marker:
            with suppress(OSError):  # a disk without locks
                fcntl.flock(marker, fcntl.LOCK_EX)  # goes with the process: what is not locked is a leftover
            marker.write(format_marker(kind))
            marker.flush()
            yield partial
            written = sorted(list_files(partial) - {MARKER})
            marker.seek(0)
            marker.write(format_marker(kind, written))
            marker.flush()
            for name in (*written, MARKER):
                sync_to_disk(partial / name)
            move_into_place(partial, folder, kind)
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # its name cannot be guessed: no one else has put anything there


def move_into_place(new: Path, folder: Path, kind: str) -> None:
    """Rename a folder, in the place of an empty one or of one of ours, which is removed."""
    refuse_foreign_folder(folder, kind)  # while the new one was written, someone may have put something there
    if is_vacant(folder):
        new.rename(folder)
        return
    old = temporary_path(folder)
    folder.rename(old)
    new.rename(folder)
    remove_folder(old, kind)


def claim_folder(folder: Path, kind: str) -> None:
    """Make a folder that is absent or empty ours, unless it is already, before anything is written into it.

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
    """Write into a folder that it is ours."""
    folder.mkdir(parents=True, exist_ok=True)
    with write_whole(folder / MARKER) as file:
        file.write_text(format_marker(kind), encoding="utf-8")


@contextmanager
def claim_or_restore(folder: Path, kind: str) -> Iterator[None]:
    """``claim_folder`` a folder for a while: if that fails before anything is written into it, all is as it was
    before."""
    there, ours = folder.exists(), read_kind(folder) == kind
    claim_folder(folder, kind)
    try:
        yield
    except BaseException:
        if not ours and list_files(folder) == {MARKER}:
            (folder / MARKER).unlink()
            if not there:
                with suppress(OSError):
                    folder.rmdir()
        raise


def read_kind(folder: Path) -> str | None:
    """What a folder of ours holds; None if it is not ours.

    Raises:
        UserError: it is ours, of another format.
    """
    said = read_marker(folder)
    if said and said.get("format") != MARKER_FORMAT:
        raise UserError(
            f"{folder / MARKER}: format {said.get('format')}, this version writes {MARKER_FORMAT}; "
            "choose another folder"
        )
    return str(said.get("holds")) if said else None


def read_marker(folder: Path) -> dict[str, Any]:
    """What our file in a folder says; nothing if there is none, or another program's of that name."""
    try:
        said = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) and said.get("program") == PROGRAM else {}


def format_marker(kind: str, written: Iterable[str] = ()) -> str:
    """What our file in a folder says."""
    return json.dumps({"program": PROGRAM, "format": MARKER_FORMAT, "holds": kind, "files": list(written)}, indent=1)


def is_vacant(folder: Path) -> bool:
    """Whether a folder may be taken: it is not there, or empty but for what a kill left."""
    if not os.path.lexists(folder):
        return True
    return folder.is_dir() and all(is_leftover(each) for each in folder.iterdir())


def refuse_foreign_folder(folder: Path, kind: str) -> None:
    """Raises ``UserError`` unless the folder is vacant, or of that kind with nothing in it but what we wrote."""
    refuse_taken_folder(folder, kind)
    if is_vacant(folder):
        return
    if added := sorted(list_files(folder) - {MARKER, *read_marker(folder)["files"]}):
        raise UserError(f"{folder}: holds {added[0]} too, which was not written with it; move it to another place")


def foreign_folder_error(folder: Path, kind: str) -> UserError:
    """The error for a folder that is not ours."""
    found = "a file" if not folder.is_dir() else f"holds {sorted(each.name for each in folder.iterdir())[0]}"
    return UserError(f"{folder}: is there already, and no {kind} of this program ({found}); choose another --out")


def refuse_foreign_file(path: Path, sign: bytes) -> None:
    """Raises ``UserError`` for a file that is there and does not have our sign near its beginning."""
    if not os.path.lexists(path):
        return
    if path.is_file():
        with path.open("rb") as file:
            if sign in file.read(SIGN_WITHIN):
                return
    raise UserError(f"{path}: is there already, and not written by this command; choose another name")


def remove_files(folder: Path, names: Iterable[str]) -> None:
    """Remove files of ours in a folder, and then the folders that are empty without them, this one too.

    Our own file is the last, so that what a kill leaves is still known to be ours.
    """
    names = sorted(names, key=lambda name: (name == MARKER, name))
    for name in names:
        (folder / name).unlink(missing_ok=True)
    inside = {parent for name in names for parent in Path(name).parents}
    for each in sorted(inside, key=lambda path: len(path.parts), reverse=True):
        with suppress(OSError):  # it holds something else, or is a link
            (folder / each).rmdir()


def remove_folder(folder: Path, kind: str) -> None:
    """Remove the files that were written with a folder of ours, and the folder if it holds nothing else."""
    if not folder.is_symlink() and read_kind(folder) == kind:
        remove_files(folder, (*read_marker(folder)["files"], MARKER))


def remove_partial_folders(parent: Path, name: str) -> None:
    """Remove the folders that a kill left while they were written, to be called ``name`` (a pattern, as in globs)."""
    for each in list_leftovers(parent, name):
        if read_marker(each):
            with suppress(OSError), (each / MARKER).open("r+") as marker:
                fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails where another process writes it now
                shutil.rmtree(each)


def remove_partial_files(folder: Path) -> None:
    """Remove what a kill left of single files while they were written. For a folder of ours, and its one writer."""
    for each in list_leftovers(folder, "*") if read_kind(folder) else ():
        if each.is_file():
            each.unlink()


def list_leftovers(parent: Path, name: str) -> list[Path]:
    """What lies in a folder under a temporary name of ours for ``name`` (a pattern)."""
    found = []
    for each in parent.iterdir() if parent.is_dir() else ():
        match = TEMPORARY.fullmatch(each.name)
        if match and fnmatchcase(match[1], name) and not each.is_symlink():
            found.append(each)
    return found


def is_leftover(path: Path) -> bool:
    """Whether this is what a kill left of a folder, or of the file that makes a folder ours, while it was written."""
    match = TEMPORARY.fullmatch(path.name)
    if not match or path.is_symlink():
        return False
    return bool(read_marker(path)) or not any(path.iterdir()) if path.is_dir() else match[1] == MARKER


def temporary_path(path: Path) -> Path:
    """A name beside ``path`` that nobody else has."""
    return path.with_name(f".{path.name}.{uuid4().hex}.partial")


def final_name(name: str) -> str:
    """What a file is to be called that may still have its temporary name."""
    match = TEMPORARY.fullmatch(name)
    return match[1] if match else name


def list_files(folder: Path) -> set[str]:
    """The files in a folder and those below it, by their path from there; a link is a file."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}


def sync_to_disk(path: Path) -> None:
    """Have a file on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
