"""GLUE's own files: no row is lost to quotes, marks or missing headers, and what is not as published is said."""

from pathlib import Path

import pytest

from electra.errors import UserError
from electra.tasks.datasets import glue
from electra.tasks.datasets.samples import Sample


@pytest.mark.parametrize(
    ("name", "counts"),
    [("cola", (8551, 1043)), ("sst-2", (67349, 872)), ("mrpc", (3668, 408)), ("sts-b", (5749, 1500))],
)
def test_every_row_of_the_real_files_is_read(shared: Path, name: str, counts: tuple[int, int]) -> None:
    task, notes = glue.load_glue(name, shared / "data" / "glue" / glue.GLUE_TASKS[name].folder)
    assert (len(task.splits["train"]), len(task.splits["dev"])) == counts
    assert notes == []
    assert task.evaluated == ["dev"]
    assert all(sample.text.strip() for sample in task.splits["train"])


def mnli(folder: Path) -> None:
    texts = ["s1b", "s2b", "s1p", "s2p", 'He said "yes', "No"]
    header = ["index", "promptID", "pairID", "genre", "sentence1_binary_parse", "sentence2_binary_parse",
              "sentence1_parse", "sentence2_parse", "sentence1", "sentence2"]  # fmt: skip
    row = ["0", "1", "1", "fiction", *texts]
    files = {"train": ["label1"], "dev_matched": ["label1", "label2"], "dev_mismatched": ["label1", "label2"]}
    for name, more in files.items():
        lines = [[*header, *more, "gold_label"], [*row, *more, "neutral"], [*row, *more, "contradiction"]]
        (folder / f"{name}.tsv").write_text("\n".join("\t".join(line) for line in lines) + "\n")
    for name in ("test_matched", "test_mismatched"):
        (folder / f"{name}.tsv").write_text("\t".join(header) + "\n" + "\t".join(row) + "\n")
    (folder / "diagnostic.tsv").write_text("index\tsentence1\tsentence2\n0\ta\tb\n")


def test_mnli_has_five_files_and_the_diagnostic_set(tmp_path: Path) -> None:
    mnli(tmp_path)
    task, notes = glue.load_glue("mnli", tmp_path)
    assert task.splits["train"] == [Sample('He said "yes', "No", 2), Sample('He said "yes', "No", 0)]
    assert task.evaluated == ["dev", "dev-mismatched"]
    assert task.splits["diagnostic"] == [Sample("a", "b", None)]
    assert len(notes) == 6 and ", train: 2 rows, and 392,702 as published: incomplete, or another" in notes[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("sentence\tlabels\na\t1\n", r"train.tsv, line 1: no column 'label'; its columns: 'sentence', 'labels'"),
        ("sentence\tlabel\nb\n", r"no rows in train"),
        ("sentence\tlabel\tlabel\na\t1\t0\n", r"train.tsv, line 1: two columns are called 'label'"),
        ("sentence\tlabel\na\t1\nb\t1\n", r"train: all rows have the label '1'"),
        ("sentence\tlabel\na\t2\n", r"train.tsv, line 2: label '2'; SST-2 has 0, 1"),
        ("", "train.tsv, line 1: no column 'sentence'; its columns: none"),
    ],
)
def test_damage_is_named_by_file_line_and_column(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "train.tsv").write_text(content)
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\na\t1\n")
    (tmp_path / "test.tsv").write_text("index\tsentence\n0\ta\n")
    with pytest.raises(UserError, match=message):
        glue.load_glue("sst-2", tmp_path)


def test_broken_rows_of_labelled_files_are_left_out_and_counted(tmp_path: Path) -> None:
    header = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
    rows = "0\t1\t2\ta\tb\t0\n1\t3\t4\tcut\n2\t5\t6\tc\td\t1\n3\t7\t8\ta\ttab\tmore\t1\n"
    for name in ("train", "dev"):
        (tmp_path / f"{name}.tsv").write_text(header + rows)
    task, _ = glue.load_glue("qqp", tmp_path)
    assert task.splits["train"] == task.splits["dev"] == [Sample("a", "b", 0), Sample("c", "d", 1)]
    assert "skipped 2: row with more or fewer fields than columns (first at " in task.accounts["train"][1]
    assert task.accounts["train"][1].endswith("train.tsv, line 3: 4 fields, and 6 columns)")
    (tmp_path / "test.tsv").write_text("id\tquestion1\tquestion2\n0\ta\n")
    with pytest.raises(UserError, match=r"test.tsv, line 2: 2 fields, and 3 columns; the answers to a test file"):
        glue.load_glue("qqp", tmp_path)


def test_scores_are_finite_and_not_all_equal(tmp_path: Path) -> None:
    header = "sentence1\tsentence2\tscore\n"
    for scores, message in [(("nan", "1.0"), "line 2: score 'nan' is no number"), (("2.0", "2"), "are equal")]:
        for name in ("train", "dev"):
            rows = "".join(f"a\tb\t{score}\n" for score in scores)
            (tmp_path / f"{name}.tsv").write_text(header + rows)
        with pytest.raises(UserError, match=message):
            glue.load_glue("sts-b", tmp_path)


def test_quotes_and_byte_order_marks_are_text_and_nothing(tmp_path: Path) -> None:
    rows = 'Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n1\t1\t2\t"a\tb" said\r\n0\t1\t2\tc"\t"d\r\n'
    for name in ("train", "dev"):
        (tmp_path / f"{name}.tsv").write_bytes(("\ufeff" + rows).encode())
    task, _ = glue.load_glue("mrpc", tmp_path)
    assert task.splits["dev"] == [Sample('"a', 'b" said', 1), Sample('c"', '"d', 0)]
    assert task.symmetric and "test" not in task.splits


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train.tsv: no such file; GLUE's CoLA has train.tsv, dev.tsv, test.tsv"):
        glue.load_glue("cola", tmp_path)
