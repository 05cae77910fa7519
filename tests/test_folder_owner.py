"""Who works in a folder, told from outside."""

import errno
import fcntl
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from electra import files
from electra.folder_owner import LOOK_SECONDS, find_owner, is_held
from electra.run_folder import hold_folder


def test_the_owner_is_told_while_it_works(tmp_path: Path) -> None:
    assert find_owner(tmp_path) is None and find_owner(tmp_path / "absent") is None
    with hold_folder(tmp_path, "run"):
        owner = find_owner(tmp_path)
        assert owner and owner.number == os.getpid() and owner.host == socket.gethostname() and owner.works is True
        assert owner.since.startswith("20") and owner.since[-1].isdigit()
        content = (tmp_path / files.LOCK).read_text()
    assert find_owner(tmp_path) is None
    (tmp_path / files.LOCK).write_text(content)  # as a kill leaves it
    left = find_owner(tmp_path)
    assert left and left == owner._replace(works=False)
    assert (tmp_path / files.LOCK).read_text() == content


def test_what_cannot_be_seen_from_here_is_not_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / files.LOCK
    path.write_text("process 7 on node-3 of many, since 2026-01-01 10:00:00 +0100,")
    assert find_owner(tmp_path) == (7, "node-3 of many", "2026-01-01 10:00:00 +0100", None)
    path.write_text("")  # its process has not come to write
    owner = find_owner(tmp_path)
    assert owner and owner.number == 0 and owner.works is False

    def without(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", without)
    with path.open("rb", buffering=0) as lock:
        assert is_held(lock) is None


def test_a_look_keeps_nobody_from_beginning(tmp_path: Path) -> None:
    (tmp_path / files.LOCK).write_text("")
    with (tmp_path / files.LOCK).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)  # who looks holds it for a moment

        def let_go() -> None:
            time.sleep(LOOK_SECONDS / 5)
            fcntl.flock(lock, fcntl.LOCK_UN)

        looker = threading.Thread(target=let_go)
        looker.start()
        with hold_folder(tmp_path, "run"):
            looker.join()
            assert (tmp_path / files.LOCK).read_text().startswith(f"process {os.getpid()}")
