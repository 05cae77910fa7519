"""The demo as a user runs it, with less pre-training."""

import json
from pathlib import Path

import pytest

from electra.engine.telemetry import read_metrics
from electra.workflows.demo import MANY, DemoConfig, demo


@pytest.mark.slow
@pytest.mark.compiled
def test_the_whole_chain(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = demo(DemoConfig(out=str(tmp_path / "demo"), minutes=2, compare="mlm", seeds=1))
    said = capsys.readouterr().out
    summary = json.loads((out / "summary.json").read_text())
    assert set(summary["macro_f1"]) == {"ELECTRA", "MLM", "random weights", "bag of words"}
    assert all(0 < score < 1 for row in summary["macro_f1"].values() for scores in row.values() for score in scores)
    assert {"discriminator/auc", "discriminator/identity_auc", "generator/accuracy"} <= set(summary["held_out"])
    electra, mlm = (read_metrics(out / name / "metrics.jsonl")[-1] for name in ("electra", "mlm"))
    assert electra["step"] > 10 and abs(mlm["flops"] - electra["flops"]) <= mlm["flops"] / mlm["step"]
    for path in (
        "data/manifest.json",
        "electra/curves.png",
        "hub/discriminator/vocab.txt",
        "hub/generator/config.json",
    ):
        assert (out / path).is_file()
    assert "probabilities differ from ours by at most" in said and str(MANY) in said

    again = demo(DemoConfig(out=str(tmp_path / "demo"), minutes=2, compare="mlm", seeds=1))
    said = capsys.readouterr().out
    assert "taken as it is" in said
    assert json.loads((again / "summary.json").read_text()) == summary
