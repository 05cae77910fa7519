"""``electra status``: of runs that live, ended well or badly, are damaged, or are elsewhere."""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from electra import cli, files
from electra.dataset.shards import MANIFEST
from electra.engine.checkpoint import Keeping, save_checkpoint
from electra.engine.stages import State
from electra.engine.telemetry import MetricsReader, MetricsRecorder
from electra.errors import UserError
from electra.run_folder import FINETUNING_RUN, PRETRAINING_RUN, hold_folder, write_json
from electra.workflows.status import StatusConfig, status
from electra.workflows.watching.find_runs import find_runs
from electra.workflows.watching.run_status import RunReader, RunStatus, measure_speed
from electra.workflows.watching.table import format_statuses
from terminal import Terminal

STEPS = 1000


def make_line(step: int, split: str = "train", phase: int = 0, phases: int = 1, **figures: Any) -> dict[str, Any]:
    """A line as the loop gives it: a step of 64 tokens takes a quarter of a second."""
    return {
        "step": step, "steps": STEPS, "phase": phase, "phases": phases, "epoch": 0, "tokens": 64 * step, "flops": step,
        "seconds": 30 + step / 4, "split": split, "generator/loss": 5.0 - step / 1000, **figures,
    }  # fmt: skip


def make_run(folder: Path, logged: tuple[int, ...] = (20, 40), saved: int = 0, kind: str = PRETRAINING_RUN) -> Path:
    """The folder of a run that logged and saved at some steps, and that nobody is at."""
    files.mark_folder(folder, kind)
    write_json(folder / "config.json", {"seed": 1})
    write_json(folder / "environment.json", {"data": "1f", "starts": [{"gpu": None}]})
    recorder = MetricsRecorder(folder, {})
    for step in logged:
        recorder.append_line(make_line(step))
    if saved:
        tensors, state = {"a": torch.zeros(1)}, State(step=saved, steps=STEPS, tokens=64 * saved)
        save_checkpoint(folder / "checkpoints", saved, tensors, tensors, asdict(state), Keeping(1))
    return folder


def read(folder: Path, kind: str = PRETRAINING_RUN) -> RunStatus:
    return RunReader(folder, kind).read()


def test_a_run_that_lives(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", saved=20)
    with hold_folder(run, PRETRAINING_RUN), (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 60, "ste')  # it is being written
        file.flush()
        told = read(run)
    assert (told.state, told.note, told.damages) == ("running", "", [])
    assert told.process == os.getpid() and told.host and told.since
    assert (told.step, told.steps, told.tokens, told.starts) == (40, STEPS, 2560, 2)
    assert told.tokens_per_second == 256 and told.seconds_left == (STEPS - 40) / 4
    assert told.figures == {"train": {"generator/loss": 4.96}} and told.checkpoint == 20


@pytest.mark.parametrize(
    ("logged", "saved", "lock", "state", "note"),
    [
        ((), 0, False, "begun", "nobody works there, and there are neither figures nor a checkpoint"),
        ((20, 40), 40, False, "stopped", "the same command goes on from step 40"),
        ((20, 40), 45, False, "stopped", "the same command goes on from step 45"),
        (
            (20, 40),
            20,
            False,
            "broken off",
            "ended after step 40 by an error or a second Ctrl-C; the same command goes",
        ),
        (
            (20, 40),
            20,
            True,
            "killed",
            "process 7, at work since 2026-01-01, was killed; the same command goes on from",
        ),
        ((20, 40), 0, True, "killed", "was killed; the same command begins anew"),
        ((STEPS,), STEPS, True, "killed", "the same command writes what is missing: all steps are done"),
    ],
)
def test_how_a_run_ended(
    tmp_path: Path, logged: tuple[int, ...], saved: int, lock: bool, state: str, note: str
) -> None:
    run = make_run(tmp_path / "run", logged, saved)
    if lock:
        (run / files.LOCK).write_text(f"process 7 on {os.uname().nodename}, since 2026-01-01,")
    told = read(run)
    assert told.state == state and note in told.note and told.step == max(*logged, saved, 0, 0)
    if 0 < saved < STEPS:
        assert told.seconds_left == (STEPS - saved) / 4


def test_a_finished_run_a_longer_one_and_one_of_elsewhere(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (STEPS - 20, STEPS), STEPS)
    (run / "final").mkdir()
    told = read(run)
    assert (told.state, told.note, told.seconds_left) == ("finished", "", None)
    (run / files.LOCK).write_text("process 7 on node-3, since 2026-01-01 10:00:00 +0100,")
    told = read(run)
    assert (told.state, told.host) == ("elsewhere", "node-3")
    assert told.note == "held by node-3 since 2026-01-01 10:00:00 +0100, cannot be seen from here"
    (run / files.LOCK).unlink()
    with (run / "metrics.jsonl").open("a") as file:  # --extend
        file.write(json.dumps(make_line(STEPS + 20) | {"steps": 2 * STEPS}) + "\n")
    assert read(run).state == "broken off"


def test_damage_is_told_and_the_rest_is_read(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (20, 40, 60), 40)
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text("\n".join([lines[0], '{"st', *lines[2:], '{"step": 80']))
    (run / "checkpoints" / "step-00000040" / "state.json").write_text("{")
    (run / "environment.json").write_text("[]")
    (run / "not-finite-step-00000061-process-0").mkdir()
    told = read(run)
    assert told.step == 60 and told.checkpoint == 40 and told.steps == STEPS and told.starts is None
    assert told.state == "broken off" and told.note.endswith("not finite: not-finite-step-00000061-process-0")
    assert [damage.removeprefix(f"{run}/").partition(": damaged")[0] for damage in told.damages] == [
        "metrics.jsonl, line 2", "checkpoints/step-00000040/state.json", "environment.json",
        "metrics.jsonl: the last line was cut short; the run goes on without it",
    ]  # fmt: skip


def test_a_reader_takes_what_is_new(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    reader, lines = RunReader(run, PRETRAINING_RUN), MetricsReader(run / "metrics.jsonl")
    assert reader.read().step == 40 and len(lines.read_on()[0]) == 2
    with (run / "metrics.jsonl").open("a") as file:
        for part in (json.dumps(make_line(60)), "\n", json.dumps({"step": 60, "split": "verdict", "kind": "a"}) + "\n"):
            file.write(part)
            file.flush()
            steps, (new, anew) = reader.read().step, lines.read_on()
            assert (steps, len(new), anew) == ((60, 1, False) if part.endswith("\n") else (40, 0, False))
    assert len(reader.read().health) == 1
    MetricsRecorder(run, {}, step=20)  # the run goes on from there, and what came later is gone
    told = reader.read()
    assert (told.step, told.health) == (20, []) and lines.read_on()[1]
    (run / "metrics.jsonl").unlink()
    assert reader.read().last_line is None


def test_speed_is_that_of_the_present_stage() -> None:
    slow, fast = make_line(20), make_line(40, phase=1)
    assert measure_speed([]) == (None, None)
    assert measure_speed([slow]) == (20 / 35, 64 * 20 / 35)  # with what was compiled
    assert measure_speed([slow, fast]) == (4, 256)
    assert measure_speed([slow, fast, fast | {"step": 50, "tokens": 64 * 50, "seconds": 41}]) == (10, 640)


def test_runs_in_a_folder_of_ones_own(tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "a")
    make_run(tmp_path / "runs" / "tuned" / "seed-1", kind=FINETUNING_RUN)
    files.mark_folder(tmp_path / "runs" / "tuned", "fine-tuning")
    (tmp_path / "runs" / "notes").mkdir()
    found = find_runs(tmp_path / "runs")
    assert [run.folder.relative_to(tmp_path / "runs").as_posix() for run in found] == ["a", "tuned/seed-1"]


def test_folders_without_a_run_are_named(tmp_path: Path) -> None:
    for name, kind in (("cmp", "comparison"), ("tok", "tokenizer"), ("making/parts", "prepared data in the making")):
        files.mark_folder(tmp_path / name, kind)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / MANIFEST).write_text("{}")
    for folder, message in [
        (tmp_path / "none", r"none: no such folder$"),
        (tmp_path, r": nothing of this program; it holds no run, and electra status takes what pretrain, finetune and"),
        (tmp_path / "data", r"data: prepared data, of which `electra data` tells; it holds no run"),
        (tmp_path / "making", r"making: prepared data in the making; it holds no run"),
        (tmp_path / "tok", r"tok: a tokenizer; it holds no run"),
        (tmp_path / "cmp", r": a comparison; it holds no run"),
    ]:
        with pytest.raises(UserError, match=message):
            status(StatusConfig((str(folder),)))
    with pytest.raises(UserError, match="which runs"):
        status(StatusConfig())


def test_a_folder_of_several_runs_shows_them_all(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    files.mark_folder(tmp_path / "ft", "folder of fine-tunings")
    for name in ("cola/seed-1", "cola/seed-2", "rte/seed-1"):
        make_run(tmp_path / "ft" / name, kind=FINETUNING_RUN)
    write_json(tmp_path / "ft" / "rte" / "seed-1" / "result.json", {"dev": {"matthews": 0.5}})
    told = status(StatusConfig((str(tmp_path / "ft"),)))
    assert [each.state for each in told] == ["broken off", "broken off", "finished"]
    printed = capsys.readouterr().out
    assert printed.split()[:3] == ["cola/seed-1", "cola/seed-2", "rte/seed-1"]
    make_run(tmp_path / "ft" / "encoder")
    (told,) = status(StatusConfig((str(tmp_path / "ft"),)))  # of a comparison: what judges its encoders is left out
    assert told.holds == PRETRAINING_RUN
    assert ["matthews,", "dev", "-", "-", "0.500"] in [line.split() for line in printed.splitlines()]


def test_a_table_is_no_wider_than_it_may_be(tmp_path: Path) -> None:
    figures = {"train": {"discriminator/loss": 0.25, "gradient_norm/total": 3.0}, "held-out": {"probe/best": 0.75}}
    runs = [
        RunStatus(f"{tmp_path}/{name}/a-run-with-a-name", PRETRAINING_RUN, "running", figures=figures, process=7)
        for name in "abcd"
    ]
    runs[3] = RunStatus(f"{tmp_path}/d/short", PRETRAINING_RUN, note="a\x1bnote")
    first, second, notes = format_statuses(runs, 80).split("\n\n")
    assert first.split()[:2] == ["a/a-run-with-a-name", "b/a-run-with-a-name"] and "d/short" in second
    assert max(map(len, (first + "\n" + second).splitlines())) <= 80
    assert "discriminator/loss" in second and len(second.splitlines()) == len(first.splitlines())
    assert "discriminator/loss" not in format_statuses([*runs[:2], runs[3]], 80).split("\n\n")[1]  # what is there
    assert "gradient" not in first and "probe/best, held-out" in first and "stage" not in first
    assert notes.splitlines() == ["-: not there, or not yet", "d/short: a\\x1bnote"]
    assert "a-run-with-a-name  b" not in format_statuses(runs, 10)  # never fewer than one


def test_health_is_told_in_words(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run = make_run(tmp_path / "run", (20,), 20)
    recorder = MetricsRecorder(run, {}, 20, watch=lambda lines: [("collapsed", "it has collapsed")])
    recorder.record(make_line(40))
    assert cli.main(["status", str(run)]) == 0
    printed = capsys.readouterr().out
    assert "1 warning" in printed and "run: at step 40: it has collapsed" in printed
    assert cli.main(["status", str(run), "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["health"] == [{"step": 40, "kind": "collapsed", "message": "it has collapsed"}]


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What happens while ``--watch`` waits, one thing each time."""

    def plan(*events: Callable[[], object]) -> None:
        left = list(events)
        monkeypatch.setattr(time, "sleep", lambda seconds: left.pop(0)())

    return plan


def interrupt() -> None:
    raise KeyboardInterrupt


def test_watching_ends_when_all_runs_are_finished(
    tmp_path: Path, slept: Callable[..., None], capsys: pytest.CaptureFixture
) -> None:
    run = make_run(tmp_path / "run", (STEPS,), STEPS)
    slept(lambda: None, (run / "final").mkdir)
    assert cli.main(["status", str(run), "--watch", "--json"]) == 0
    assert [json.loads(line)["state"] for line in capsys.readouterr().out.splitlines()] == [
        "stopped",
        "stopped",
        "finished",
    ]
    slept(interrupt)
    assert cli.main(["status", str(run), "--watch"]) == 0 and "finished" in capsys.readouterr().out  # at once


@pytest.mark.parametrize("terminal", [False, True])
def test_ctrl_c_ends_watching(
    tmp_path: Path, slept: Callable[..., None], monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    run = make_run(tmp_path / "run", (20,), 20)
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(out, "isatty", lambda: terminal)
    slept(lambda: make_run(run, (20, 40), 20), interrupt)
    assert cli.main(["status", str(run), "--watch"]) == 0
    drawn = out.getvalue()
    assert drawn.index("stopped") < drawn.index("broken off") and drawn.count("\n\n") >= 1
