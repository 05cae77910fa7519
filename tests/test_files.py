"""A file or folder that is written whole is on the disk, with its name, before the next step relies on it."""

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
