"""Runs that are stopped before their end: by a time or a signal, with an exit code that says so, and gone on with."""

import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from electra.cli import main
from electra.config import dump_config
from electra.engine.train import Loop
from electra.errors import UserError
from electra.workflows import pretrain as verb
from electra.workflows.finetune import finetune, run_finetuning
from electra.workflows.pretrain import pretrain, run_pretraining
from finetuning import TUNING
from finetuning import config as finetuning
from processes import run_two
from runs import config, same_runs

STEPS = 4


@pytest.fixture(scope="module")
def whole(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never stopped."""
    return pretrain(config(prepared, tmp_path_factory.mktemp("whole") / "run"))


@pytest.fixture
def command(prepared: Path, tmp_path: Path) -> list[str]:
    """The command line of the same run elsewhere."""
    (tmp_path / "asked.yaml").write_text(dump_config(config(prepared, tmp_path / "run")))
    return ["pretrain", "--config", str(tmp_path / "asked.yaml")]


def test_a_time_stops_a_run_which_then_goes_on(
    command: list[str], whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = tmp_path / "run"
    assert main([*command, "--stop-after", "0.001s"]) == 75
    assert "stopped at step 1; the same command goes on" in capsys.readouterr().out
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-00000001"]
    assert main([*command, "--stop-after", "0.001m"]) in (0, 75)
    assert main(["pretrain", "--out", str(run)]) == 0, "not of the run: nothing stops it now"
    assert same_runs(run, whole) and (run / "final").is_dir()
    assert json.loads((run / "config.json").read_text())["stop_after"] == ""
    assert not any("changed" in start for start in json.loads((run / "environment.json").read_text())["starts"])
    assert main([*command, "--stop-after", "0.001s"]) == 0, "it is finished"


@pytest.mark.parametrize(
    "number",
    [signal.SIGUSR1, *(pytest.param(each, marks=pytest.mark.slow) for each in (signal.SIGTERM, signal.SIGINT))],
)
def test_a_signal_stops_a_run_which_then_goes_on(
    command: list[str], whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    step = Loop.step

    def step_and_signal(loop: Loop, stop: bool = False) -> None:
        step(loop, stop)
        if loop.state.step == 1:
            signal.raise_signal(number)

    with monkeypatch.context() as patched:
        patched.setattr(Loop, "step", step_and_signal)
        assert main(command) == 75
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000002"]
    assert main(command) == 0
    assert same_runs(tmp_path / "run", whole)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C interrupts, as on a terminal: what a shell starts in the background ignores it, and so do its children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_signal_before_the_first_step_asks_for_the_same_command(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for number, code, said in (
        (signal.SIGUSR1, 75, "electra: stopped; the same command goes on"),
        (signal.SIGINT, 130, "electra: stopped"),
    ):
        monkeypatch.setattr(verb, "create_pretrainers", lambda *_, number=number: signal.raise_signal(number))
        assert main(command) == code
        assert capsys.readouterr().err.splitlines()[-1] == said
        assert not (tmp_path / "run").exists()


def test_what_is_no_time_is_refused_before_anything(command: list[str], tmp_path: Path) -> None:
    assert main([*command, "--stop-after", "3"]) == 2
    assert not (tmp_path / "run").exists()


def test_fine_tuning_stops_in_the_same_way(classic: Path, files: dict[str, str], tmp_path: Path) -> None:
    asked = finetuning(classic, tmp_path / "ft", files, tuning=replace(TUNING, epochs=1, rows=80))
    stopped = run_finetuning(replace(asked, stop_after="0.001s"))
    assert not stopped.finished and stopped.result == {}
    assert (tmp_path / "ft" / "train" / "seed-1" / "checkpoints" / "step-00000001").is_dir()
    again = run_finetuning(asked)
    assert again.finished and again.result
    with pytest.raises(UserError, match="--stop-after: expected a time"):
        finetune(replace(asked, stop_after="soon"))


@pytest.mark.slow
def test_two_processes_stop_together(prepared: Path, tmp_path: Path) -> None:
    """At a time that the first one's clock says, and by a signal that one of them gets."""
    asked = config(prepared, tmp_path / "run")
    code = f"""
import os, signal, sys
from electra.dataset.layout import *
from electra.workflows.pretrain import *
from electra.workflows.pretraining.config import *
from electra.engine.optim import *
from electra.engine.train import Engine, Loop
from electra.model.config import *
from electra.objectives.build import *
asked = {asked!r}
first = os.environ["RANK"] == "0"
assert not run_pretraining(replace(asked, stop_after="0.001s" if first else "")).finished
step = Loop.step
def step_and_signal(loop, stop=False):
    if not first:
        signal.raise_signal(signal.SIGUSR1)
    step(loop, stop)
Loop.step = step_and_signal
assert not run_pretraining(asked).finished
Loop.step = step
assert run_pretraining(asked).finished
"""
    run_two(code)
    run_two(f"{code.partition('first =')[0]}assert run_pretraining(replace(asked, out=asked.out + '-whole')).finished")
    assert run_pretraining(asked).finished
    assert same_runs(tmp_path / "run", tmp_path / "run-whole")
