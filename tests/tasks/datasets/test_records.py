"""Rows with named fields: what has two meanings, or none, is refused with its line; the rest is read as it stands."""

import datetime
import decimal
import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from electra.errors import UserError
from electra.tasks.datasets.labelled import Columns, load_labelled
from electra.tasks.datasets.records import read_table
from electra.tasks.datasets.values import get_text


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def texts(path: Path) -> list[str]:
    return [get_text(record, "text", where) for where, record in read_table(path).rows]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "text,label\nBad, bad film,0\n", r"line 2: 3 fields, and 2 columns in the first line; a field with"),
        ("a.csv", 'text,label\na,1\n"b\nc",1\nd\n', r"line 5: 1 fields, and 2 columns"),
        ("a.tsv", "text\tlabel\na\tb\t0\n", r"line 2: 3 fields, and 2 columns in the first line; a tab always ends"),
        ("a.tsv", "text\tlabel\na\rb\t0\n", r"line 2: 1 fields, and 2 columns"),
        ("a.csv", 'text,label\n"That" he said,0\n', r"""a.csv, line 2: ',' expected after '"'"""),
        ("a.csv", 'text,label\na,1\n"b,0\nc,1\n', r"a.csv, lines 3 to 4: unexpected end of data"),
        ("a.csv", 'text,label\na,1\n"b,0\n"c",1\n', r"""a.csv, lines 3 to 4: ',' expected after '"'"""),
        ("a.csv", "label,text,label\n1,a,2\n", r"line 1: two columns are called 'label'"),
        ("a.tsv", "text\ttext\na\tb\n", r"line 1: two columns are called 'text'"),
        ("a.csv", "text,label\na\0b,1\n", r"a.csv, line 2: a zero byte"),
        ("a.csv", "text,label\na,1\n".encode("utf-16-le"), r"a.csv, line 1: a zero byte; this is no UTF-8"),
        ("a.csv", "text,label\na,1\n".encode("utf-16"), r"a.csv: not UTF-8 at byte 0"),
        ("a.csv", "text,label\n", "a.csv: no rows"),
        ("a.csv", "", "a.csv: no rows"),
        ("a.jsonl", "", "a.jsonl: no rows"),
        ("a.jsonl", "\n \n", "a.jsonl: no rows"),
        ("a.jsonl", '{"text": "a", "label": 1, "text": "b"}', r"line 1: not JSON: the key 'text' stands there twice"),
        ("a.jsonl", '{"text": "a"}\n{"text": NaN}', r"line 2: not JSON: NaN is no JSON value"),
        ("a.jsonl", '{"text": -Infinity}', r"line 1: not JSON: -Infinity is no JSON value"),
        ("a.jsonl", '[{"text": "a"}]', r"line 1: no object with named fields"),
        ("a.jsonl", '{"text": ' + "[" * 100000, r"line 1: not JSON"),
    ],
)
def test_what_cannot_be_understood_is_named(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_table(written(tmp_path, name, content))


def test_what_can_be_understood_is_read_as_it_stands(tmp_path: Path) -> None:
    csv = '\ufefftext,label,\r\n"a, ""b""\nc",1,\r\n\r\nd "e" f,2,\r\n" g ",3,\r\n'
    table = read_table(written(tmp_path, "a.csv", csv))
    assert texts(table.path) == ['a, "b"\nc', 'd "e" f', " g "] and table.columns == ("text", "label", "")
    assert table.account()[1:] == [
        "columns: 'text', 'label', ''",
        f"skipped 1: blank line (first at {table.path}, line 4)",
    ]
    assert [where for where, _ in table.rows] == [f"{table.path}, line {line}" for line in (2, 5, 6)]
    assert texts(written(tmp_path, "mac.csv", "text,label\ra,1\rb,2\r")) == ["a", "b"]
    assert texts(written(tmp_path, "a.tsv", 'text\tlabel\n"a\t1\n')) == ['"a']
    assert texts(written(tmp_path, "long.csv", f"text,label\n{'ab ' * 70000},1\n")) == ["ab " * 70000]
    assert texts(written(tmp_path, "a.jsonl", '{"text": "a\\u2028"}\r\n\r\n{"text": "\U0001f600"}')) == [
        "a\u2028",
        "\U0001f600",
    ]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "null"),
        (5, "a whole number: 5"),
        (True, "true or false: True"),
        (["a", "b"], "a list"),
        ({"de": "a"}, "an object"),
        ([{"word": "a"}], "a list"),
        (b"a", "of type bytes"),
        (decimal.Decimal("1.50"), "of type Decimal: 1.50"),
        (datetime.date(2020, 1, 1), "of type date: 2020-01-01"),
        (datetime.datetime(2020, 1, 1, 12), "of type datetime"),
        (datetime.timedelta(hours=1), "of type timedelta: 1:00:00"),
    ],
)
def test_a_text_is_a_text(tmp_path: Path, value: Any, kind: str) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"text": [value], "label": ["x"]}), path)
    with pytest.raises(UserError, match=rf"a.parquet, row 0: 'text' is {kind}.*"):
        texts(path)


@pytest.mark.parametrize("value", [datetime.time(12), decimal.Decimal("2"), b"x", {"a": 1}, float("nan")])
def test_a_label_is_a_text_or_a_number(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"text": ["a"], "label": [value]}), path)
    with pytest.raises(UserError, match=r"a.parquet, row 0: 'label' is .*, and should be a text or a number"):
        load_labelled("mine", {"train": path}, Columns())


def test_columns_of_other_types_than_texts_are_read_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    coded = pyarrow.array(["x", "y", "x"]).dictionary_encode()
    wide = pyarrow.array(["a", "b", "c"], pyarrow.large_string())
    parquet.write_table(pyarrow.table({"text": wide, "label": coded}), path)
    assert load_labelled("mine", {"train": path}, Columns()).labels == ("x", "y")


def named(path: Path, values: list[Any], feature: object) -> Path:
    table = pyarrow.table({"text": [f"t{n}" for n in range(len(values))], "label": values})
    content = feature if isinstance(feature, bytes) else json.dumps({"info": {"features": {"label": feature}}})
    parquet.write_table(table.replace_schema_metadata({"huggingface": content}), path)
    return path


def test_numbers_of_classes_bear_their_names_everywhere(tmp_path: Path) -> None:
    names = {"names": ["neg", "pos"], "_type": "ClassLabel"}
    path = named(tmp_path / "a.parquet", [0, 1], names)
    assert load_labelled("mine", {"train": path}, Columns()).labels == ("neg", "pos")
    several = named(tmp_path / "b.parquet", [[0, 1], [], [1]], {"feature": names, "_type": "List"})
    task = load_labelled("mine", {"train": several}, Columns())
    assert task.kind == "labels" and [s.label for s in task.splits["train"]] == [(1.0, 1.0), (0.0, 0.0), (0.0, 1.0)]
    test = named(tmp_path / "c.parquet", [-1, -1], names)
    assert load_labelled("mine", {"train": path, "test": test}, Columns()).evaluated == []
    with pytest.raises(UserError, match=r"c.parquet, row 0: 'label' is null; rows without a label belong into --test"):
        load_labelled("mine", {"train": test}, Columns())
    with pytest.raises(UserError, match=r"row 1: 'label' is 2, and the file has names for 0 to 1"):
        load_labelled("mine", {"train": named(tmp_path / "d.parquet", [0, 2], names)}, Columns())


@pytest.mark.parametrize("feature", ["names", [], [5], {"names": 5}, {"feature": []}, None])
def test_a_description_of_another_shape_names_nothing(tmp_path: Path, feature: object) -> None:
    assert load_labelled("mine", {"train": named(tmp_path / "a.parquet", [0, 1], feature)}, Columns()).labels == (
        "0",
        "1",
    )


def test_a_description_that_is_no_json_is_damage(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a.parquet: the description of its columns: not JSON"):
        read_table(named(tmp_path / "a.parquet", [0, 1], b"{"))
    with pytest.raises(UserError, match=r"b.parquet: two classes of column 'label' have one name: x, x"):
        read_table(named(tmp_path / "b.parquet", [0, 1], {"names": ["x", "x"]}))


def test_damaged_parquet_is_never_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pyarrow.table({"text": [f"text {n}" for n in range(100)], "label": [n % 2 for n in range(100)]})
    parquet.write_table(table, path, write_page_checksum=True, compression="none", use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[content.index(b"text 57") + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a.parquet: damaged .*CRC"):
        read_table(path)
    twice = pyarrow.Table.from_arrays([["a"], ["b"]], names=["text", "text"])
    parquet.write_table(twice, tmp_path / "twice.parquet")
    with pytest.raises(UserError, match=r"twice.parquet: two columns are called 'text'"):
        read_table(tmp_path / "twice.parquet")
    latin = pyarrow.Array.from_buffers(pyarrow.string(), 1, pyarrow.array([b"\xe9"]).buffers())
    parquet.write_table(pyarrow.table({"text": latin}), tmp_path / "latin.parquet")
    with pytest.raises(UserError, match=r"latin.parquet: damaged .*UTF8"):
        read_table(tmp_path / "latin.parquet")
