"""What a disk may refuse is told in one line, and the same command goes on when there is room again."""

import errno
import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from electra import cli, files
from electra.engine.telemetry import MetricsRecorder
from electra.errors import UserError
from electra.report import curves
from electra.workflows.pretrain import pretrain
from electra.workflows.pretraining.config import PretrainConfig
from runs import config


@contextmanager
def small_disk(size: int) -> Iterator[None]:
    """A limit on the size of files makes the kernel refuse what is longer, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="module")
def asked(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> PretrainConfig:
    return config(prepared, tmp_path_factory.mktemp("disks") / "run", kind="mlm")


@pytest.mark.parametrize("size", [0, 50, 90, 300, 1000, 2000, 4000, 10_000, 100_000, 200_000])
def test_a_full_disk_is_told_in_one_line(asked: PretrainConfig, size: int) -> None:
    """From the lock to final/, whichever file is the first that does not fit."""
    out = Path(asked.out)
    with small_disk(size), pytest.raises(UserError) as caught:
        pretrain(asked)
    message = str(caught.value)
    assert message.startswith(str(out)) and "File too large" in message and "\n" not in message
    assert not list(out.rglob("*.partial")) and not (out / ".electra.lock").exists()


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
def test_a_write_that_is_refused_is_told_and_the_same_command_goes_on(
    asked: PretrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: int
) -> None:
    """The first to the eleventh file: marker, environment, config, metrics, checkpoint, final/."""
    asked, sync = replace(asked, out=str(tmp_path / "run")), files.sync_to_disk
    for good in (0, 2, 4, 6, 8, 11):
        left = [good]

        def refuse_later(path: Path, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(fault, os.strerror(fault), str(path))
            sync(path)

        monkeypatch.setattr(files, "sync_to_disk", refuse_later)
        with pytest.raises(UserError, match=f"run.*: {os.strerror(fault)}"):
            pretrain(asked)
    monkeypatch.setattr(files, "sync_to_disk", sync)
    assert (pretrain(asked) / "final").is_dir()


def test_curves_that_cannot_be_written_are_told(asked: PretrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(curves, "draw_curves", refuse)
    with pytest.raises(UserError, match="run: No space left on device"):
        pretrain(asked)


def test_a_folder_that_is_gone_is_told(asked: PretrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, log = tmp_path / "run", MetricsRecorder.record

    def remove_and_record(recorder: MetricsRecorder, figures: dict) -> None:
        shutil.rmtree(out)
        log(recorder, figures)

    monkeypatch.setattr(MetricsRecorder, "record", remove_and_record)
    with pytest.raises(UserError, match="metrics.jsonl: No such file or directory"):
        pretrain(replace(asked, out=str(out)))


@pytest.mark.parametrize("flag", ["--out", "--data", "--init", "--probe"])
def test_a_name_that_is_too_long_is_told(
    asked: PretrainConfig, tmp_path: Path, flag: str, capsys: pytest.CaptureFixture
) -> None:
    flags = {"--out": str(tmp_path / "run"), "--data": asked.data} | {flag: str(tmp_path / ("n" * 300 + ".csv"))}
    words = [word for pair in flags.items() for word in pair]
    assert cli.main(["pretrain", "--preset", "tiny", *words]) == 2
    told = capsys.readouterr().err.splitlines()
    assert told[-1].startswith("electra: error: ") and told[-1].endswith("File name too long")
    assert not list(tmp_path.iterdir())
