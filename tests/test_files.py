"""A file or folder that is written whole is on the disk, with its name, before the next step relies on it."""

import fcntl
import os
from pathlib import Path

import pytest

from electra import files


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The inodes that were synced."""
    inodes, sync = set[int](), os.fsync

    def record(opened: int) -> None:
        inodes.add(os.fstat(opened).st_ino)
        sync(opened)

    monkeypatch.setattr(os, "fsync", record)
    return inodes


def inodes(*paths: Path) -> set[int]:
    return {path.stat().st_ino for path in paths}


def test_a_file_and_its_name_are_synced(tmp_path: Path, synced: set[int]) -> None:
    with files.write_whole(tmp_path / "new") as file:
        file.write_text("all")
    assert synced == inodes(tmp_path / "new", tmp_path)


def test_a_folder_and_all_in_it_are_synced(tmp_path: Path, synced: set[int]) -> None:
    new = tmp_path / "above" / "new"
    with files.write_whole_folder(new, "model") as folder:
        (folder / "below").mkdir()
        (folder / "below" / "weights").write_text("all")
    assert synced == inodes(tmp_path, new.parent, new, new / files.MARKER, new / "below", new / "below" / "weights")


@pytest.mark.parametrize("killed", ["before our file", "before its content", "while it was removed"])
def test_what_a_kill_leaves_of_a_folder_is_removed_by_the_next_try(tmp_path: Path, killed: str) -> None:
    left = files.temporary_path(tmp_path / "step-1")
    left.mkdir()
    if killed != "before our file":
        (left / files.MARKER).write_text("" if killed == "before its content" else files.format_marker("checkpoint"))
    foreign = tmp_path / "step-1.partial"
    foreign.mkdir()
    with files.write_whole_folder(tmp_path / "step-1", "checkpoint") as partial:
        (partial / "a").write_text("whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-1", "step-1.partial"]
    assert (tmp_path / "step-1" / "a").read_text() == "whole"


def test_a_folder_that_another_process_took_for_a_leftover_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between making the folder and holding its lock it looks like one."""
    names, locks = [], fcntl.flock

    def take(marker: object, how: int) -> None:
        if not names:
            (partial,) = files.list_leftovers(tmp_path, "*")
            names.append(partial.name)
            files.remove_partial_folder(partial)
        locks(marker, how)

    monkeypatch.setattr(fcntl, "flock", take)
    with files.write_whole_folder(tmp_path / "out", "checkpoint") as partial:
        (partial / "a").write_text("whole")
        assert partial.name != names[0]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
