"""The demo as a user runs it, with less pre-training."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from electra.engine.telemetry import read_metrics
from electra.errors import UserError
from electra.tasks.datasets.packages import PackageTask
from electra.workflows.demo.corpus import prepare_corpus, record_corpus
from electra.workflows.demo.demo import DemoConfig, demo
from electra.workflows.package_task import MANY_TEXTS


@pytest.mark.slow
@pytest.mark.compiled
def test_the_whole_chain(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = demo(DemoConfig(out=str(tmp_path / "demo"), minutes=2, compare="mlm", seeds=1))
    said = capsys.readouterr().out
    summary = json.loads((out / "summary.json").read_text())
    assert set(summary["macro_f1"]) == {"encoder", "MLM", "random weights", "bag of words"}
    assert all(0 < score < 1 for row in summary["macro_f1"].values() for scores in row.values() for score in scores)
    assert {"discriminator/auc", "discriminator/identity_auc", "generator/accuracy"} <= set(summary["held_out"])
    electra, mlm = (read_metrics(out / name / "metrics.jsonl")[-1] for name in ("electra", "mlm"))
    assert electra["step"] > 10 and abs(mlm["flops"] - electra["flops"]) <= mlm["flops"] / mlm["step"]
    for path in (
        "data/manifest.json",
        "electra/curves.png",
        "hub/discriminator/vocab.txt",
        "hub/encoder/model.safetensors",
        "hub/generator/config.json",
    ):
        assert (out / path).is_file()
    assert "probabilities differ from ours by at most" in said and str(MANY_TEXTS) in said

    again = demo(DemoConfig(out=str(tmp_path / "demo"), minutes=2, compare="mlm", seeds=1))
    said = capsys.readouterr().out
    assert "taken as it is" in said
    assert json.loads((again / "summary.json").read_text()) == summary


def test_a_corpus_that_was_made_otherwise_is_refused(prepared: Path, tmp_path: Path) -> None:
    """What a demo left half-way: its data and labelled task, as ``prepare_corpus`` records them."""
    shutil.copytree(prepared, tmp_path / "data")
    task = PackageTask(["a", "b"], ["x"], [0], ["y"], [1], ["z"], [0])
    (tmp_path / "packages.json").write_text(json.dumps(asdict(task)))
    with pytest.raises(UserError, match="begun by an earlier version, or stopped while its corpus was made; choose"):
        prepare_corpus(tmp_path, 1000)
    (tmp_path / "corpus.json").write_text(json.dumps(record_corpus(tmp_path, 1000)))
    assert prepare_corpus(tmp_path, 1000) == task
    with pytest.raises(UserError, match="vocabulary was made with --vocab-size 1000, not 2000; choose another --out"):
        prepare_corpus(tmp_path, 2000)
    (tmp_path / "packages.json").write_text(json.dumps(asdict(replace(task, test_labels=[1]))))
    with pytest.raises(UserError, match="its task changed since they were made; choose another --out"):
        prepare_corpus(tmp_path, 1000)
