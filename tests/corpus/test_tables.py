"""Rows → Documents: tables, columnar files and data sets of the Hub; which column, which rows, and what is an error."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import datasets
import pyarrow
import pytest
from pyarrow import ipc, parquet

from electra.corpus import sources
from electra.corpus.documents import Skipped, Span, TextFormat
from electra.corpus.sources import TextSource
from electra.errors import UserError
from formats import ENDINGS, LETTERS, as_arrow_file, as_arrow_stream, as_parquet, of_parts, of_spans, texts


def test_quotes_enclose_a_field_in_csv_and_are_text_in_tsv(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'n,text\r\n1,"two\r\nlines, ""quoted"""\r\n2,plain\r\n')
    assert texts(tmp_path / "a.csv") == ['two\r\nlines, "quoted"', "plain"]
    (tmp_path / "a.tsv").write_bytes(b'text\tn\n"open\t1\nsaid, "no"\t2\n')
    assert texts(tmp_path / "a.tsv") == ['"open', 'said, "no"']


@pytest.mark.parametrize("write", [as_parquet, as_arrow_stream, as_arrow_file])
def test_columns_are_read_in_batches_and_rows_without_text_are_counted(
    tmp_path: Path, write: Callable[[Sequence[str | None]], bytes]
) -> None:
    documents = [None if n % 1000 == 7 else f"text {n}" for n in range(3000)]
    path = tmp_path / f"a{ENDINGS[write]}"
    path.write_bytes(write(documents))
    skipped = Skipped()
    assert texts(path, skipped) == [text for text in documents if text]
    assert skipped.lines() == [f"skipped 3: row has no text under 'text' (first at {path}, row 7)"]


@pytest.mark.parametrize(
    "kind",
    [
        pyarrow.string(),
        pyarrow.large_string(),
        pyarrow.string_view(),
        pyarrow.dictionary(pyarrow.int8(), pyarrow.string()),
    ],
    ids=str,
)
def test_every_kind_of_text_column_is_read(tmp_path: Path, kind: pyarrow.DataType) -> None:
    rows = pyarrow.table({"text": pyarrow.array(["a", "é", None, "a"], pyarrow.string()).cast(kind)})
    with ipc.new_stream(tmp_path / "a.arrow", rows.schema) as writer:
        writer.write_table(rows)
    parquet.write_table(rows, tmp_path / "a.parquet")
    assert texts(tmp_path / "a.arrow") == texts(tmp_path / "a.parquet") == ["a", "é", "a"]


def test_a_saved_data_set_is_a_folder_of_arrow_streams(tmp_path: Path) -> None:
    documents = [f"text {n}" for n in range(2500)]
    datasets.Dataset.from_dict({"text": documents}).save_to_disk(tmp_path / "saved", num_shards=2)
    (source,) = sources.find_sources([str(tmp_path / "saved")])
    assert len(source.spans) == 2
    assert [text for span in source.spans for text in texts(span.path)] == documents


def test_of_a_saved_data_set_what_its_own_files_name_is_read(tmp_path: Path) -> None:
    rows = datasets.Dataset.from_dict({"text": ["one", "two"]})
    datasets.DatasetDict({"train": rows, "test": rows}).save_to_disk(tmp_path / "both")
    for name in ("train/cache-ff1829c94136d4d9.arrow", "train/left-over.arrow", "old/data-00000-of-00001.arrow"):
        path = tmp_path / "both" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes((tmp_path / "both" / "test" / "data-00000-of-00001.arrow").read_bytes())
    skipped = Skipped()
    (source,) = sources.find_sources([str(tmp_path / "both")], skipped)
    assert [Path(span.path).parent.name for span in source.spans] == ["test", "train"]
    assert skipped["file that state.json does not name"] == 2
    assert skipped.first["folder that is hidden or not in its data set"].endswith("old")


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("state.json", "{", "damaged, so it is not known what belongs to the data set"),
        ("state.json", '{"_data_files": [1]}', "damaged: its data files are no list of names"),
        ("state.json", '{"_data_files": [{"filename": "data-2.arrow"}]}', "names 'data-2.arrow', which is not there"),
        ("state.json", '{"_data_files": [], "_indices_data_files": [{"filename": "i.arrow"}]}', "reads its rows in an"),
        ("dataset_dict.json", '{"splits": "train"}', "damaged: its splits are no list of names"),
        ("dataset_dict.json", '{"splits": ["train"]}', "names 'train', which is not there"),
    ],
)
def test_a_saved_data_set_that_is_not_whole_is_an_error(tmp_path: Path, file: str, content: str, said: str) -> None:
    datasets.Dataset.from_dict({"text": ["one"]}).save_to_disk(tmp_path / "saved")
    (tmp_path / "saved" / file).write_text(content)
    with pytest.raises(UserError) as raised:
        sources.find_sources([str(tmp_path / "saved")])
    assert str(raised.value).startswith(f"{tmp_path / 'saved' / file}: {said}")


def test_a_state_of_something_else_is_a_file_like_others(tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"text": ["one"]}).save_to_disk(tmp_path)
    for content in ("[]", '{"step": 3}'):
        (tmp_path / "state.json").write_text(content)
        (source,) = sources.find_sources([str(tmp_path)])
        assert len(source.spans) == 1


def test_rows_that_are_not_utf8_are_skipped_counted_and_located(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'n,text\n1,"a\nb"\n2,\xff\n\xff,c\n')
    skipped = Skipped()
    assert texts(tmp_path / "a.csv", skipped) == ["a\nb", "c"]
    assert skipped.lines() == [f"skipped 1: row is not UTF-8 (first at {tmp_path / 'a.csv'}, line 4)"]
    rows = pyarrow.table({"text": pyarrow.array([b"a", b"\xff", b"c"]).view(pyarrow.string())})
    parquet.write_table(rows, tmp_path / "a.parquet")
    with ipc.new_file(tmp_path / "a.arrow", rows.schema) as writer:
        writer.write_table(rows)
    for path in (tmp_path / "a.parquet", tmp_path / "a.arrow"):
        skipped = Skipped()
        assert texts(path, skipped) == ["a", "c"]
        assert skipped.lines() == [f"skipped 1: row has no text under 'text' (first at {path}, row 1)"]


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_a_column_that_is_not_text_is_counted_row_by_row(tmp_path: Path, name: str) -> None:
    write = as_parquet if name == "a.parquet" else as_arrow_stream
    (tmp_path / name).write_bytes(write(["a", "b"]))
    skipped = Skipped()
    assert texts(tmp_path / name, skipped, field="n") == []
    assert skipped.lines() == [f"skipped 2: row has no text under 'n' (first at {tmp_path / name}, row 0)"]


def test_short_rows_are_counted_and_blank_lines_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"n,text\n1,a\n2\n\n3\n4,b,more\n")
    skipped = Skipped()
    assert texts(tmp_path / "a.csv", skipped) == ["a", "b"]
    assert skipped.lines() == [f"skipped 2: row without a field 'text' (first at {tmp_path / 'a.csv'}, line 3)"]


@pytest.mark.parametrize("row", ['2,"the chef said', '2,"the chef" said', '2,"a ""b""'])
def test_a_quote_that_nothing_closes_is_an_error_and_takes_in_no_rows(tmp_path: Path, row: str) -> None:
    (tmp_path / "a.csv").write_text(f"n,text\n1,a\n{row}\n" + "3,more\n" * 50)
    with pytest.raises(
        UserError, match=r"a.csv, line 3: .*; a quote that begins a field must end it, and one within is doubled"
    ):
        texts(tmp_path / "a.csv")


def test_two_columns_of_the_name_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,n,text\na,1,b\n")
    twice = pyarrow.table([["a"], ["b"]], names=["text", "text"])
    parquet.write_table(twice, tmp_path / "a.parquet")
    for name in ("a.csv", "a.parquet"):
        with pytest.raises(UserError, match=f"{name}: two columns are called 'text'; their names must differ"):
            texts(tmp_path / name)


def test_a_field_above_the_limit_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'n,text\n1,a\n2,"' + b"word\n" * (1 << 24) + b'"\n')
    with pytest.raises(UserError, match=r"a.csv, line [\d,]+: field larger than field limit \(67108864\)"):
        texts(tmp_path / "a.csv")


@pytest.mark.parametrize("ending", [".csv", ".tsv"])
def test_a_table_in_utf16_has_no_column_of_the_name(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    path.write_text("text", encoding="utf-16-le")
    path.write_bytes(b"\xff\xfe" + path.read_bytes())
    with pytest.raises(UserError) as raised:
        texts(path)
    found = r"'\udcff\udcfet\x00e\x00x\x00t\x00'"
    assert str(raised.value) == f"{path}: no column 'text'; its columns: {found}. --field names the right one"


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.95])
@pytest.mark.parametrize("write", [as_parquet, as_arrow_stream, as_arrow_file])
def test_a_columnar_file_that_is_cut_off_is_an_error(
    tmp_path: Path, write: Callable[[Sequence[str]], bytes], share: float
) -> None:
    whole = write(LETTERS.split("\n"))
    path = tmp_path / f"a{ENDINGS[write]}"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UserError, match=f"^{path}: damaged or no such format: "):
        texts(path)


DAMAGED = """
import sys
from pathlib import Path
import random
from electra.errors import UserError
from electra.corpus import readers
from electra.corpus.documents import Skipped, Span, TextFormat
whole, path = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2])
said = 0
for trial in range(300):
    chance = random.Random(trial)
    damaged = bytearray(whole)
    for _ in range(3):
        damaged[chance.randrange(len(damaged))] = chance.randrange(256)
    path.write_bytes(damaged)
    try:
        list(readers.read_documents(Span(str(path), 0, len(damaged)), TextFormat(), Skipped()))
    except UserError as error:
        said += 1
assert said > 30
"""


@pytest.mark.parametrize("write", [as_parquet, as_arrow_stream, as_arrow_file])
def test_damage_within_a_columnar_file_does_not_take_the_process_down(
    tmp_path: Path, write: Callable[[Sequence[str]], bytes]
) -> None:
    whole, path = tmp_path / "whole", tmp_path / f"a{ENDINGS[write]}"
    whole.write_bytes(write([f"text {n}" for n in range(300)]))
    done = subprocess.run([sys.executable, "-c", DAMAGED, whole, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1000:]


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """A folder of JSON lines in several files that ``datasets`` loads."""
    folder = tmp_path / "rows"
    folder.mkdir()
    for number in range(3):
        rows = [{"text": f"row {number}-{row}"} for row in range(4)] + [{"text": None}]
        (folder / f"{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_a_data_set_that_datasets_loads_is_streamed_shard_by_shard(hub: Path) -> None:
    (source,) = sources.find_sources([f"rows=hub:{hub}"])
    assert source == TextSource("rows", tuple(Span(f"hub:{hub}#{shard}/3") for shard in range(3)))
    work, skipped = sources.cut_parts([source], TextFormat()), Skipped()
    assert [len(part.spans) for part in work] == [1, 1, 1]
    assert of_parts(work, skipped=skipped) == [f"row {number}-{row}" for number in range(3) for row in range(4)]
    assert skipped.lines() == [f"skipped 3: row has no text under 'text' (first at hub:{hub}#0/3, row 4)"]


def test_what_datasets_cannot_load_is_an_error_of_one_line(hub: Path) -> None:
    for pattern, said in ((f"hub:{hub}/absent", "datasets cannot load this"), (f"hub:{hub}::test", "Bad split: test")):
        with pytest.raises(UserError, match=said) as raised:
            sources.find_sources([pattern])
        assert "\n" not in str(raised.value)
    (hub / "1.jsonl").write_text('{"text": "a"}\n{"text": 5 5}\n')
    with pytest.raises(UserError, match=f"^hub:{hub}: datasets cannot load this: "):
        of_spans([Span(f"hub:{hub}#1/3")])
    (hub / "1.jsonl").unlink()
    with pytest.raises(UserError, match=f"^hub:{hub}: "):
        of_spans([Span(f"hub:{hub}#2/3")])


def test_a_data_set_without_the_field_names_its_columns(hub: Path) -> None:
    with pytest.raises(UserError, match=f"^hub:{hub}: no column 'body'; its columns: 'text'. --field names the right"):
        of_spans([Span(f"hub:{hub}#0/3")], TextFormat(field="body"))


def test_a_page_with_another_checksum_is_never_read(tmp_path: Path) -> None:
    path, rows = tmp_path / "a.parquet", pyarrow.table({"text": [f"text {n}" for n in range(100)]})
    parquet.write_table(rows, path, write_page_checksum=True, compression="none", use_dictionary=False)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"text 57", b"text 67", 1))
    with pytest.raises(UserError, match=r"a.parquet: damaged .*CRC"):
        texts(path)
