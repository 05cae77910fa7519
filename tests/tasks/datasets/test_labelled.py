"""A task of one's own: columns by name, labels discovered, mistakes named by file, line and column."""

import json
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from electra.errors import UserError
from electra.tasks.datasets.labelled import Columns, load_labelled
from electra.tasks.datasets.samples import Sample

ROWS = [{"text": 'He said "no", and\nleft', "label": "good"}, {"text": "b\tc", "label": "bad"}]


def written(folder: Path, name: str, rows: list[dict]) -> Path:
    path = folder / name
    if name.endswith(".jsonl"):
        path.write_text("".join(json.dumps(row) + "\n\n" for row in rows))
    elif name.endswith(".parquet"):
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        quoted = [[f'"{str(value).replace(chr(34), chr(34) * 2)}"' for value in row.values()] for row in rows]
        path.write_text("\ufeff" + "\r\n".join(",".join(row) for row in [list(rows[0]), *quoted]))
    return path


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_every_format_gives_the_same_task(tmp_path: Path, ending: str) -> None:
    files = {split: written(tmp_path, f"{split}.{ending}", ROWS) for split in ("train", "dev")}
    task = load_labelled("mine", files, Columns())
    assert task.kind == "class" and task.labels == ("bad", "good") and task.outputs == 2
    assert task.splits["dev"] == [Sample(ROWS[0]["text"], None, 1), Sample("b\tc", None, 0)]


def test_a_tsv_has_no_quotes(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('one\ttwo\ty\n"a\tb"\t1\nc\td\t2\n')
    path = tmp_path / "a.tsv"
    task = load_labelled("mine", {"train": path, "dev": path}, Columns("one", "two", "y"))
    assert task.splits["train"][0] == Sample('"a', 'b"', 0)


def test_scores_and_several_labels(tmp_path: Path) -> None:
    scores = written(tmp_path, "s.jsonl", [{"text": "a", "label": 1.5}, {"text": "b", "label": 2}])
    task = load_labelled("mine", {"train": scores, "dev": scores}, Columns())
    assert task.kind == "score" and [sample.label for sample in task.splits["dev"]] == [1.5, 2.0]
    many = written(tmp_path, "m.csv", [{"text": "a", "label": "x, y"}, {"text": "b", "label": ""}])
    task = load_labelled("mine", {"train": many, "dev": many}, Columns(), "labels")
    assert task.labels == ("x", "y") and [sample.label for sample in task.splits["dev"]] == [(1.0, 1.0), (0.0, 0.0)]


def test_a_test_file_needs_no_labels(tmp_path: Path) -> None:
    train, test = written(tmp_path, "t.jsonl", ROWS), written(tmp_path, "p.jsonl", [{"text": "z"}])
    task = load_labelled("mine", {"train": train, "dev": train, "test": test}, Columns())
    assert task.splits["test"] == [Sample("z", None, None)] and task.evaluated == ["dev"]


@pytest.mark.parametrize(
    ("dev", "columns", "message"),
    [
        (
            [{"text": "a", "label": "odd"}],
            Columns(),
            r"dev.jsonl, line 1: label 'odd', which no row of the train split has",
        ),
        ([{"text": "a"}], Columns(), r"dev.jsonl, line 1: no 'label': 'text'"),
        ([{"text": "a", "label": "bad"}], Columns(pair="other"), r"train.jsonl, line 1: no 'other': 'text', 'label'"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, dev: list[dict], columns: Columns, message: str) -> None:
    files = {"train": written(tmp_path, "train.jsonl", ROWS), "dev": written(tmp_path, "dev.jsonl", dev)}
    with pytest.raises(UserError, match=message):
        load_labelled("mine", files, columns)


def test_files_that_cannot_be_are_named(tmp_path: Path) -> None:
    good = written(tmp_path, "good.jsonl", ROWS)
    (tmp_path / "bad.jsonl").write_text('{"text": "a", "label": "b"}\n{no\n')
    (tmp_path / "latin.csv").write_bytes("text,label\né,1\n".encode("latin-1"))
    (tmp_path / "cut.parquet").write_bytes(b"PAR1nothing")
    (tmp_path / "empty.csv").write_text("text,label\n")
    (tmp_path / "one.csv").write_text("text,label\na,x\nb,x\n")
    for name, message in [
        ("bad.jsonl", "bad.jsonl, line 2: not JSON"),
        ("latin.csv", "latin.csv: not UTF-8 at byte"),
        ("cut.parquet", "cut.parquet: damaged or no such format"),
        ("absent.csv", "absent.csv: No such file"),
        ("data.xlsx", "data.xlsx: not one of .csv, .tsv, .jsonl, .parquet"),
        ("empty.csv", "empty.csv: no rows"),
        ("one.csv", "one.csv: all rows have the label 'x'"),
    ]:
        with pytest.raises(UserError, match=message):
            load_labelled("mine", {"train": tmp_path / name, "dev": good}, Columns())
