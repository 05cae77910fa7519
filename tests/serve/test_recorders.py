"""What TensorBoard and Weights & Biases hold of a run is what its metrics.jsonl has, offline and after a resume."""

import errno
import json
import os
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import wandb
from tensorboard.backend.event_processing.event_accumulator import TENSORS, EventAccumulator
from wandb.proto import wandb_internal_pb2

from electra.engine.recorders import TensorBoardRecorder, check_recorders, name_numbers, start_recorders
from electra.engine.telemetry import MetricsRecorder, read_metrics
from electra.errors import UserError
from electra.workflows.finetune import finetune
from electra.workflows.pretrain import pretrain
from finetuning import CLASSIC, TUNING, config, exported, sentences, write_csv
from runs import ENGINE
from runs import config as pretraining

BLOCK, HEADER = 32768, 7  # bytes; of a leveldb log, which a .wandb file is, behind as many bytes of its own
Figures = dict[str, list[tuple[int, float]]]  # name → (step, value)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """W&B asks nobody, and keeps what it keeps of a user in a folder of the test."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "of-wandb"))
    wandb.teardown()  # it reads the environment once, when it is first used


def read_records(path: Path) -> Iterator[wandb_internal_pb2.Record]:
    """The records of a .wandb file."""
    content, at, record = path.read_bytes(), HEADER, b""
    assert content[:4] == b":W&B"
    while at + HEADER <= len(content):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
        _, length, kind = struct.unpack_from("<IHB", content, at)
        record += content[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (1, 4):  # whole, or the last part
            yield wandb_internal_pb2.Record.FromString(record)
            record = b""


def read_wandb(run: Path) -> tuple[Figures, list[wandb_internal_pb2.Record]]:
    """The figures that W&B holds of a run, of all its starts, and all the records."""
    wandb.teardown()  # its own process writes, and offline nobody waits for it before ours ends
    paths = sorted(run.glob("wandb/*run-*/*.wandb"))
    assert len({path.name for path in paths}) == 1  # all starts have one id
    records = [record for path in paths for record in read_records(path)]
    figures: Figures = {}
    for record in records:
        items = {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for name, value in items.items():
            if not name.startswith("_"):
                figures.setdefault(name, []).append((items["_step"], value))
    return figures, records


def read_tensorboard(run: Path) -> Figures:
    """The figures that TensorBoard shows of a run."""
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={TENSORS: 0}).Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def expect(run: Path) -> Figures:
    """The figures of a run's metrics.jsonl."""
    figures: Figures = {}
    for line in read_metrics(run / "metrics.jsonl"):
        for name, value in name_numbers(line).items():
            figures.setdefault(name, []).append((line["step"], value))
    return figures


def in_float32(figures: Figures) -> Figures:
    """The figures as TensorBoard keeps them."""
    return {
        name: [(step, torch.tensor(value, dtype=torch.float32).item()) for step, value in points]
        for name, points in figures.items()
    }


def make_line(step: int, split: str = "train", **figures: float) -> dict[str, object]:
    return {"step": step, "split": split, "seconds": step / 3, **figures}


def test_a_run_and_its_resume_are_in_all_of_them(prepared: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    asked = pretraining(prepared, run, log=("tensorboard", "wandb"), engine=replace(ENGINE, save_every=2))
    pretrain(asked)
    first = expect(run)
    assert first["train/discriminator/loss"][3][0] == 4 and len(first["held-out/generator/loss"]) == 1
    figures, records = read_wandb(run)
    assert figures == first
    assert read_tensorboard(run) == in_float32(first)
    settings = {item.key: json.loads(item.value_json) for r in records for item in r.run.config.update}
    assert settings["seed"] == 1 and str(tmp_path) not in json.dumps(settings)

    longer = replace(asked, tokens=8 * 32 * 6, extend=True, log=("wandb", "tensorboard"))  # another order of the same
    pretrain(longer)
    after = expect(run)
    assert after["train/seconds"][:4] == first["train/seconds"] and len(after["train/seconds"]) == 6
    assert read_tensorboard(run) == in_float32(after)
    assert read_wandb(run)[0] == after


def test_fine_tuning_records_each_of_its_runs(prepared: Path, tmp_path: Path) -> None:
    model = exported(tmp_path / "model", replace(CLASSIC, vocab_size=1000), prepared / "tokenizer")
    path = write_csv(tmp_path / "train.csv", [{"body": text, "topic": label} for text, label in sentences(40, 0)])
    asked = config(model, tmp_path / "out", {"train": path, "dev": path}, seeds=2, tuning=replace(TUNING, epochs=1))
    finetune(replace(asked, log=("tensorboard", "wandb"), engine=replace(asked.engine, log_every=1)))
    runs = sorted((tmp_path / "out" / "train").glob("seed-*"))
    assert len(runs) == 2
    ids = set()
    for run in runs:
        assert read_tensorboard(run) == in_float32(expect(run))
        figures, records = read_wandb(run)
        assert figures == expect(run) and "train/loss" in figures
        ids |= {record.run.run_id for record in records if record.run.run_id}
        settings = {item.key: json.loads(item.value_json) for r in records for item in r.run.config.update}
        assert str(tmp_path) not in json.dumps(settings)
    assert len(ids) == 2


def test_what_a_kill_lost_is_shown_no_more(tmp_path: Path) -> None:
    """The run was killed after step 30; its last checkpoint is of step 20."""
    first = MetricsRecorder(tmp_path, {}, others=start_recorders(["tensorboard"], tmp_path, 0, "run", {}))
    for step in (10, 20, 30):
        first.record(make_line(step, loss=step + 0.5))
    again = MetricsRecorder(tmp_path, {}, 20, others=start_recorders(["tensorboard"], tmp_path, 20, "run", {}))
    again.record(make_line(25, loss=2.5))
    assert read_tensorboard(tmp_path)["train/loss"] == [(10, 10.5), (20, 20.5), (25, 2.5)]
    anew = MetricsRecorder(tmp_path, {}, 0, others=start_recorders(["tensorboard"], tmp_path, 0, "run", {}))
    anew.record(make_line(5, loss=5.5))
    assert read_tensorboard(tmp_path)["train/loss"] == [(5, 5.5)]


def test_a_recorder_that_comes_later_gets_what_was_before(tmp_path: Path) -> None:
    first = MetricsRecorder(tmp_path, {})
    for step in (10, 20, 30):
        first.record(make_line(step, loss=step + 0.5))
    others = start_recorders(["tensorboard", "wandb"], tmp_path, 20, "run", {})
    again = MetricsRecorder(tmp_path, {}, 20, others=others)
    again.record(make_line(25, loss=2.5))
    again.finish()
    expected = [(10, 10.5), (20, 20.5), (25, 2.5)]
    assert read_tensorboard(tmp_path)["train/loss"] == read_wandb(tmp_path)[0]["train/loss"] == expected


def test_a_fault_is_told_in_words(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    others = start_recorders(["tensorboard", "wandb"], tmp_path, 0, "run", {})
    recorder = MetricsRecorder(tmp_path, {}, watch=lambda lines: [("collapsed", "it has collapsed")], others=others)
    recorder.record(make_line(10))
    recorder.finish()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    (text,) = events.Tensors("verdict/collapsed/text_summary")
    assert text.step == 10 and text.tensor_proto.string_val == [b"it has collapsed"]
    assert any(record.alert.text == "it has collapsed" for record in read_wandb(tmp_path)[1])
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.splitlines() == [
        f"W&B: offline, in {next(tmp_path.glob('wandb/offline-run-*'))}", "warning: it has collapsed",
    ]  # fmt: skip


def test_one_that_is_disabled_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    recorder = MetricsRecorder(tmp_path, {}, others=start_recorders(["wandb"], tmp_path, 0, "run", {}))
    recorder.record(make_line(10))
    recorder.finish()
    assert capsys.readouterr().err == "W&B: disabled by WANDB_MODE, so nothing is kept there\n"


def test_a_recorder_that_fails_is_told_of_once_and_the_run_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensorboard = TensorBoardRecorder(tmp_path, 0)
    recorder = MetricsRecorder(tmp_path, {}, others={"TensorBoard": tensorboard})
    recorder.record(make_line(10))
    inner = tensorboard.writer.file_writer.event_writer._async_writer._writer._writer
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write(content: bytes) -> None:
        raise full

    monkeypatch.setattr(inner, "write", write)  # the disk is full from here on
    monkeypatch.setattr(threading, "excepthook", lambda failure: None)  # TensorBoard's thread tells of it, at length
    for step in (20, 30):
        recorder.record(make_line(step))
    recorder.finish()
    warned = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert warned == ["warning: TensorBoard gets no more figures of this run, which goes on: No space left on device"]
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [10, 20, 30]


def test_one_that_cannot_start_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tensorboard").write_text("a file")
    with pytest.raises(UserError, match=r"--log tensorboard: .*tensorboard: (File exists|Not a directory)"):
        start_recorders(["tensorboard"], tmp_path, 0, "run", {})
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("HOME", str(tmp_path))  # no netrc
    message = r"--log wandb: No API key configured.* WANDB_MODE=offline keeps the figures in the run's folder"
    for start in (lambda: check_recorders(["wandb"]), lambda: start_recorders(["wandb"], tmp_path, 0, "run", {})):
        with pytest.raises(UserError, match=message):
            start()
