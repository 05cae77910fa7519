"""A checkpoint is whole or absent, and a failed write leaves the ones before it alone."""

import errno
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from safetensors.torch import save as tensor_bytes

from electra import fingerprints
from electra.engine import checkpoint
from electra.engine.checkpoint import Keeping
from electra.errors import UserError
from processes import run_python
from runs import train_tiny


def save(folder: Path, step: int, keep: int = 2) -> None:
    checkpoint.save_checkpoint(
        folder, step, {"w": torch.full((1000,), float(step))}, {"w/m": torch.zeros(3)}, {"step": step}, Keeping(keep)
    )


def test_round_trip_and_keep(tmp_path: Path) -> None:
    for step in (1, 2, 10):
        save(tmp_path, step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000010"]
    found = checkpoint.latest_checkpoint(tmp_path)
    assert found is not None and checkpoint.step_of_checkpoint(found) == 10
    model, optimizer, state = checkpoint.load_checkpoint(found)
    assert torch.equal(model["w"], torch.full((1000,), 10.0))
    assert list(optimizer) == ["w/m"] and state == {"step": 10}


def test_what_a_kill_left_is_no_checkpoint(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / ".step-00000002.partial").mkdir()
    assert checkpoint.latest_checkpoint(tmp_path) == tmp_path / "step-00000001"


EVERY_FILE = ["model.safetensors", "optimizer.safetensors", "state.json", "checksums.json"]


def flip(content: bytes) -> bytes:
    """One bit, of a tensor's last value or a sign behind the middle of a JSON file."""
    at = len(content) - 3
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda content: content[: len(content) // 2],
    "flipped": flip,
    "empty": lambda content: b"",
    "another-shape": lambda content: b"[[]]",
}


@pytest.mark.parametrize("name", EVERY_FILE)
@pytest.mark.parametrize("kind", [*DAMAGES, "missing"])
def test_damage_is_named_in_one_line(tmp_path: Path, name: str, kind: str) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    path = tmp_path / "step-00000002" / name
    content = path.read_bytes()
    path.unlink()
    if kind != "missing":
        path.write_bytes(DAMAGES[kind](content))
    with pytest.raises(UserError, match=f"step-00000002.*damaged.*{name}|{name}: damaged") as caught:
        checkpoint.load_checkpoint(tmp_path / "step-00000002")
    assert "remove this folder to go on from the one before" in str(caught.value)
    checkpoint.load_checkpoint(tmp_path / "step-00000001")


def test_the_only_checkpoint_says_that_the_run_begins_anew_without_it(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / "step-00000001" / "checksums.json").unlink()  # as before there was such a file
    with pytest.raises(UserError, match=r"no checksums.json, .*; remove this folder to begin anew"):
        checkpoint.load_checkpoint(tmp_path / "step-00000001")


def test_tensors_that_would_broadcast_are_another_models() -> None:
    model = {"w": torch.zeros(3, 2), "b": torch.zeros(3)}
    checkpoint.require_same_tensors(Path("step-00000001"), dict(model), model)
    for found, message in (
        ({"w": torch.zeros(1, 2), "b": torch.zeros(3)}, r"w is float32 \[1, 2\], the model's is float32 \[3, 2\]"),
        ({"w": torch.zeros(3, 2), "b": torch.zeros(())}, r"b is float32 \[\]"),
        ({"w": torch.zeros(3, 2), "b": torch.zeros(3).double()}, r"b is float64 \[3\]"),
        ({"w": torch.zeros(3, 2)}, r"missing \['b'\]"),
        (model | {"c": torch.zeros(1)}, r"unknown \['c'\]"),
    ):
        with pytest.raises(UserError, match=message):
            checkpoint.require_same_tensors(Path("step-00000001"), found, model)


def test_a_run_that_was_enough_is_at_its_end_after_a_resume(tmp_path: Path) -> None:
    train_tiny(tmp_path, steps=6, enough_after=2)
    assert [path.name for path in checkpoint.list_checkpoints(tmp_path)] == ["step-00000001", "step-00000002"]
    train_tiny(tmp_path, steps=6, enough_after=9)
    assert len(checkpoint.list_checkpoints(tmp_path)) == 2
    train_tiny(tmp_path, steps=4)  # without an end of its own it has the steps that its stages have
    assert len(checkpoint.list_checkpoints(tmp_path)) == 4


def rewrite(checkpoint_folder: Path, name: str, content: bytes) -> None:
    """A file with other content, and with the checksum of that: as if it had been written so."""
    (checkpoint_folder / name).write_bytes(content)
    checksums = json.loads((checkpoint_folder / "checksums.json").read_text())
    checksums[name] = fingerprints.hash_bytes(content)
    (checkpoint_folder / "checksums.json").write_text(json.dumps(checksums))


def test_what_is_whole_but_not_this_runs_is_refused(tmp_path: Path) -> None:
    train_tiny(tmp_path)
    last, moments = tmp_path / "step-00000002", load_file(tmp_path / "step-00000002" / "optimizer.safetensors")
    state = json.loads((last / "state.json").read_text())
    with pytest.raises(UserError, match="of another run: config: a there, b now; remove this folder"):
        train_tiny(tmp_path, asked="b")
    one = next(name for name, value in load_file(last / "model.safetensors").items() if value.dim() == 1)
    half = {name: value for name, value in moments.items() if not name.endswith("exp_avg")}
    narrow = moments | {f"{one}/exp_avg": torch.zeros(1)}
    wild = load_file(last / "model.safetensors")
    wild[one][0] = math.nan
    for name, content, message in (
        ("optimizer.safetensors", tensor_bytes({}), "optimizer.safetensors is empty"),
        ("optimizer.safetensors", tensor_bytes(half), "optimizer state of .* does not fit"),
        ("optimizer.safetensors", tensor_bytes(narrow), f"optimizer state of {one} does not fit"),
        ("model.safetensors", tensor_bytes(wild), f"{one} is not finite"),
        ("state.json", json.dumps(state | {"steps": "many"}).encode(), "state.json: steps: expected a whole number"),
        ("state.json", json.dumps(state | {"place": [1]}).encode(), "state.json: place: expected an object"),
        ("state.json", json.dumps(state | {"more": 1}).encode(), "state.json: expected an object with asked, "),
    ):
        before = (last / name).read_bytes()
        rewrite(last, name, content)
        with pytest.raises(UserError, match=message) as caught:
            train_tiny(tmp_path, steps=3)
        assert "damaged checkpoint" in str(caught.value) and "\n" not in str(caught.value)
        rewrite(last, name, before)
    older = {name: value for name, value in state.items() if name != "best"}  # as before there was such a thing
    rewrite(last, "state.json", json.dumps(older).encode())
    train_tiny(tmp_path, steps=3)
    assert len(checkpoint.list_checkpoints(tmp_path)) == 3


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"weights are not finite after step 1 \(.*\); earlier"):
        train_tiny(tmp_path, rate=1e39)
    assert checkpoint.list_checkpoints(tmp_path) == []


def test_a_full_disk_leaves_earlier_checkpoints(tmp_path: Path) -> None:
    save(tmp_path, 1)
    # A limit on file size makes the kernel refuse the write as a full disk does.
    code = f"""
import resource, signal, torch
from pathlib import Path
from electra.engine import checkpoint
from electra.errors import UserError
from electra.workflows.bench.steps import RandomRows
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    keep = checkpoint.Keeping(1)
    checkpoint.save_checkpoint(Path({str(tmp_path)!r}), 2, {{"w": torch.zeros(1000)}}, {{}}, {{}}, keep)
except UserError as error:
    print(error)
"""
    ended = run_python(code)
    assert not ended.code, ended.err
    assert "cannot write the checkpoint" in ended.out and len(ended.out.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert torch.equal(checkpoint.load_checkpoint(tmp_path / "step-00000001")[0]["w"], torch.ones(1000))


def test_what_is_left_of_a_removal_that_failed_is_removed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = {"a": torch.zeros(1)}
    checkpoint.save_checkpoint(tmp_path, 1, tensors, tensors, {"step": 1}, Keeping(0))
    unlink = Path.unlink

    def fail(path: Path, missing_ok: bool = False) -> None:
        if path.parent.name == "step-00000001" and path.name == "optimizer.safetensors":
            raise OSError(errno.EIO, "planted")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", fail)
    with pytest.raises(OSError, match="planted"):
        checkpoint.save_checkpoint(tmp_path, 2, tensors, tensors, {"step": 2}, Keeping(1))
    assert [path.name for path in checkpoint.list_checkpoints(tmp_path)] == ["step-00000001", "step-00000002"]
    monkeypatch.undo()
    checkpoint.remove_old_checkpoints(tmp_path, Keeping(1))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002"]
