"""Where compiled code is kept: it is loaded and run, so only this user may write into the folder."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from electra.engine.compiling import compile_if_possible
from electra.errors import UserError
from electra.kernels import cache
from processes import run_python

NAMES = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")


@pytest.fixture(autouse=True)
def nothing_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that it is as it was afterwards
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def mode(folder: Path) -> int:
    return stat.S_IMODE(folder.stat().st_mode)


def test_it_is_in_the_users_cache_and_closed_to_others(tmp_path: Path) -> None:
    cache.set_compile_caches()
    ours = tmp_path / "cache" / "electra"
    for name in NAMES:
        assert Path(os.environ[name]).is_relative_to(ours) and mode(Path(os.environ[name])) == 0o700
    assert mode(ours) == 0o700
    chosen = {name: os.environ[name] for name in NAMES}
    cache.set_compile_caches()
    assert {name: os.environ[name] for name in NAMES} == chosen


def test_without_an_own_cache_of_the_users_it_is_in_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which the standard says to ignore
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    cache.set_compile_caches()
    assert Path(os.environ[NAMES[0]]).is_relative_to(tmp_path / "home" / ".cache" / "electra")


def test_what_inductor_sets_when_it_is_imported_is_nobodys_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NAMES[0], cache.find_default_cache())
    cache.set_compile_caches()
    assert Path(os.environ[NAMES[0]]).is_relative_to(tmp_path / "cache" / "electra")


def test_libraries_that_a_machine_left_empty_are_removed(tmp_path: Path) -> None:
    cache.set_compile_caches()
    folder = Path(os.environ[NAMES[0]]) / "ab"
    folder.mkdir()
    for name in ("empty.so", "new.so", "whole.so", "empty.cpp"):
        (folder / name).write_text("code" if name == "whole.so" else "")
        os.utime(folder / name, (0, 0) if name != "new.so" else None)
    cache.set_compile_caches()
    assert sorted(path.name for path in folder.iterdir()) == ["empty.cpp", "new.so", "whole.so"]


def make_open(folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o777)


def make_open_to_the_group(folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o770)


def make_a_file(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("")


def give_away(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder to another user")
    folder.mkdir(parents=True)
    os.chown(folder, 12345, 12345)


UNSAFE = {
    "open": (make_open, "others may write into it (mode 777, not 700)"),
    "group": (make_open_to_the_group, "others may write into it (mode 770, not 700)"),
    "file": (make_a_file, "File exists"),
    "another's": (give_away, "belongs to another user"),
}


@pytest.mark.parametrize("fault", UNSAFE)
def test_a_default_that_is_not_ours_is_left_for_a_temporary_one(
    tmp_path: Path, fault: str, capsys: pytest.CaptureFixture
) -> None:
    make, why = UNSAFE[fault]
    make(tmp_path / "cache" / "electra")
    cache.set_compile_caches()
    printed = capsys.readouterr().err
    assert (
        why in printed
        and printed.endswith("what is compiled is kept for this run alone\n")
        and printed.count("\n") == 1
    )
    for name in NAMES:
        kept = Path(os.environ[name])
        assert not kept.is_relative_to(tmp_path) and kept.owner() == Path("/proc/self").owner()
        assert mode(kept) == 0o700 and mode(kept.parents[1]) == 0o700


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fault", UNSAFE)
def test_a_chosen_folder_that_is_not_ours_is_refused(
    tmp_path: Path, fault: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, why = UNSAFE[fault]
    make(tmp_path / "chosen")
    monkeypatch.setenv(name, str(tmp_path / "chosen"))
    with pytest.raises(UserError) as raised:
        compile_if_possible(torch.sin, "auto", torch.device("cpu"))
    assert str(raised.value).startswith(f"{name} {tmp_path / 'chosen'}: {why}")


def test_a_folder_that_others_may_exchange_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "open" / "chosen").mkdir(0o700, parents=True)
    (tmp_path / "open").chmod(0o777)
    monkeypatch.setenv(NAMES[0], str(tmp_path / "open" / "chosen"))
    with pytest.raises(UserError, match="others may write into /.*/open; compiled code is run"):
        cache.set_compile_caches()
    (tmp_path / "open").chmod(0o1777)
    cache.set_compile_caches()


def test_a_chosen_folder_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAMES[0], str(tmp_path / "chosen"))
    cache.set_compile_caches()
    assert os.environ[NAMES[0]] == str(tmp_path / "chosen") and mode(tmp_path / "chosen") == 0o700


def test_a_home_that_nobody_can_write_is_no_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the temporary folder goes with the process."""
    (tmp_path / "home").write_text("")
    code = f"import os; from electra.kernels.cache import *; set_compile_caches(); print(os.environ['{NAMES[0]}'])"
    monkeypatch.delenv("XDG_CACHE_HOME")
    ended = run_python(code, HOME=str(tmp_path / "home"))
    assert not ended.code and "kept for this run alone" in ended.err and not Path(ended.out.strip()).exists()


@pytest.mark.compiled
def test_what_is_compiled_lies_there_and_knows_its_machine(tmp_path: Path) -> None:
    """In processes of their own: one that has the kernels loaded does not compile them again."""
    libraries: list[set[Path]] = []
    for name in (cache.hash_machine(), "another"):
        code = (
            f"from electra.kernels import cpu; cpu.hash_machine = lambda: {name!r}; "
            "cpu.SOURCES = cpu.SOURCES[:1]; cpu.load_library()"  # a part, which compiles in a fifth of the time
        )
        subprocess.run([sys.executable, "-c", code], check=True)
        ours = tmp_path / "cache" / "electra" / cache.hash_machine() / "torchinductor"
        libraries.append(set(ours.rglob("*.so")))
    assert libraries[0] and libraries[1] > libraries[0], "another processor's is compiled anew"
