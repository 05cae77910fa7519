"""The demo's chain on a device of its own: stopped in the middle, resumed, exported."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from electra.engine import train
from electra.workflows import package_task
from electra.workflows.demo import demo, scores
from pretended import Seen
from runs import ENCODERS


@pytest.mark.slow
@pytest.mark.pretended
def test_the_whole_chain(tmp_path: Path, gpu: Seen, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """The preset's engine and data with a smaller encoder, uncompiled, for a few seconds."""
    recipe, step, calls = demo.configure_run, train.Loop.step, []

    def small(*names: Path) -> Any:
        asked = recipe(*names)
        engine = replace(asked.engine, compile="never", precision="float32", save_every=3, evaluate_every=0)
        return replace(asked, encoder=replace(ENCODERS["modern"], max_positions=128), engine=engine, held_out_rows=8)

    def stopped(loop: train.Loop, *given: Any) -> None:
        calls.append(loop.state.step)
        if len(calls) == 20:  # twelve of them were measured, and undone
            raise KeyboardInterrupt
        step(loop, *given)

    monkeypatch.setattr(demo, "configure_run", small)
    monkeypatch.setattr(scores, "LABELS", (10,))
    for name in ("TUNING", "RANDOM_TUNING"):
        monkeypatch.setattr(scores, name, replace(getattr(package_task, name), epochs=1))
    monkeypatch.setattr(train.Loop, "step", stopped)
    asked = demo.DemoConfig(out=str(tmp_path / "demo"), minutes=0.2, vocab_size=2000, seeds=1)
    with pytest.raises(KeyboardInterrupt):
        demo.demo(asked)
    assert list((tmp_path / "demo" / "electra" / "checkpoints").glob("step-*"))
    out = demo.demo(asked)
    assert calls[20] == 6, "it goes on from the last checkpoint"
    summary = json.loads((out / "summary.json").read_text())
    assert 0 < summary["held_out"]["discriminator/auc"] < 1 and set(summary["macro_f1"]) > {"encoder", "bag of words"}
    assert (out / "hub" / "discriminator" / "model.safetensors").is_file()
    assert "probabilities differ from ours by at most" in capsys.readouterr().out
