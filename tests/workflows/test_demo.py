"""The demo as a user runs it, with less pre-training."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from electra.engine.telemetry import read_metrics
from electra.errors import UserError
from electra.tasks.datasets.packages import PackageTask
from electra.workflows.demo import MANY_TEXTS, DemoConfig, demo, fingerprint_corpus, prepare_corpus


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
    assert "probabilities differ from ours by at most" in said and str(MANY_TEXTS) in said

    again = demo(DemoConfig(out=str(tmp_path / "demo"), minutes=2, compare="mlm", seeds=1))
    said = capsys.readouterr().out
    assert "taken as it is" in said
    assert json.loads((again / "summary.json").read_text()) == summary


def test_a_corpus_that_was_made_otherwise_is_refused(prepared: Path, tmp_path: Path) -> None:
    """What a demo left half-way: its data and labelled task, as ``corpus`` notes them."""
    shutil.copytree(prepared, tmp_path / "data")
    task = PackageTask(["a", "b"], ["x"], [0], ["y"], [1])
    (tmp_path / "packages.json").write_text(json.dumps(asdict(task)))
    asked = DemoConfig(out=str(tmp_path), vocab_size=1000)
    with pytest.raises(UserError, match="begun by an earlier version, or stopped while its corpus was made; choose"):
        prepare_corpus(asked, tmp_path)
    (tmp_path / "corpus.json").write_text(json.dumps(fingerprint_corpus(asked, tmp_path, tmp_path / "packages.json")))
    assert prepare_corpus(asked, tmp_path) == task
    with pytest.raises(UserError, match="vocabulary was made with --vocab-size 1000, not 2000; choose another --out"):
        prepare_corpus(replace(asked, vocab_size=2000), tmp_path)
    (tmp_path / "packages.json").write_text(json.dumps(asdict(replace(task, test_labels=[0]))))
    with pytest.raises(UserError, match="its task changed since they were made; choose another --out"):
        prepare_corpus(asked, tmp_path)
