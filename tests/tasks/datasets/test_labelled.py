"""A task of one's own: columns by name, labels discovered, mistakes named by file, line and column."""

import json
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from electra.errors import UserError
from electra.tasks.datasets.labelled import Columns, load_labelled, note_samples
from electra.tasks.datasets.samples import Sample, Task
from electra.tasks.finetuning.sequences import Sequences

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


def jsonl(folder: Path, name: str, *rows: dict) -> Path:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def labels_of(folder: Path, *labels: object, kind: str = "auto", **more: Path) -> Task:
    rows = [{"text": f"t{number}", "label": label} for number, label in enumerate(labels)]
    return load_labelled("mine", {"train": jsonl(folder, "train", *rows), **more}, Columns(), kind)


@pytest.mark.parametrize(
    ("labels", "kind", "message"),
    [
        (("a", ""), "auto", r"train.jsonl, line 2: 'label' is empty; rows without a label belong into --test"),
        (("a", " \t"), "class", r"line 2: 'label' is empty"),
        (("a", None), "auto", r"line 2: 'label' is null"),
        ((["a"], None), "auto", r"line 2: 'label' is null"),
        (("1", ""), "score", r"line 2: 'label' is empty"),
        ((["a"], ["a", ""]), "labels", r"line 2: 'label' has an empty label"),
        (([0, 1, 0], [1, 0, 0]), "labels", r"line 1: 'label' has '0' twice; a list has the names"),
        (([["a"]], ["b"]), "labels", r"a value of .*line 1: 'label' is a list"),
        (("['a', 'b']", "['c']"), "labels", r"line 1: 'label' is a list that was printed: \['a', 'b'\]"),
        (('["a"]', "[]"), "auto", r"is a list that was printed"),
        (([], []), "labels", r"train.jsonl: no row has a label under 'label'"),
        (("", ","), "labels", r"train.jsonl: no row has a label under 'label'"),
        (("a", ["b"]), "class", r"line 2: 'label' is a list, 'b'; --kind labels"),
        ((2.5, 2.5), "auto", r"train.jsonl: all scores are equal \(2.5\); there is nothing to predict"),
        ((1, 1), "score", r"all scores are equal"),
        (("nan", "1.5"), "score", r"line 1: label 'nan' is no number"),
        (("1e999", "1.5"), "score", r"line 1: label '1e999' is no number"),
        (("1_0", "1.5"), "score", r"line 1: label '1_0' is no number"),
        (("-1e308", "1e308"), "score", r"further apart than a number can say"),
        (("a", "\ud800"), "auto", r"train.jsonl, line 2: 'label': text has half a surrogate pair"),
    ],
)
def test_labels_that_are_none_are_named(tmp_path: Path, labels: tuple, kind: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        labels_of(tmp_path, *labels, kind=kind)


@pytest.mark.parametrize(
    ("labels", "kind", "names"),
    [
        (("inf", "fin"), "class", ("fin", "inf")),
        (("nan", "1.5"), "class", ("1.5", "nan")),
        (("infinity", "1e999", "0.5"), "class", ("0.5", "1e999", "infinity")),
        (("2_0.5", "1.5"), "class", ("1.5", "2_0.5")),
        (("\u0663", "\u0661.5"), "class", ("\u0661.5", "\u0663")),
        ((10, 9, 1), "class", ("1", "9", "10")),
        (("10", "-9", "1.0"), "class", ("-9", "1.0", "10")),
        (("10", "9", "x"), "class", ("10", "9", "x")),
        ((True, False), "class", ("false", "true")),
        ((1.5, 2), "score", ()),
        (("1e-3", "2"), "score", ()),
        ((["b", "a"], ["c"]), "labels", ("a", "b", "c")),
        (([10, 9], [1]), "labels", ("1", "9", "10")),
    ],
)
def test_what_labels_are_taken_for(tmp_path: Path, labels: tuple, kind: str, names: tuple) -> None:
    task = labels_of(tmp_path, *labels)
    assert (task.kind, task.labels) == (kind, names)


def test_a_list_holds_labels_whatever_is_in_their_names(tmp_path: Path) -> None:
    task = labels_of(tmp_path, ["a, b", "c"], ["a, b"], [])
    assert task.labels == ("a, b", "c")
    assert [sample.label for sample in task.splits["train"]] == [(1.0, 1.0), (1.0, 0.0), (0.0, 0.0)]


def test_test_is_judged_only_if_all_its_rows_have_labels(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": "x"}, {"text": "b"}, {"text": "c", "label": None}, {"text": "d", "label": ""}]
    partly, wholly = jsonl(tmp_path, "partly", *rows), jsonl(tmp_path, "wholly", rows[0])
    task = labels_of(tmp_path, "x", "y", test=partly)
    assert task.evaluated == [] and [sample.label for sample in task.splits["test"]] == [0, None, None, None]
    assert note_samples(task) == ["mine, test: 1 of 4 rows have a label, so it is predicted and not judged"]
    task = labels_of(tmp_path, "x", "y", test=wholly)
    assert task.evaluated == ["test"] and note_samples(task) == []
    empty = jsonl(tmp_path, "empty", {"text": "a", "label": ""}, {"text": "b", "label": ""})
    assert labels_of(tmp_path, "x", "y,x", kind="labels", test=empty).splits["test"][0].label is None
    none = jsonl(tmp_path, "none", {"text": "a", "label": ""}, {"text": "b", "label": "y"})
    assert labels_of(tmp_path, "x", "y,x", kind="labels", test=none).evaluated == ["test"]


def test_labels_that_are_likely_one_are_told(tmp_path: Path) -> None:
    notes = note_samples(labels_of(tmp_path, "pos", "pos ", "neg", "Neg"))
    assert len(notes) == 1 or len(notes) == 2
    assert any("'pos', 'pos '" in note for note in notes) and any("'Neg', 'neg'" in note for note in notes)


def test_what_was_read_is_said(tmp_path: Path) -> None:
    task = labels_of(tmp_path, "b", "a", "b")
    assert Sequences(task).account("train", preview=False) == [
        f"train: {tmp_path / 'train.jsonl'}: 3 rows; b 2, a 1",
        "  columns: 'text', 'label'",
    ]
    assert Sequences(task).account("train", preview=True)[2:] == ["  b: 't0'", "  a: 't1'", "  b: 't2'"]
    scores = Sequences(labels_of(tmp_path, 1, 2.5)).account("train", preview=True)
    assert scores[0].endswith("2 rows; scores from 1 to 2.5, mean 1.75") and scores[2] == "  1.0: 't0'"
    many = Sequences(labels_of(tmp_path, ["a", "b"], [])).account("train", preview=True)
    assert many[0].endswith("2 rows; a 1, b 1, none 1") and many[2:] == ["  a, b: 't0'", "  none: 't1'"]
    test = jsonl(tmp_path, "test", {"text": " "}, {"text": "b\n\x1b", "label": "a"})
    lines = Sequences(labels_of(tmp_path, "b", "a", test=test)).account("test", preview=True)
    assert lines[0].endswith("2 rows; a 1; without a label 1; an empty text in 1")
    assert lines[2:] == ["  no label: ' '", "  a: 'b\\n\\x1b'"]


def test_a_separator_that_is_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--columns.separator is empty"):
        load_labelled("mine", {"train": jsonl(tmp_path, "a", {"text": "a", "label": "b"})}, Columns(separator=""))
