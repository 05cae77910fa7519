"""Saving while training goes on: one copy, one write at a time, what stays, and what is told when a write fails."""

import errno
import os
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from electra import files
from electra.engine import checkpoint, train
from electra.engine.best import choose_best, refuse_missing_figure, refuse_undirected_figure
from electra.engine.checkpoint import Keeping
from electra.engine.saving import CheckpointWriter, Snapshot
from electra.engine.telemetry import SilentRecorder
from electra.errors import UserError
from electra.files import sync_to_disk
from processes import run_python
from runs import train_tiny

SOON = 30  # seconds within which a thread must come that far


def steps_in(folder: Path) -> list[int]:
    return [checkpoint.step_of_checkpoint(path) for path in checkpoint.list_checkpoints(folder)]


def save(writer: CheckpointWriter, folder: Path, step: int) -> None:
    weights, moments = {"w": torch.full((1000,), float(step))}, {"w/m": torch.full((3,), -float(step))}
    writer.save(folder, step, weights, moments, {"step": step}, Keeping(2))


def fail_to_sync(path: Path) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def save_and_fail(folder: Path) -> None:
    """A checkpoint, and then a step that goes wrong."""
    with CheckpointWriter() as writer:
        save(writer, folder, 1)
        raise UserError("the gradient is not finite")


class Gate:
    """Holds up the writes that come to it until it is opened, and knows what they were given."""

    def __init__(self) -> None:
        self.opened, self.reached = threading.Event(), threading.Semaphore(0)
        self.inside, self.most, self.copies = 0, 0, []  # type: ignore[var-annotated]

    def pass_through(self, folder: Path, step: int, model: Mapping[str, Tensor], *others: Any) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.reached.release()
        assert self.opened.wait(SOON)
        self.copies.append((step, model["w"].data_ptr(), model["w"].tolist()))
        self.inside -= 1


def test_two_saves_never_overlap_and_share_one_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    monkeypatch.setattr(checkpoint, "save_checkpoint", gate.pass_through)
    with CheckpointWriter() as writer, ThreadPoolExecutor(1) as loop:
        weights = {"w": torch.ones(5)}
        writer.save(tmp_path, 1, weights, {}, {}, Keeping(2))
        weights["w"].fill_(2.0)  # the next step, while the first is written
        assert gate.reached.acquire(timeout=SOON)
        second = loop.submit(writer.save, tmp_path, 2, weights, {}, {}, Keeping(2))
        assert not wait([second], 0.05).done
        gate.opened.set()
        second.result(SOON)
    assert gate.most == 1
    (one, where, first), (two, there, last) = gate.copies
    assert (one, first) == (1, [1.0] * 5) and (two, last) == (2, [2.0] * 5) and where == there


def test_a_copy_is_made_anew_for_other_tensors_alone() -> None:
    snapshot = Snapshot()
    tensors = {"a": torch.arange(3.0), "b": torch.tensor(7), "c": torch.zeros(0), "d": torch.ones(2, 3).bfloat16().T}
    copies = snapshot.take(tensors)
    assert all(torch.equal(copies[name], value) for name, value in tensors.items())
    assert copies["d"].is_contiguous() and len({value.untyped_storage().data_ptr() for value in copies.values()}) == 1
    tensors["a"] += 1
    assert snapshot.take(tensors) is copies and copies["a"].tolist() == [1.0, 2.0, 3.0]
    assert list(snapshot.take({"a": torch.zeros(4)})) == ["a"]


def test_a_failed_write_is_told_at_the_next_step_and_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with CheckpointWriter() as writer:
        save(writer, tmp_path, 1)
        writer.wait()
        monkeypatch.setattr(files, "sync_to_disk", fail_to_sync)
        save(writer, tmp_path, 2)
        assert writer.writing
        wait([writer.writing], SOON)
        with pytest.raises(UserError, match="step-00000002: cannot write the checkpoint: No space left on device; ea"):
            writer.check()
        monkeypatch.setattr(files, "sync_to_disk", sync_to_disk)
        writer.check()  # it is told once
        save(writer, tmp_path, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000001", "step-00000003"]
    for step in (1, 3):
        model, moments, state = checkpoint.load_checkpoint(tmp_path / f"step-{step:08d}")
        assert (
            model["w"].unique().tolist() == [step] and moments["w/m"].tolist() == [-step] * 3 and state["step"] == step
        )


def test_at_the_end_a_failed_write_is_told_beside_another_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(files, "sync_to_disk", fail_to_sync)
    with pytest.raises(UserError, match="No space left"), CheckpointWriter() as writer:
        save(writer, tmp_path, 1)
    with pytest.raises(UserError, match="gradient"):
        save_and_fail(tmp_path)
    assert "warning: " in (said := capsys.readouterr().err) and "step-00000001: cannot write" in said
    assert not list(tmp_path.iterdir())


def test_weights_that_are_not_finite_are_never_written(tmp_path: Path) -> None:
    for bad in (torch.nan, torch.inf, -torch.inf):
        weights = {"a": torch.zeros(2), "b": torch.tensor([1.0, bad, 2.0]), "c": torch.zeros(0)}
        with CheckpointWriter() as writer, pytest.raises(UserError, match=r"not finite after step 1 \(b\); earlier"):
            writer.save(tmp_path, 1, weights, {}, {}, Keeping(2))
        assert not list(tmp_path.iterdir())


def test_a_run_is_told_of_a_write_that_failed_and_its_resume_is_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second checkpoint does not fit; the steps until that is told are done again."""
    train_tiny(tmp_path / "whole", steps=6)
    saved = CheckpointWriter.save

    def save_on_a_full_disk(writer: CheckpointWriter, folder: Path, step: int, *others: Any) -> None:
        writer.wait()
        monkeypatch.setattr(files, "sync_to_disk", fail_to_sync if step == 4 else sync_to_disk)
        saved(writer, folder, step, *others)
        wait([writer.writing], SOON)  # type: ignore[list-item]

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointWriter, "save", save_on_a_full_disk)
        counted = Counted()
        with pytest.raises(UserError, match="step-00000004: cannot write the checkpoint: No space left on device"):
            train_tiny(tmp_path / "broken", steps=6, recorder=counted, save_every=2, log_every=1)
    monkeypatch.setattr(files, "sync_to_disk", sync_to_disk)
    assert counted.steps == 4 and steps_in(tmp_path / "broken") == [2]
    train_tiny(tmp_path / "broken", steps=6, save_every=2)
    assert same_checkpoints(tmp_path / "whole", tmp_path / "broken", 6)


def test_a_kill_while_a_checkpoint_is_written_leaves_the_earlier_and_the_resume_is_exact(tmp_path: Path) -> None:
    """Killed by the writing thread, between two files of the second checkpoint, while the loop is some steps on."""
    train_tiny(tmp_path / "whole", steps=6)
    killed = run_python(f"""
import os, time
from pathlib import Path
from electra.engine import checkpoint
from electra.engine.train import Loop
from runs import train_tiny
write, step, loops = checkpoint.save_file, Loop.step, []
def write_or_die(tensors, path):
    if "step-00000004" in str(path) and path.name == "optimizer.safetensors":
        while loops[0].state.step < 5:
            time.sleep(0.01)
        os.kill(os.getpid(), 9)
    write(tensors, path)
def note_step(loop, *arguments):
    loops.append(loop)
    step(loop, *arguments)
checkpoint.save_file, Loop.step = write_or_die, note_step
train_tiny(Path({str(tmp_path / "killed")!r}), steps=6, save_every=2)
""")
    assert killed.code == -9, killed.err
    left = sorted(path.name.partition(".")[0] or path.name[:14] for path in (tmp_path / "killed").iterdir())
    assert left == [".step-00000004", "step-00000002"]
    train_tiny(tmp_path / "killed", steps=6)
    assert not list((tmp_path / "killed").glob(".*"))
    assert same_checkpoints(tmp_path / "whole", tmp_path / "killed", 6)


class Counted(SilentRecorder):
    """How many steps were recorded."""

    steps = 0

    def record(self, figures: Mapping[str, object]) -> None:
        self.steps += figures["split"] == "train"


def same_checkpoints(one: Path, other: Path, step: int) -> bool:
    """Whether two runs' checkpoints of a step have the same tensors, bit for bit."""
    for name in ("model", "optimizer"):
        first, second = (load_file(run / f"step-{step:08d}" / f"{name}.safetensors") for run in (one, other))
        if first.keys() != second.keys() or not all(torch.equal(first[key], second[key]) for key in first):
            return False
    return True


def test_which_checkpoints_stay() -> None:
    paths = [Path(f"step-{step:08d}") for step in (1, 2, 3, 4, 5, 6, 7)]
    for keep, gone in (
        (Keeping(0), []),
        (Keeping(2), [1, 2, 3, 4, 5]),
        (Keeping(1, every=3), [1, 2, 4, 5]),
        (Keeping(1, best=2), [1, 3, 4, 5, 6]),
        (Keeping(2, every=2, best=7), [1, 3, 5]),
        (Keeping(9), []),
    ):
        assert [checkpoint.step_of_checkpoint(path) for path in keep.choose_old(paths)] == gone


@pytest.fixture
def minutes(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock, in minutes, of the writers of runs."""
    time = [0.0]
    monkeypatch.setattr(train, "CheckpointWriter", lambda: CheckpointWriter(lambda: 60 * time[0]))
    return time


def test_a_checkpoint_is_made_when_the_time_has_come(tmp_path: Path, minutes: list[float]) -> None:
    """After steps of 0.4 minutes each: 1, and 1 after the last, whatever it was made for."""

    def evaluate(module: object) -> dict[str, float]:
        minutes[0] += 0.4
        return {}

    train_tiny(tmp_path, steps=9, evaluate=evaluate, save_every=5, save_minutes=1.0)
    assert steps_in(tmp_path) == [3, 5, 8, 9]


SKILLS = {1: 0.1, 2: 0.5, 3: 0.3, 4: 0.6, 5: 0.6, 6: 0.2, 7: None, 8: 0.1}  # None: it is not defined


def test_every_nth_and_the_best_stay_and_the_best_survives_a_resume(tmp_path: Path) -> None:
    figures: Iterator[float | None] = iter(SKILLS.values())

    def evaluate(module: object) -> dict[str, float]:
        skill = next(figures)
        return {"encoder/loss": 1.0} | ({} if skill is None else {"encoder/skill": skill})

    settings = {"save_every": 0, "keep": 1, "keep_every": 3, "keep_best": "encoder/skill", "evaluate": evaluate}
    train_tiny(tmp_path, steps=2, **settings)
    assert steps_in(tmp_path) == [2]  # at step 1 was the best of then
    train_tiny(tmp_path, steps=5, **settings)
    assert steps_in(tmp_path) == [3, 4, 5]
    train_tiny(tmp_path, steps=8, **settings)
    assert steps_in(tmp_path) == [3, 4, 6, 8]
    *_, state = checkpoint.load_checkpoint(tmp_path / "step-00000008")
    assert state["best"] == {"figure": "encoder/skill", "value": 0.6, "step": 4}


def test_a_best_that_no_evaluation_gives_is_refused(tmp_path: Path) -> None:
    figures = {"encoder/loss": 1.0, "encoder/recall": 0.5}
    with pytest.raises(UserError, match="no figure 'encoder/skill' of held-out text; there are encoder/loss$"):
        train_tiny(tmp_path, keep_best="encoder/skill", evaluate=lambda module: figures)
    with pytest.raises(UserError, match="'encoder/recall' is no figure by which .* loss .the less the better., acc"):
        train_tiny(tmp_path, keep_best="encoder/recall", evaluate=lambda module: figures)
    with pytest.raises(UserError, match="keep_best: nothing is evaluated"):
        train_tiny(tmp_path, keep_best="encoder/loss", evaluate=None)
    assert not list(tmp_path.iterdir())


def test_the_best_is_of_its_figure_and_by_its_direction() -> None:
    best = choose_best({}, "a/loss", {"a/loss": 2.0}, 1)
    for value, step in ((2.0, 1), (2.5, 1), (torch.nan, 1), (-torch.inf, 1), (1.5, 2)):
        assert choose_best(best, "a/loss", {"a/loss": value}, 2)["step"] == step
    assert choose_best(best, "a/auc", {"a/auc": 0.1}, 2) == {"figure": "a/auc", "value": 0.1, "step": 2}
    assert choose_best(best, "a/auc", {}, 2) == best
    refuse_undirected_figure("accuracy")
    refuse_missing_figure("f1", {"f1": 1.0})
