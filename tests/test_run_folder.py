"""A folder goes on where it was begun by an equal request, and says in which environments it did."""

import fcntl
import json
import os
import signal
import socket
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from electra import files
from electra.errors import UserError
from electra.run_folder import Content, Request, hold_folder, list_differences, read_json
from processes import Running


@dataclass(frozen=True)
class Config:
    steps: int = 3
    out: str = "here"


REQUEST = Request("run", {"config.json": Config()}, {"data": Content("data", "data/", "1f")}, free=("out",))


def environment(folder: Path) -> dict:
    return json.loads((folder / "environment.json").read_text())


def test_each_start_tells_its_environment_until_the_work_is_finished(tmp_path: Path) -> None:
    out = tmp_path / "run"
    REQUEST.begin(out, {"gpu": "A"})
    assert environment(out) == {"data": "1f", "gpu": "A"} and files.read_kind(out) == "run"
    REQUEST.begin(out, {"gpu": "B"})
    REQUEST.begin(out, {"gpu": "C"})
    REQUEST.begin(out, {"gpu": "D"}, finished=True)
    assert environment(out) == {"data": "1f", "gpu": "A", "starts": [{"gpu": "B"}, {"gpu": "C"}]}
    REQUEST.refuse_another(out)


def test_another_request_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    REQUEST.begin(tmp_path, {})
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    replace(REQUEST, settings={"config.json": Config(out="there")}).refuse_another(tmp_path)
    for other, message in (
        (replace(REQUEST, settings={"config.json": Config(steps=4)}), "config.json: .*steps: 3 there, 4 now; choose"),
        (replace(REQUEST, contents={"data": Content("data", "d", "2")}), "begun on other data than d holds now"),
        (replace(REQUEST, contents={"data": Content("data", "", "")}), "begun on other data and now has none; choose"),
        (replace(REQUEST, contents={"init": Content("weights", "w", "1")}), "does not say which weights this run was"),
    ):
        with pytest.raises(UserError, match=message):
            other.refuse_another(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_of_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"is there already, and no run of this program \(holds thesis.txt\)"):
        REQUEST.refuse_another(tmp_path)


def test_differences_lie_at_leaves_and_free_ones_are_left_out() -> None:
    before, now = {"a": {"b": 1, "c": 2}, "d": [1]}, {"e": 0, "a": {"b": 5, "c": 3}, "d": [1]}
    assert list_differences(before, now, free=("a.c",)) == [("e", None, 0), ("a.b", 1, 5)]


@pytest.mark.parametrize(
    "content", ["[1]", '{"figures": []}', '{"figures": {"loss": "low"}}', "null", "{", "[" * 10**5]
)
def test_json_of_another_shape_is_refused_with_the_remedy(tmp_path: Path, content: str) -> None:
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(UserError, match=r"result.json: damaged; remove it: ") as caught:
        read_json(tmp_path / "result.json", "remove it", dict[str, dict[str, float]])
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("starts", ['{"a": 1}', "[1]", '"x"', "7"])
def test_starts_of_another_shape_are_named(tmp_path: Path, starts: str) -> None:
    REQUEST.begin(tmp_path, {})
    (tmp_path / "environment.json").write_text(f'{{"data": "1f", "starts": {starts}}}')
    with pytest.raises(UserError, match=r"environment.json: damaged: starts: "):
        REQUEST.begin(tmp_path, {})


@pytest.mark.parametrize("written", ['"x"', "[1]", "null", '["../thesis.txt"]', '["/etc/passwd"]'])
def test_a_marker_that_does_not_name_files_of_its_folder_removes_none(tmp_path: Path, written: str) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    folder = tmp_path / "run"
    files.mark_folder(folder, "run")
    (folder / files.MARKER).write_text(f'{{"program": "electra", "format": 1, "holds": "run", "files": {written}}}')
    with pytest.raises(UserError, match=r"electra.json: damaged: 'files' does not name files of this folder"):
        files.remove_folder(folder, "run")
    assert (tmp_path / "thesis.txt").exists() and (folder / files.MARKER).exists()


HOLD = """
import sys, time
from pathlib import Path
from electra.run_folder import hold_folder
with hold_folder(Path({folder!r}), "run"):
    print("held", flush=True)
    time.sleep(60)
"""


def held_elsewhere(folder: Path) -> Running:
    """A process that holds the folder."""
    process = Running(HOLD.format(folder=str(folder)))
    while not (folder / files.LOCK).exists() or not (folder / files.LOCK).read_text():
        assert process.is_running()
        time.sleep(0.02)
    return process


def test_a_second_process_is_told_who_works_there_until_that_one_dies(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one"
    process = held_elsewhere(folder)
    message = rf"one: process {process.pid} on {socket.gethostname()}, since 20\d\d-.*, works there; wait until it ends"
    for _ in range(2):
        with pytest.raises(UserError, match=message), hold_folder(folder, "run"):
            raise AssertionError
    assert [path.name for path in folder.iterdir()] == [files.LOCK] and files.is_vacant(folder)
    os.kill(process.pid, signal.SIGKILL)
    process.process.join()
    with hold_folder(folder, "run"):
        assert f"process {os.getpid()} on" in (folder / files.LOCK).read_text()
        REQUEST.begin(folder, {})  # what a kill leaves makes no folder foreign
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "electra.json", "environment.json"]


def test_a_lock_leaves_nothing_behind_whether_the_work_is_done_or_fails(tmp_path: Path) -> None:
    for existed in (False, True):
        folder = tmp_path / f"run-{existed}"
        if existed:
            folder.mkdir()
        with pytest.raises(ValueError), hold_folder(folder, "run"), files.claim_or_restore(folder, "run"):
            raise ValueError
        assert folder.exists() == existed and not (existed and list(folder.iterdir()))


def test_one_folder_has_one_holder_whoever_removes_the_file(tmp_path: Path) -> None:
    """Who opens the lock file just before its holder removes it locks a file that nobody else will find."""
    with hold_folder(tmp_path, "run"):
        stale = (tmp_path / files.LOCK).open("a+b", buffering=0)
    with hold_folder(tmp_path, "run"):
        fcntl.flock(stale, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert not files.is_still_there(stale, tmp_path / files.LOCK)
    stale.close()


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    for folder, message in (
        (tmp_path / "run", r"run: is there already, and no run of this program \(a file\)"),
        (tmp_path / "run" / "below", r"below: (Not a directory|File exists)"),
        (tmp_path / ("n" * 300), r"nnn: File name too long"),
    ):
        with pytest.raises(UserError, match=message), hold_folder(folder, "run"):
            raise AssertionError


def test_what_a_kill_left_of_a_file_is_removed_by_the_next_to_work_there(tmp_path: Path) -> None:
    left, mine = tmp_path / f".curves.png.{'0' * 32}.partial", tmp_path / ".curves.png.partial"
    left.write_bytes(b"half")
    mine.write_bytes(b"mine")
    with hold_folder(tmp_path, "run"):
        assert left.exists(), "the folder is not ours"
    files.claim_folder(tmp_path / "run", "run")
    left = left.rename(tmp_path / "run" / left.name)
    mine = mine.rename(tmp_path / "run" / mine.name)
    with hold_folder(tmp_path / "run", "run"):
        assert not left.exists() and mine.exists()


def test_a_half_written_mark_of_ours_is_removed_too_and_what_is_being_written_is_not(tmp_path: Path) -> None:
    dead = tmp_path / f".{files.MARKER}.{'0' * 32}.partial"
    dead.write_text("half")
    with files.write_whole(tmp_path / "summary.json") as live:
        files.remove_partial_files(tmp_path)
        assert not dead.exists() and live.exists()
        dead.write_text("half")
        live.write_text("all")
    (tmp_path / "summary.json").unlink()
    with hold_folder(tmp_path, "run"):
        assert not dead.exists()
