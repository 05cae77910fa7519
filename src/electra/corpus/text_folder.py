"""The text in a folder: which of its files are read, and an account of those that are not."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from electra.corpus.documents import Skipped
from electra.corpus.readers import ENDINGS
from electra.errors import UserError
from electra.files import read_marker

STATE, SPLITS = "state.json", "dataset_dict.json"  # with which `datasets` says what belongs to a data set that it saved
DATASETS_CACHE = re.compile(r"cache-[0-9a-f]{8,}(_\d+_of_\d+)?\.arrow")  # a result of ``map``, beside what it came from
CACHE, NO_FILE = "cache of datasets", "no file, or a link to none"
OWN_FOLDER = "folder that electra wrote: a tokenizer, a run"  # its vocab.txt and metrics.jsonl are no text
USUAL_ENDING = re.compile(r"\.[A-Za-z]\w{0,9}")


def walk_text_files(folder: Path, skipped: Skipped) -> Iterator[Path]:
    """The text files in a folder and below it. Links are followed, but no folder is visited twice.

    Of a data set that ``datasets`` saved, what its own files name. The files that are left out, hidden folders and
    those that this program wrote are counted in ``skipped``.

    Raises:
        UserError: a file of ``datasets`` that is damaged, or names what is not there.
        OSError: a folder that cannot be read.
    """

    def raise_error(error: OSError) -> NoReturn:
        raise error

    visited: set[str] = set()
    for path, subfolders, names in os.walk(folder, onerror=raise_error, followlinks=True):
        real_path = os.path.realpath(path)
        if real_path in visited:
            subfolders.clear()
            continue
        visited.add(real_path)
        kept_folders = list_named_splits(Path(path), subfolders)
        for name in sorted(set(subfolders) - set(kept_folders)):
            skipped.note("folder that is hidden or not in its data set", str(Path(path, name)))
        for name in [name for name in kept_folders if read_marker(Path(path, name))]:
            skipped.note(OWN_FOLDER, str(Path(path, name)))
            kept_folders.remove(name)
        subfolders[:] = sorted(kept_folders)
        data_files = list_data_files(Path(path), names)
        for name in sorted(names):
            file = Path(path, name)
            if data_files is not None and name.endswith(".arrow") and name not in data_files:
                skipped.note(f"file that {STATE} does not name", str(file))
            elif reason := find_objection(name):
                skipped.note(reason, str(file))
            elif not file.is_file():
                skipped.note(NO_FILE, str(file))
            else:
                yield file


def find_objection(name: str) -> str:
    """Why a file of this name in a folder is not read; nothing if it is."""
    if name.startswith("."):
        return "hidden file"
    if DATASETS_CACHE.fullmatch(name):
        return CACHE
    if name.endswith(ENDINGS):
        return ""
    ending = Path(name).suffix
    return f"file in {ending}, which is not read" if USUAL_ENDING.fullmatch(ending) else "file without a known ending"


def list_named_splits(folder: Path, subfolders: list[str]) -> list[str]:
    """The folders below one that are read: those of a saved ``DatasetDict``, else all that are not hidden."""
    path = folder / SPLITS
    content = read_own_file(path) if path.is_file() else {}
    if not (isinstance(content, dict) and "splits" in content):
        return [name for name in subfolders if not name.startswith(".")]
    splits = content["splits"]
    if not (isinstance(splits, list) and all(isinstance(name, str) for name in splits)):
        raise UserError(f"{path}: damaged: its splits are no list of names")
    if missing := sorted(set(splits).difference(subfolders)):
        raise UserError(f"{path}: names {missing[0]!r}, which is not there")
    return splits


def list_data_files(folder: Path, names: list[str]) -> set[str] | None:
    """The files that make up the data set that ``datasets`` saved in a folder; None for any other folder."""
    path = folder / STATE
    content = read_own_file(path) if STATE in names and any(name.endswith(".arrow") for name in names) else None
    if not (isinstance(content, dict) and "_data_files" in content):
        return None
    entries = content["_data_files"]
    if not (isinstance(entries, list) and all(isinstance(each, dict) and "filename" in each for each in entries)):
        raise UserError(f"{path}: damaged: its data files are no list of names")
    if content.get("_indices_data_files"):
        raise UserError(f"{path}: reads its rows in an order of their own; save it anew with a newer datasets")
    files = {str(each["filename"]) for each in entries}
    if missing := sorted(files.difference(names)):
        raise UserError(f"{path}: names {missing[0]!r}, which is not there")
    return files


def read_own_file(path: Path) -> Any:
    """The content of a JSON file of ``datasets``. Raises ``UserError`` for one that is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged, so it is not known what belongs to the data set") from error
