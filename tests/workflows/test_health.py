"""Faults planted into real runs: the run says so, once, and goes on."""

from dataclasses import replace
from pathlib import Path

import pytest

from electra.corpus.prepare import PrepareConfig, prepare
from electra.corpus.train_tokenizer import TokenizerConfig, tokenizer
from electra.engine.optim import AdamW, LinearDecay
from electra.engine.telemetry import read_metrics
from electra.engine.train import Engine
from electra.model.config import ClassicConfig
from electra.objectives.build import Electra
from electra.objectives.terms import Detection
from electra.workflows.pretrain import pretrain
from electra.workflows.pretraining.config import Phase, PretrainConfig

ENCODER = ClassicConfig(hidden_size=32, layers=2, heads=2, intermediate_size=64, embedding_size=16, max_positions=32)


def config(data: Path, out: Path, steps: int, **changes: object) -> PretrainConfig:
    base = PretrainConfig(
        data=str(data),
        out=str(out),
        encoder=ENCODER,
        objective=Electra(generator_width=0.5),
        optimizer=AdamW(learning_rate=2e-3),
        schedule=LinearDecay(warmup=5),
        phases=(Phase(steps=steps, length=32, rows=8),),
        engine=Engine(compile="never", log_every=10, evaluate_every=0, save_every=0),
        held_out_rows=8,
    )
    return replace(base, **changes)


def told(out: Path, capsys: pytest.CaptureFixture) -> list[str]:
    """The kinds of what was recorded, each of which was printed once."""
    said = capsys.readouterr().err
    lines = [line for line in read_metrics(out / "metrics.jsonl") if line["split"] == "verdict"]
    assert all(said.count(f"warning: {line['message']}") == 1 for line in lines)
    assert said.count("warning: ") == len(lines)
    return [line["kind"] for line in lines]


@pytest.fixture(scope="module")
def monotonous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text that says the same again and again."""
    folder = tmp_path_factory.mktemp("monotonous")
    (folder / "text.txt").write_text("\n\n".join(f"{n} " + "yes no " * 40 for n in range(200)))
    given = {"data": (str(folder / "text.txt"),)}
    tokenizer(TokenizerConfig(**given, out=str(folder / "tokenizer"), vocab_size=50))
    prepare(PrepareConfig(**given, tokenizer=str(folder / "tokenizer"), out=str(folder / "data"), held_out=0.1))
    return folder / "data"


@pytest.mark.slow
def test_nothing_is_said_of_a_run_without_a_fault(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert told(pretrain(config(prepared, tmp_path / "run", 340)), capsys) == []


@pytest.mark.slow
def test_a_discriminator_that_collapses(prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    planted = config(prepared, tmp_path / "run", 340, optimizer=AdamW(learning_rate=0.1))
    assert told(pretrain(planted), capsys) == ["discriminator collapsed"]


@pytest.mark.slow
def test_a_generator_that_knows_the_text(monotonous: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    knows = {"objective": Electra(generator_width=1.0), "optimizer": AdamW(learning_rate=5e-3)}
    planted = config(monotonous, tmp_path / "run", 340, **knows)
    assert told(pretrain(planted), capsys) == ["generator too strong"]


def test_a_loss_that_does_not_reach_its_tower(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = Detection.logits
    monkeypatch.setattr(
        Detection, "logits", lambda self, tower, hidden, view: logits(self, tower, hidden.detach(), view)
    )
    planted = config(prepared, tmp_path / "run", 40)
    out = pretrain(planted)
    assert told(out, capsys) == ["unreached/discriminator"]
    pretrain(planted)
    assert len([line for line in read_metrics(out / "metrics.jsonl") if line["split"] == "verdict"]) == 1
    pretrain(replace(planted, out=str(tmp_path / "longer"), phases=(Phase(steps=60, length=32, rows=8),)))
    assert told(tmp_path / "longer", capsys) == ["unreached/discriminator"], "once, though it lasts"
