"""A checkpoint is whole or absent, and a failed write leaves the ones before it alone."""

from pathlib import Path

import pytest
import torch

from electra.engine import checkpoint
from electra.errors import UserError
from processes import run_python


def save(folder: Path, step: int, keep: int = 2) -> None:
    checkpoint.save_checkpoint(
        folder, step, {"w": torch.full((1000,), float(step))}, {"w/m": torch.zeros(3)}, {"step": step}, keep
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


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_damage_is_named(tmp_path: Path, name: str) -> None:
    save(tmp_path, 1)
    path = tmp_path / "step-00000001" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match="step-00000001"):
        checkpoint.load_checkpoint(tmp_path / "step-00000001")


def test_a_full_disk_leaves_earlier_checkpoints(tmp_path: Path) -> None:
    save(tmp_path, 1)
    # A limit on file size makes the kernel refuse the write as a full disk does.
    code = f"""
import resource, signal, torch
from pathlib import Path
from electra.engine import checkpoint
from electra.errors import UserError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    checkpoint.save_checkpoint(Path({str(tmp_path)!r}), 2, {{"w": torch.zeros(1000)}}, {{}}, {{}}, 1)
except UserError as error:
    print(error)
"""
    ended = run_python(code)
    assert not ended.code, ended.err
    assert "cannot write the checkpoint" in ended.out and len(ended.out.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert torch.equal(checkpoint.load_checkpoint(tmp_path / "step-00000001")[0]["w"], torch.ones(1000))
