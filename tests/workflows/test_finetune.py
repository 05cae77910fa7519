"""``electra finetune`` on small tasks with small encoders: figures, predictions, a submission, and mistakes."""

import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from electra import cli
from electra.errors import UserError
from electra.tasks.datasets.labelled import Columns
from electra.workflows.finetune import FinetuneConfig, finetune
from finetuning import TUNING, config, sentences, write_csv
from pictures import rendering


def test_a_task_of_ones_own_is_learned(
    classic: Path, tmp_path: Path, files: dict, capsys: pytest.CaptureFixture
) -> None:
    with rendering():
        found = finetune(config(classic, tmp_path, files, seeds=2))
    figures = found["train"]["figures"]["dev/accuracy"]
    assert figures["median"] > 0.9 and len(figures["values"]) == 2 and figures["best"] >= figures["mean"]
    folder = tmp_path / "train" / "seed-1"
    predictions = json.loads((folder / "predictions.json").read_text())
    gold = {"dev": sentences(60, 2), "test": sentences(20, 3)}
    for split, rows in gold.items():
        right = np.mean(
            [name == ("yes" if there else "no") for name, (_, there) in zip(predictions[split], rows, strict=True)]
        )
        assert right > 0.85, split
    assert not (folder / "checkpoints").exists()
    assert (folder / "curves.png").read_bytes()[:4] == b"\x89PNG" and (folder / "curves.png").stat().st_size > 10_000
    said = capsys.readouterr().out
    assert "train, 2 seeds" in said and "dev/accuracy" in said and "±" in said
    assert json.loads((tmp_path / "train" / "summary.json").read_text())["figures"] == found["train"]["figures"]


def test_scores_and_several_labels(modern: Path, tmp_path: Path) -> None:
    rows = [(text, there, "w1" in text.split()) for text, there in sentences(300, 4)]
    scored = write_csv(tmp_path / "scored.csv", [{"text": t, "label": 2.5 + 2.0 * a} for t, a, _ in rows])
    both = write_csv(
        tmp_path / "both.csv",
        [{"text": t, "label": ";".join(["alpha"] * a + ["one"] * b)} for t, a, b in rows],
    )
    found = finetune(
        FinetuneConfig(model=str(modern), out=str(tmp_path / "s"), train=scored, dev=scored, tuning=TUNING)
    )
    assert found["scored"]["figures"]["dev/spearman"]["median"] > 0.8
    predictions = json.loads((tmp_path / "s" / "scored" / "seed-1" / "predictions.json").read_text())["dev"]
    assert 2 < min(predictions) < 3.2 and 3.8 < max(predictions) < 5, "in the labels' own units"
    found = finetune(
        FinetuneConfig(
            model=str(modern), out=str(tmp_path / "b"), train=both, dev=both, kind="labels",
            columns=Columns(separator=";"), tuning=TUNING,
        )
    )  # fmt: skip
    assert found["both"]["figures"]["dev/micro-f1"]["median"] > 0.8


def test_glue_as_the_server_takes_it(classic: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    glue = tmp_path / "glue"
    for folder in ("CoLA", "RTE"):
        (glue / folder).mkdir(parents=True)
    for split, count in (("train", 40), ("dev", 16)):
        rows = sentences(count, count)
        (glue / "CoLA" / f"{split}.tsv").write_text("".join(f"x\t{int(a)}\t\t{t}\n" for t, a in rows))
        (glue / "RTE" / f"{split}.tsv").write_text(
            "index\tsentence1\tsentence2\tlabel\n"
            + "".join(f"{i}\t{t}\t{t}\t{'entailment' if a else 'not_entailment'}\n" for i, (t, a) in enumerate(rows))
        )
    rows = sentences(9, 9)
    (glue / "CoLA" / "test.tsv").write_text(
        "index\tsentence\n" + "".join(f"{i}\t{t}\n" for i, (t, _) in enumerate(rows))
    )
    (glue / "RTE" / "test.tsv").write_text(
        "index\tsentence1\tsentence2\n" + "".join(f"{i}\t{t}\t{t}\n" for i, (t, _) in enumerate(rows))
    )
    found = finetune(
        FinetuneConfig(
            model=str(classic), out=str(tmp_path / "out"), task="glue", data=str(glue), tuning=replace(TUNING, epochs=1)
        )
    )
    assert set(found) == {"cola", "rte"}
    said = capsys.readouterr().out
    assert "40 rows, and 8,551 as published" in said and "CoLA matthews" in said and "not the paper's average" in said
    with zipfile.ZipFile(tmp_path / "out" / "submission.zip") as archive:
        assert archive.namelist() == ["CoLA.tsv", "RTE.tsv"]
        lines = archive.read("RTE.tsv").decode().splitlines()
    assert lines[0] == "index\tprediction" and len(lines) == 10
    assert {line.split("\t")[1] for line in lines[1:]} <= {"entailment", "not_entailment"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": ""}, "which model, and where to"),
        ({"train": "", "dev": ""}, "which task"),
        ({"dev": ""}, "--dev is missing: labelled texts to judge by"),
        ({"train": "no.csv"}, "no.csv: no such file"),
        ({"columns": Columns(text="text", label="topic")}, r"train.csv, line 2: no 'text': 'body', 'topic'"),
        ({"tuning": replace(TUNING, length=64)}, r"--tuning.length 64: .* reads 48 tokens at most"),
        ({"task": "colla", "train": "", "dev": "", "data": "x"}, r"--task colla; did you mean cola\?"),
        ({"task": "cola", "train": "", "dev": ""}, "--data is missing"),
    ],
)
def test_mistakes_are_named(classic: Path, tmp_path: Path, files: dict, changes: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        finetune(replace(config(classic, tmp_path / "out", files), **changes))
    assert not (tmp_path / "out").exists()


def test_a_model_without_a_tokenizer_is_named(classic: Path, tmp_path: Path, files: dict) -> None:
    shutil.copytree(classic, tmp_path / "bare")
    for name in ("tokenizer.json", "vocab.txt", "tokenizer_config.json"):
        (tmp_path / "bare" / name).unlink(missing_ok=True)
    with pytest.raises(UserError, match=r"bare: no tokenizer here"):
        finetune(config(tmp_path / "bare", tmp_path / "out", files))
    with pytest.raises(UserError, match=r"nowhere: no model here"):
        finetune(config(tmp_path / "nowhere", tmp_path / "out", files))


def test_the_command_line(classic: Path, tmp_path: Path, files: dict, capsys: pytest.CaptureFixture) -> None:
    arguments = [
        "finetune",
        str(classic),
        "--train",
        files["train"],
        "--dev",
        files["dev"],
        "--out",
        str(tmp_path / "o"),
    ]
    arguments += ["--columns.text", "body", "--columns.label", "topic", "--tuning.epochs", "1", "--tuning.length", "32"]
    assert cli.main(arguments) == 0 and "dev/accuracy" in capsys.readouterr().out
    assert cli.main([*arguments, "--tuning.lenght", "3"]) == 2
    assert "--tuning.length" in capsys.readouterr().err


def test_a_preview_shows_what_is_read_and_trains_nothing(
    tmp_path: Path, files: dict, capsys: pytest.CaptureFixture
) -> None:
    columns = ["--columns.text", "body", "--columns.label", "topic"]
    own = ["--train", files["train"], "--dev", files["dev"], *columns]
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(["finetune", *own, "--preview", "--out", str(tmp_path / "o")]) == 0
    shown = capsys.readouterr().out
    assert f"train: {files['train']}: 240 rows; " in shown and "columns: 'body', 'topic'" in shown
    text, there = sentences(1, 1)[0]
    assert f"  {'yes' if there else 'no'}: {text!r}" in shown
    on = [f"--on.{value[2:]}" if value.startswith("--") else value for value in own]
    assert cli.main(["evaluate", "--task", "probe", *on, "--preview"]) == 0
    assert capsys.readouterr().out == shown
    assert cli.main(["evaluate", "--task", "held-out", "--preview"]) == 2
    assert "--preview shows those of probe and similarity" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_json_stands_alone_whatever_is_said_of_the_files(
    classic: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    rows = "".join(f"{text}\t{there or 'true'}\n" for text, there in sentences(40, 0))
    train = tmp_path / "train.tsv"
    train.write_text("text\tlabel\n\n" + rows)
    arguments = [
        "evaluate",
        str(classic),
        "--task",
        "probe",
        "--on.train",
        str(train),
        "--on.dev",
        str(train),
        "--json",
    ]
    assert cli.main(arguments) == 0
    printed = capsys.readouterr()
    assert list(json.loads(printed.out)) == [str(classic)]
    assert "skipped 1: blank line" in printed.err
