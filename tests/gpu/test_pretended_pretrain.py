"""Pre-training on a device of its own: nothing stays behind on the CPU, and nothing waits for it."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from compositions import EVERY, NAMES, batch, build, objective
from electra.dataset.layout import Packed
from electra.engine.optim import AdamW, Muon
from electra.engine.telemetry import read_metrics
from electra.engine.train import Loop
from electra.interchange.published import read_published
from electra.objectives.build import WarmedElectra
from electra.tokenization.training import train_tokenizer
from electra.workflows.pretrain import pretrain
from electra.workflows.pretraining.config import Phase
from pretended import Seen, WrongDevice, device
from published import publish_bert
from runs import ENCODERS, ENGINE, STEPS, config, trained

pytestmark = pytest.mark.pretended

CHOICES = ("tokens", "whole-words", "with-replacement")


def write_rows(table: torch.Tensor, values: torch.Tensor) -> None:
    """Indices may be on the CPU, the values may not."""
    table[torch.arange(3)] = values


def test_the_device_refuses_what_was_not_moved(gpu: Seen) -> None:
    moved, left = torch.ones(3, device=device()), torch.ones(3)
    assert moved.device.type == "pretended" and (moved + moved).device == moved.device and left.device.type == "cpu"
    for meet in (torch.add, torch.mul, lambda one, other: torch.cat([one, other]), write_rows):
        with pytest.raises(WrongDevice, match=r"on the device and \[\(3,\)\] on the CPU"):
            meet(moved, left)
    with pytest.raises(WrongDevice, match="numpy"):
        moved.numpy()
    assert not gpu.waits and float(moved.sum()) == 3 and sum(gpu.waits.values()) == 1
    before = sum(gpu.uploads.values())
    assert left.to(device()).device == moved.device and sum(gpu.uploads.values()) == before + 1
    assert torch.equal((moved + left.to(device())).cpu(), torch.full((3,), 2.0))


@pytest.mark.parametrize(("kind", "encoder"), EVERY, ids=NAMES)
def test_every_objective(prepared: Path, tmp_path: Path, gpu: Seen, kind: str, encoder: str) -> None:
    trained(config(prepared, tmp_path, kind, encoder))
    assert len(gpu.steps) == STEPS and gpu.waits


@pytest.mark.parametrize(("kind", "choose"), [("electra", each) for each in CHOICES] + [("electric", "tokens")])
def test_a_pass_makes_no_copy_between_devices(gpu: Seen, kind: str, choose: str) -> None:
    """What is moved in a pass would be moved in a recording as a CUDA graph, which forbids it."""
    pretrainer = build(objective(kind, "classic", choose=choose)).to(device())
    rows, progress = batch().to(device()), torch.ones((), device=device())
    divisors = {name: torch.ones((), device=device()) for name in pretrainer.all_terms}
    before = gpu.uploads.copy(), gpu.waits.copy()
    pretrainer(rows, divisors, True, progress)
    assert (gpu.uploads, gpu.waits) == before


CHANGES: dict[str, dict[str, Any]] = {
    "muon": {"optimizer": Muon()},
    "google": {"compat": "google"},
    "packed": {"layout": Packed()},
    "whole-words": {"objective": objective("electra", "classic", choose="whole-words")},
    "rates": {"objective": objective("electra", "classic", mask_rate_end=0.3, temperature_end=0.5, temperature=2.0)},
    "unigram": {"objective": objective("electra", "classic", generator="unigram")},
    "micro-batches": {"engine": replace(ENGINE, micro_rows=2, activation_checkpointing=True)},
    "two-phases": {"phases": (Phase(steps=2, length=16, rows=8), Phase(steps=2, length=32, rows=4, goes_on=True))},
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_way_to_train(prepared: Path, tmp_path: Path, gpu: Seen, name: str) -> None:
    trained(config(prepared, tmp_path, **CHANGES[name]))


RUNS = [("electra", AdamW()), ("electra", Muon()), ("two-stage", AdamW()), ("warmed-electra", AdamW())]


@pytest.mark.parametrize(("kind", "optimizer"), RUNS, ids=[f"{kind}-{each.kind}" for kind, each in RUNS])
def test_a_run_goes_on_where_it_stopped(prepared: Path, tmp_path: Path, gpu: Seen, kind: str, optimizer: Any) -> None:
    """Before and after the change of two stages too. PyTorch's attention, which an uncompiled run on a GPU takes, has
    no addressed dropout."""
    asked = config(
        prepared, tmp_path, kind, engine=replace(ENGINE, save_every=1, keep=STEPS), optimizer=optimizer,
    )  # fmt: skip
    asked = replace(asked, encoder=replace(ENCODERS["classic"], attention_dropout=0.0))
    whole = trained(asked, tmp_path / "checkpoints")
    last = load_file(tmp_path / "checkpoints" / f"step-{STEPS:08d}" / "optimizer.safetensors")
    for step in (3, 1):
        for later in (tmp_path / "checkpoints").iterdir():
            if later.name > f"step-{step:08d}":
                shutil.rmtree(later)
        rest = trained(asked, tmp_path / "checkpoints")
        assert rest == whole[-len(rest) :]
        again = load_file(tmp_path / "checkpoints" / f"step-{STEPS:08d}" / "optimizer.safetensors")
        assert last.keys() == again.keys() and all(torch.equal(last[name], again[name]) for name in last)


def test_a_run_that_continues_an_encoder_of_another_vocabulary(prepared: Path, tmp_path: Path, gpu: Seen) -> None:
    """Its second stage takes layers of the first one's encoder, which are on the device by then."""
    train_tokenizer(["the import statement binds a name in the local namespace"] * 3, 80).save(tmp_path / "tokenizer")
    bert = publish_bert(tmp_path / "bert", tmp_path / "tokenizer")
    objective = WarmedElectra(first=0.5, generator_width=1, generator_depth=0.5)
    asked = config(prepared, tmp_path, objective=objective)
    asked = replace(asked, encoder=read_published(bert).config)
    found = trained(replace(asked, init=str(bert), init_generator="lowest"))
    assert len(gpu.steps) == STEPS and len(found) > STEPS


def test_a_run_fitted_to_a_time_with_a_probe(prepared: Path, tmp_path: Path, gpu: Seen) -> None:
    rows = [f"{word} {verb} the {noun},{word}" for word in ("module", "value") for verb in "abc" for noun in "xyz"]
    (tmp_path / "mine.csv").write_text("\n".join(["text,label", *rows]))
    asked = config(prepared, tmp_path / "run", hours=0.3 / 3600, probe=str(tmp_path / "mine.csv"))
    run = pretrain(asked)
    assert "probe/best" in read_metrics(run / "metrics.jsonl")[-1]


def test_a_run_whose_later_stage_is_on_the_device_before_its_tables_are_counted(
    prepared: Path, tmp_path: Path, gpu: Seen
) -> None:
    """Its steps are measured first, since the run is fitted to a time."""
    objective = WarmedElectra(first=0.5, embeddings="own")
    asked = config(
        prepared, tmp_path / "run", encoder="modern", objective=objective, init_embeddings="counted", hours=0.3 / 3600,
    )  # fmt: skip
    lines = read_metrics(pretrain(asked) / "metrics.jsonl")
    assert {line["phase"] for line in lines} == {0, 1} and "discriminator/auc" in lines[-1]


@pytest.mark.parametrize("name", ["classic", "modern", "muon", "google", "whole-words", "rates"])
def test_a_step_waits_once(prepared: Path, tmp_path: Path, gpu: Seen, name: str) -> None:
    """For whether its gradients are finite. The thread that reads ahead uploads rows, pinned where there is CUDA."""
    encoder = "modern" if name == "modern" else "classic"
    changes = {"engine": replace(ENGINE, log_every=0)} | CHANGES.get(name, {})
    trained(config(prepared, tmp_path, encoder=encoder, **changes))
    for waits, uploads in gpu.steps[1:-1]:
        assert sum(waits.values()) == 1, waits
        assert all(where.endswith(" move_tensor") for _, where in uploads), uploads


def test_a_checkpoint_waits_once(prepared: Path, tmp_path: Path, gpu: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """For whether the weights are finite, and with that for the copies, which pinned memory takes where there is
    CUDA."""
    save, waits = Loop.save, []

    def save_and_count(loop: Loop) -> None:
        before = gpu.waits.copy()
        save(loop)
        waits.append(gpu.waits - before)

    monkeypatch.setattr(Loop, "save", save_and_count)
    trained(config(prepared, tmp_path, engine=replace(ENGINE, save_every=1)), tmp_path)
    assert [sum(each.values()) for each in waits] == [1] * STEPS, waits
