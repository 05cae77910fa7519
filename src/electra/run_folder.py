"""What a folder was asked to hold: written when the work begins, and compared with what is asked when it goes on.

The settings lie in the folder as JSON. ``environment.json`` has the fingerprints of what the work is made from and,
beside them, the versions and the machine of the first start; each later start adds an entry to the list ``starts``,
with the settings that it changed.
"""

import errno
import fcntl
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, is_dataclass
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

from electra import files
from electra.config import load_config, plain_tree, read_config_file
from electra.errors import UserError, convert_errors
from electra.folder_owner import OWNER_LENGTH, describe_owner, lock_alone
from electra.progress import print_warnings
from electra.strict_json import require_shape

ENVIRONMENT, STARTS, CHANGED = "environment.json", "starts", "changed"
PRETRAINING_RUN, FINETUNING_RUN = "run of pretrain", "run of fine-tuning"  # what the folder of a run says that it holds
FINAL, RESULT = "final", "result.json"  # what one of pretrain, and one of fine-tuning, has in it when it is finished
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)  # what a file system without locks answers


class Difference(NamedTuple):
    """A value that is not what it was. ``key`` is its path through nested settings: ``optimizer.learning_rate``."""

    key: str
    before: object
    now: object

    def __str__(self) -> str:
        return f"{self.key}: {self.before} there, {self.now} now"


def list_differences(before: object, now: object, free: Collection[str] = (), key: str = "") -> list[Difference]:
    """The leaves in which two nested values differ, in the order of ``now``. What lies at a ``free`` key may differ."""
    if key in free or before == now:
        return []
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        prefix = f"{key}." if key else ""
        return [
            difference
            for name in {**now, **before}
            for difference in list_differences(before.get(name), now.get(name), free, f"{prefix}{name}")
        ]
    return [Difference(key, before, now)]


def leave_out(tree: Mapping[str, Any], keys: Collection[str], key: str = "") -> dict[str, Any]:
    """Nested settings without those at some ``keys``, which are paths as those of ``Difference``."""
    paths = {name: f"{key}.{name}" if key else name for name in tree}
    return {
        name: leave_out(value, keys, paths[name]) if isinstance(value, Mapping) else value
        for name, value in tree.items()
        if paths[name] not in keys
    }


def join_differences(differences: Iterable[Difference]) -> str:
    """The differences in one line, sorted by their keys."""
    return "; ".join(sorted(map(str, differences)))


def read_json(path: Path, remedy: str, shape: Any = dict) -> Any:
    """The content of a JSON file. ``shape``: the type that it must have, as ``strict_json.require_shape`` takes it.

    Raises:
        UserError: the file cannot be read, is no JSON (then with the ``remedy``), or has another shape.
    """
    where = f"{path}: damaged; {remedy}"
    with convert_errors(str(path), OSError), convert_errors(where, ValueError, RecursionError):
        content = json.loads(path.read_text(encoding="utf-8"))
    return require_shape(content, shape, where)


def write_json(path: Path, value: object, indent: int | None = None) -> None:
    """Write a JSON file, whole or not at all; dataclasses become objects."""
    with files.write_whole(path) as file:
        file.write_text(json.dumps(plain_tree(value), indent=indent), encoding="utf-8")


class Content(NamedTuple):
    """Something that a run is made from: ``what`` it is in words, and the fingerprint of what ``place`` holds now.

    ``place`` is spelled as the user spelled it. Both are empty where the run is made without it; the fingerprint is
    None where a run that goes on does not read it again.
    """

    what: str
    place: str
    fingerprint: str | None


@dataclass(frozen=True)
class Request:
    """What a folder is asked to hold. Where an equal request began it, the work goes on.

    ``kind`` is what ``electra.json`` says that the folder holds, ``settings`` maps a file's name to the config (or the
    values as JSON has them) in it, ``contents`` a name in ``environment.json`` to what lies behind it. Settings whose
    keys are ``free`` may differ.
    """

    kind: str
    settings: Mapping[str, object]
    contents: Mapping[str, Content] = field(default_factory=dict)
    free: Collection[str] = ()

    def is_begun(self, folder: Path) -> bool:
        """Whether the folder has all files with settings, which are the last that ``begin`` writes."""
        return all((folder / name).exists() for name in self.settings)

    def refuse_another(self, folder: Path) -> None:
        """Raises ``UserError`` if the folder was begun by another request, or is not ours."""
        for name, settings in self.settings.items():
            if (folder / name).exists():
                before = read_settings(folder / name, settings)
                if changed := list_differences(before, plain_tree(settings), self.free):
                    raise UserError(
                        f"{folder / name}: this folder holds a run of another config: {join_differences(changed)}; "
                        "choose another --out"
                    )
        if self.is_begun(folder):
            self.refuse_other_contents(folder)
        else:
            files.refuse_taken_folder(folder, self.kind)

    def refuse_other_contents(self, folder: Path) -> None:
        """Raises ``UserError`` if the folder was begun on contents with other fingerprints."""
        begun = read_config_file(folder / ENVIRONMENT)
        for name, content in self.contents.items():
            before = begun.get(name, "")
            unread = content.fingerprint is None and bool(before) == bool(content.place)
            if before != content.fingerprint and not unread:
                if content.place and name not in begun:
                    raise UserError(
                        f"{folder}: does not say which {content.what} this run was begun on; choose another --out"
                    )
                now = f"than {content.place} holds now" if content.place else "and now has none"
                raise UserError(f"{folder}: this run was begun on other {content.what} {now}; choose another --out")

    def adopt(self, folder: Path) -> None:
        """Make a folder ours that version 0.1 began, which wrote no ``electra.json``."""
        if self.is_begun(folder) and not files.read_kind(folder):
            files.mark_folder(folder, self.kind)

    def begin(self, folder: Path, environment: Mapping[str, object], finished: bool = False) -> None:
        """Write the request into the folder. In a folder that was begun, add a start, with the settings that are no
        more what they were, and write these, unless its work is finished."""
        if not self.is_begun(folder):
            files.claim_folder(folder, self.kind)
            made_from = {name: content.fingerprint for name, content in self.contents.items() if content.fingerprint}
            write_json(folder / ENVIRONMENT, made_from | dict(environment), indent=1)
            self.write_settings(folder)
            return
        self.adopt(folder)
        if finished:
            return
        changes = {each.key: {"before": each.before, "now": each.now} for each in self.list_changes(folder)}
        add_start(folder / ENVIRONMENT, dict(environment) | ({CHANGED: changes} if changes else {}))
        if changes:
            self.write_settings(folder)

    def list_changes(self, folder: Path, free: Collection[str] = ()) -> list[Difference]:
        """The settings that a folder was begun with and that are others now, but for ``free`` ones."""
        return [
            difference
            for name, settings in self.settings.items()
            for difference in list_differences(read_settings(folder / name, settings), plain_tree(settings), free)
        ]

    def write_settings(self, folder: Path) -> None:
        """Write the settings, in place of those that are there."""
        for name, settings in self.settings.items():
            write_json(folder / name, settings, indent=1)


def read_settings(path: Path, now: object) -> object:
    """The settings in a file as JSON has them. If ``now`` is a config, keys that came later have their defaults."""
    if is_dataclass(now) and not isinstance(now, type):
        return plain_tree(load_config(type(now)(), path))
    return read_config_file(path)


def add_start(path: Path, environment: Mapping[str, object]) -> None:
    """Add to an ``environment.json`` that its run was started again."""
    begun = dict(read_config_file(path)) if path.exists() else {}
    starts = require_shape(begun.get(STARTS, []), list[dict[str, Any]], f"{path}: damaged: {STARTS}")
    write_json(path, begun | {STARTS: [*starts, environment]}, indent=1)


@contextmanager
def hold_lock(path: Path, alone: bool, taken: str) -> Iterator[None]:
    """Hold a lock on a file, made if it is missing; it ends with the process. ``alone``: nobody else may hold it too.

    Raises:
        UserError: with the message ``taken``, if another process holds it.
    """
    with path.open("w") as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(taken) from error
        yield


@contextmanager
def hold_folder(folder: Path, kind: str) -> Iterator[None]:
    """Be the only process that works in a folder, which is made if it is missing. The lock ends with the process.

    A file in it says meanwhile by whom and since when; what a kill left of other files is removed. At the end that file
    is removed, and so are folders that were made for it and stayed empty. ``kind``: what the folder is to hold, for
    the error.

    Raises:
        UserError: another process works there, something else has the folder's name, or a file of the work cannot be
            read or written.
    """
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise files.foreign_folder_error(folder, kind)
    path = folder / files.LOCK
    with convert_errors(str(folder), OSError):
        made = files.make_folder(folder)
        try:
            with open_locked(path) as lock:
                try:
                    lock.truncate(0)
                    lock.write(describe_owner().encode())
                    if files.is_vacant(folder) or files.read_kind(folder):
                        files.remove_partial_files(folder)
                    yield
                finally:
                    # Before the lock ends: who opened it meanwhile sees that it is gone.
                    files.remove_files(path.parent, [path.name], keep_folder=True)
        finally:
            for empty in made:
                files.remove_if_empty(empty)


def open_locked(path: Path) -> FileIO:
    """Open a lock file, made if it is missing, and lock it.

    Raises:
        UserError: another process holds it; its content says who.
        OSError: it cannot be made.
    """
    while True:
        lock = path.open("a+b", buffering=0)
        try:
            lock_alone(lock)
        except BlockingIOError as error:
            with lock:
                lock.seek(0)
                owner = lock.read(OWNER_LENGTH).decode(errors="replace") or "another process"
            raise UserError(f"{path.parent}: {owner} works there; wait until it ends, or stop it") from error
        except OSError as error:
            if error.errno not in NO_LOCKS:
                lock.close()
                raise
            print_warnings([f"{path.parent}: this disk has no locks, so nothing keeps two processes apart there"])
        if files.is_still_there(lock, path):
            return lock
        lock.close()  # its owner removed it between our opening and our locking
