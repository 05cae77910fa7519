"""Recorders beside metrics.jsonl, without their packages; tests/serve has them with the real ones."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from electra import cli
from electra.engine.recorders import find_wandb_id, name_numbers
from electra.engine.telemetry import MetricsRecorder, SilentRecorder, read_metrics
from electra.errors import UserError


class FailingRecorder(SilentRecorder):
    """Keeps lines, and fails at one of them."""

    def __init__(self, at: int):
        self.at, self.lines = at, list[Mapping[str, object]]()

    def record(self, figures: Mapping[str, object]) -> None:
        self.lines.append(figures)
        if len(self.lines) == self.at:
            raise ConnectionError("the network is\ngone")

    def finish(self) -> None:
        raise ValueError("never begun")


@pytest.mark.parametrize("target", ["tensorboard", "wandb"])
@pytest.mark.parametrize("verb", ["pretrain --data nowhere", "finetune nowhere --task cola --data nowhere"])
def test_a_package_that_is_missing_is_named_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, target: str, verb: str
) -> None:
    monkeypatch.setitem(sys.modules, target, None)  # importing it raises
    assert cli.main([*verb.split(), "--out", str(tmp_path / "run"), "--log", target]) == 2
    message = f"electra: error: --log {target} needs the package {target}; pip install 'electra[{target}]'\n"
    assert capsys.readouterr().err == message
    assert not (tmp_path / "run").exists()


def test_all_others_get_the_lines_as_they_are_written(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    good, bad = FailingRecorder(0), FailingRecorder(2)
    watch = [[], [("slow", "it is slow")], []]
    recorder = MetricsRecorder(tmp_path, {}, watch=lambda lines: watch.pop(0), others={"Good": good, "Bad": bad})
    for step in (1, 2, 3):
        recorder.record({"step": step, "split": "train", "loss": 1 / 3})
    written = read_metrics(tmp_path / "metrics.jsonl")
    assert [line["split"] for line in written] == ["train", "train", "verdict", "train"]
    assert good.lines == written and bad.lines == written[:2]
    recorder.finish()
    assert capsys.readouterr().err.splitlines() == [
        "warning: Bad gets no more figures of this run, which goes on: the network is gone",
        "warning: it is slow",
        "warning: Good gets no more figures of this run, which goes on: never begun",
    ]


def test_numbers_have_names_that_tell_the_splits_apart() -> None:
    line = {"step": 7, "split": "held-out", "loss": 0.5, "tokens": 64, "kind": "none"}
    assert name_numbers(line) == {"held-out/loss": 0.5, "held-out/tokens": 64}


def test_the_id_of_a_run_stays(tmp_path: Path) -> None:
    first = find_wandb_id(tmp_path)
    assert len(first) == 12 and find_wandb_id(tmp_path) == first
    (tmp_path / "wandb.json").write_text("{}")
    with pytest.raises(UserError, match=r"wandb.json: damaged; remove it, and W&B begins another run"):
        find_wandb_id(tmp_path)
