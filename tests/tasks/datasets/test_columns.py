"""Files of tagged sentences: each format gives the same task, and mistakes are named by file, line and column."""

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from electra.errors import UserError
from electra.tasks.datasets.samples import Sentence
from electra.tasks.finetuning.tagging import Tagging, load_tagging

CONLL = "EU NNP B-ORG\nrejects VBZ O\n\n# # O\nin IN O\nU.S. NNP B-LOC\n"
SENTENCES = [Sentence(("EU", "rejects"), ("B-ORG", "O")), Sentence(("#", "in", "U.S."), ("O", "O", "B-LOC"))]


def written(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_bytes(content.encode())
    return path


def rows(sentences: Sequence[Sentence]) -> list[dict]:
    return [{"words": list(each.words), "tags": list(each.tags or ())} for each in sentences]


def read(path: Path, word: str = "", tag: str = "", **more: Path) -> tuple[Tagging, list[str]]:
    return load_tagging("mine", {"train": path, "dev": path, **more}, word, tag)


@pytest.mark.parametrize(("file", "counts"), [("train.txt", 8936), ("test.txt", 2012)])
def test_conll_2000_has_as_many_sentences_as_published(shared: Path, file: str, counts: int) -> None:
    folder = shared / "data" / "conll2000"
    task, notes = load_tagging("chunks", {"train": folder / "train.txt", "dev": folder / file}, "", "")
    assert len(task.sentences["dev"]) == counts and len(task.labels) == 22 and task.metrics[0] == "f1"
    assert sum(len(each.words) for each in task.sentences["dev"]) == {8936: 211727, 2012: 47377}[counts]
    assert [line.split(": ")[-1] for line in notes] == {8936: [], 2012: ["I-LST (2 words)"]}[counts]
    tags, _ = load_tagging("pos", {"train": folder / "train.txt", "dev": folder / file}, "1", "2")
    assert tags.metrics == ("accuracy",) and "NN" in tags.labels


@pytest.mark.parametrize(
    "content",
    [
        CONLL,
        "\ufeff" + CONLL.replace("\n", "\r\n"),
        CONLL.replace(" ", "\t"),
        CONLL.replace(" ", "  ").removesuffix("\n"),
        "-DOCSTART- -X- O\n\n" + CONLL.replace("\n\n", "\n \n-DOCSTART- -X- O\n\n\n"),
        "# sent_id = 1\n# text = EU rejects\n" + CONLL.replace(" ", "\t").replace("\n\n", "\n\n# newpar\n"),
        "# id 123-4 domain=news\n" + CONLL,
    ],
    ids=["spaces", "windows", "tabs", "wide", "documents", "universal", "identified"],
)
def test_columns_are_read_however_they_are_written(tmp_path: Path, content: str) -> None:
    path = written(tmp_path, "a.txt", content)
    task, notes = read(path)
    assert task.sentences["train"] == SENTENCES and notes == []
    assert task.labels == ("B-LOC", "B-ORG", "O") and task.spans and task.evaluated == ("dev",)
    assert read(path, "1", "-2")[0].labels == ("#", "IN", "NNP", "VBZ")
    assert read(path, "3", "1")[0].sentences["dev"][0] == Sentence(("B-ORG", "O"), ("EU", "rejects"))


def test_a_word_may_be_or_hold_any_space_but_the_separator(tmp_path: Path) -> None:
    path = written(tmp_path, "a.txt", "\u3000 X\na\u00a0b Y\n\u2028 X\n")
    assert read(path)[0].sentences["train"] == [Sentence(("\u3000", "a\u00a0b", "\u2028"), ("X", "Y", "X"))]
    path = written(tmp_path, "b.tsv", "New York\tX\n#a\tY\n")
    assert read(path)[0].sentences["train"] == [Sentence(("New York", "#a"), ("X", "Y"))]


def test_universal_dependencies_have_stretches_that_are_no_words(tmp_path: Path) -> None:
    lines = ["# generated", "1-2\tzum\t_", "1\tzu\tADP", "2\tdem\tDET", "2.1\tx\tX", "# a note", "3\t#\tSYM"]
    task, _ = read(written(tmp_path, "a.conllu", "\n".join(lines)), "2", "3")
    assert task.sentences["train"] == [Sentence(("zu", "dem", "#"), ("ADP", "DET", "SYM"))]


def test_tables_give_the_same_task(tmp_path: Path) -> None:
    lists = written(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows(SENTENCES)))
    parquet.write_table(pyarrow.Table.from_pylist(rows(SENTENCES)), tmp_path / "a.parquet")
    lines = [(" ".join(each.words), " ".join(each.tags or ())) for each in SENTENCES]
    commas = written(tmp_path, "a.csv", "words,tags\n" + "".join(f'"{words}",{tags}\n' for words, tags in lines))
    tabs = written(tmp_path, "a.tsv", "words\ttags\n" + "".join(f"{words}\t{tags}\n" for words, tags in lines))
    for path in (lists, tmp_path / "a.parquet", commas, tabs):
        assert read(path)[0].sentences["train"] == SENTENCES, path
    named = written(tmp_path, "b.tsv", tabs.read_text().replace("words\ttags", "tokens\tner"))
    assert read(named, "tokens", "ner")[0].sentences["train"] == SENTENCES


def test_numbers_bear_the_names_that_the_file_has_for_them(tmp_path: Path) -> None:
    table = pyarrow.Table.from_pylist([{"tokens": ["a", "b"], "ner": [1, 0]}])
    parquet.write_table(table, tmp_path / "bare.parquet")
    task, notes = read(tmp_path / "bare.parquet", "tokens", "ner")
    assert task.labels == ("0", "1") and "bare.parquet: tags are numbers without names" in notes[0]
    names = {"names": ["O", "B-X"], "_type": "ClassLabel"}
    for feature in ({"feature": names, "_type": "List"}, [names]):
        metadata = {"info": {"features": {"ner": feature}}}
        named = table.replace_schema_metadata({"huggingface": json.dumps(metadata)})
        parquet.write_table(named, tmp_path / "named.parquet")
        task, notes = read(tmp_path / "named.parquet", "tokens", "ner")
        assert task.sentences["dev"] == [Sentence(("a", "b"), ("B-X", "O"))] and notes == []


def test_a_test_file_needs_no_tags(tmp_path: Path) -> None:
    train = written(tmp_path, "train.txt", CONLL)
    for name, content in [("t.txt", "a\nb\n\nc"), ("t.conll", "a DT\nb NN\n\nc NN"), ("t.jsonl", '{"words": ["a"]}')]:
        task, _ = read(train, test=written(tmp_path, name, content))
        assert task.sentences["test"][0].words[0] == "a" and task.evaluated == ("dev",)
        assert all(each.tags is None for each in task.sentences["test"])
    assert read(train, test=train)[0].evaluated == ("dev", "test")


def test_tags_that_train_lacks_are_told(tmp_path: Path) -> None:
    dev = written(tmp_path, "dev.txt", "a DT B-MISC\nb NN I-MISC\nc NN I-MISC\n")
    _, notes = load_tagging("mine", {"train": written(tmp_path, "train.txt", CONLL), "dev": dev}, "", "")
    assert len(notes) == 1 and notes[0].startswith(f"{dev}: tags that ")
    assert notes[0].endswith("never predicted: B-MISC (1 words), I-MISC (2 words)")


@pytest.mark.parametrize(
    ("name", "content", "columns", "message"),
    [
        ("a.txt", "a X\nb Y\nc\n", ("", ""), r"a.txt, line 3: 1 columns, and 2 in .*a.txt, line 1"),
        ("a.txt", "\na\tX\nb\t\n", ("", ""), r"a.txt, line 3: no tag in column 2"),
        ("a.tsv", "a\tX\n\tX\n", ("", ""), r"a.tsv, line 2: no word in column 1"),
        ("a.txt", "a X\n", ("3", ""), r"a.txt, line 1: --word 3: 2 columns; 1 is the first, -1 the last"),
        ("a.txt", "a X\n", ("", "-3"), r"a.txt, line 1: --tag -3: 2 columns"),
        ("a.txt", "a X\n", ("0", ""), r"a.txt, line 1: --word 0: 2 columns"),
        ("a.txt", "a X\n", ("token", ""), r"a.txt, line 1: --word token: columns without names"),
        ("a.txt", "a\nb\n", ("", ""), r"a.txt, line 1: 1 columns, and words and tags both in column 1"),
        ("a.txt", "\n-DOCSTART- O\n", ("", ""), r"a.txt: no words"),
        ("a.jsonl", '{"words": [], "tags": []}', ("", ""), r"a.jsonl: no words"),
        ("a.txt", "a O\nb O\n", ("", ""), r"a.txt: all words have the tag 'O'; there is nothing to tell apart"),
        ("a.csv", "words,tags\na b,X\n", ("", ""), r"a.csv, line 2: 2 'words', and 1 'tags'"),
        ("a.csv", "words,tags\na b\n", ("", ""), r"a.csv, line 2: 1 fields, and 2 columns in the first line"),
        ("a.csv", "words,tags\na,X\n", ("text", ""), r"a.csv, line 2: no 'text': 'words', 'tags'"),
        ("a.tsv", "words\ttags\na\tX\n", ("text", ""), r"a.tsv, line 2: no 'text': 'words', 'tags'"),
        ("a.jsonl", '{"words": ["a", 5], "tags": ["X", "Y"]}', ("", ""), r"line 1: 'words' has 5 among its values"),
        ("a.jsonl", '{"words": ["a"], "tags": [null]}', ("", ""), r"line 1: 'tags' has None among its values"),
        ("a.jsonl", '{"words": ["a"], "tags": [""]}', ("", ""), r"line 1: value 1 of 'tags' is empty"),
        (
            "a.jsonl",
            '{"words": ["a"], "tags": 7}',
            ("", ""),
            r"line 1: 'tags' is a whole number: 7, and should be a list",
        ),
        ("a.jsonl", "{", ("", ""), r"a.jsonl, line 1: not JSON"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, name: str, content: str, columns: tuple[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(written(tmp_path, name, content), *columns)


def test_files_that_cannot_be_are_named(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("é X\nb Y\n".encode("latin-1"))
    (tmp_path / "cut.parquet").write_bytes(b"PAR1nothing")
    for name, message in [
        ("latin.txt", "latin.txt: not UTF-8 at byte 0"),
        ("cut.parquet", "cut.parquet: "),
        ("absent.txt", "absent.txt: No such file"),
    ]:
        with pytest.raises(UserError, match=message):
            read(tmp_path / name)


def test_other_columns_in_dev_than_in_train_are_named(tmp_path: Path) -> None:
    files = {"train": written(tmp_path, "train.txt", CONLL), "dev": written(tmp_path, "dev.txt", "a X\n")}
    with pytest.raises(UserError, match=r"dev.txt, line 1: 2 columns, and 3 in .*train.txt, line 1"):
        load_tagging("mine", files, "", "")


def test_comments_stand_between_sentences_and_are_told_by_their_width(tmp_path: Path) -> None:
    germeval = (
        "#\thttp://x.org/0\t[2009]\n1\tAnna\tB-PER\tO\n2\t#\tO\tO\n\n#\thttp://x.org/1\t[2010]\n1\tBonn\tB-LOC\tO\n"
    )
    task, _ = read(written(tmp_path, "a.txt", germeval), "2", "3")
    assert task.sentences["train"] == [Sentence(("Anna", "#"), ("B-PER", "O")), Sentence(("Bonn",), ("B-LOC",))]
    assert f"skipped 2: comment (first at {tmp_path / 'a.txt'}, line 1)" in task.accounts["train"]
    spaces = "#begin document (a/b); part 000\np  0  Anna  (PERSON)\n\np  0  ran  *\n\n#end document\n"
    task, _ = read(written(tmp_path, "b.conll", spaces), "3", "4")
    assert task.sentences["train"] == [Sentence(("Anna",), ("(PERSON)",)), Sentence(("ran",), ("*",))]
    tweets = "# O\n#best B-X\n\n#\nnow O\n"
    task, _ = read(written(tmp_path, "c.txt", tweets))
    assert task.sentences["train"] == [Sentence(("#", "#best"), ("O", "B-X")), Sentence(("now",), ("O",))]
    only = read(written(tmp_path, "d.txt", "#a X\n#b Y\n"))[0]
    assert only.sentences["train"] == [Sentence(("#a", "#b"), ("X", "Y"))]


def test_what_was_read_is_said(tmp_path: Path) -> None:
    path = written(tmp_path, "a.txt", "-DOCSTART- -X- O\n\n" + CONLL)
    assert read(path)[0].account("dev", preview=True) == [
        f"dev: {path}: 2 sentences, 5 words; O 3, B-ORG 1, B-LOC 1",
        "  words in column 1 of 3, tags in column 3",
        f"  skipped 1: mark of a document (first at {path}, line 1)",
        "  'EU/B-ORG rejects/O'",
        "  '#/O in/O U.S./B-LOC'",
    ]
    rows = '{"words": ["a", "b"]}\n{"words": ["c"], "tags": ["O"]}\n'
    task, notes = read(path, test=written(tmp_path, "t.jsonl", rows))
    assert task.evaluated == ("dev",) and "1 of 2 sentences have tags, so it is not judged" in notes[0]
    assert task.account("test", preview=True)[0].endswith("2 sentences, 3 words; O 1; sentences without tags 1")
    assert task.account("test", preview=True)[2:] == ["  'a b'", "  'c/O'"]


def test_tags_that_are_letters_or_numbers(tmp_path: Path) -> None:
    task, _ = read(written(tmp_path, "a.txt", "bueno S\nhouse E\n\nel S\n"))
    assert task.metrics == ("accuracy",)
    task, _ = read(written(tmp_path, "b.txt", "a 10\nb 9\nc 1\n"))
    assert task.labels == ("1", "9", "10")
    _, notes = read(written(tmp_path, "c.txt", "a NN\nb nn\n"))
    assert "tags that differ in case or spaces only: 'NN', 'nn'" in notes[0]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "a b X\nc\td Y\n", r"a.txt, line 2: a tab, and there are spaces between the columns of 'a b X'"),
        ("a.txt", "a\tX\nb Y\n", r"a.txt, line 2: 1 columns, and 2"),
        ("a.txt", "a x X\n# note\nb y Y\n", r"a.txt, line 2: 2 columns, and 3"),
        ("a.txt", "1 Anna X\n2 ran O\n\n1 No X\n2 more O\n", r"a.txt: the words only count, 1, 2, …; --word says"),
        ("a.txt", "a X\nb\0 Y\n", r"a.txt, line 2: a zero byte"),
        ("a.txt", "", r"a.txt: no words"),
        ("a.csv", "words,tags\na b,\"['X', 'Y']\"\n", r"a.csv, line 2: 'tags' is a list that was printed"),
        ("a.csv", "words,tags\n\"['a', 'b']\",X Y\n", r"a.csv, line 2: 'words' is a list that was printed"),
        ("a.jsonl", '{"words": ["a", ["b"]], "tags": ["X", "Y"]}', r"'words' has \['b'\] among its values"),
        ("a.jsonl", '{"words": {"a": 1}, "tags": ["X"]}', r"'words' is an object: .*, and should be a list"),
        ("a.jsonl", '{"words": ["\\ud800"], "tags": ["X"]}', r"line 1: 'words': text has half a surrogate pair"),
        ("a.jsonl", '{"words": ["a"], "tags": ["\\udfff"]}', r"line 1: 'tags': text has half a surrogate pair"),
        ("a.jsonl", '{"words": ["a"], "tags": [" "]}', r"line 1: value 1 of 'tags' is empty"),
        ("a.jsonl", '{"words": ["a"], "tags": [true]}', r"line 1: 'tags' has True among its values"),
    ],
)
def test_what_has_two_meanings_is_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(written(tmp_path, name, content))
