"""What is left out on request, with the place where it stood: bounds on words and signs, evaluation text."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from electra.corpus.documents import Document, Skipped
from electra.corpus.filters import Filters, count_symbols, has_known_run, hash_evaluation_runs
from electra.corpus.hashing import LONG_TEXT, count_words, hash_runs, split_words
from electra.errors import UserError


def told(filters: Filters, texts: list[str]) -> tuple[list[str], Skipped]:
    """The texts that stay, and what was left out."""
    skipped = Skipped()
    documents = [Document(text, "a.txt", 1000 * index) for index, text in enumerate(texts)]
    return [document.text for document in filters.filter_documents(documents, skipped)], skipped


def test_filters_that_are_off_keep_everything() -> None:
    texts = ["", "!!!", "a", "word " * 100_000]
    assert told(Filters(), texts) == (texts, Skipped())


def test_bounds_on_words_hold_the_bounds_themselves() -> None:
    texts = ["one", "one two", "one  two\nthree", "one two three four", "a b c d e"]
    kept, skipped = told(Filters(fewest_words=2, most_words=4), texts)
    assert kept == texts[1:4]
    assert skipped == {"document of fewer than 2 words": 1, "document of more than 4 words": 1}
    assert skipped.first == {
        "document of fewer than 2 words": "a.txt, at 0",
        "document of more than 4 words": "a.txt, at 4,000",
    }
    assert told(Filters(fewest_words=3), texts)[0] == texts[2:]
    assert told(Filters(most_words=2), texts)[0] == texts[:2]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("plain words 123", 0),
        ("a, b.", 2),
        ("a_b", 1),
        ("{}[]<>=|", 8),
        ("naïve café", 0),
        ("cafe\u0301", 0),  # an accent by itself
        ("हिन्दी में", 0),  # vowel signs are no letters to Python
        ("อาหารไทยกินข้าวที่นี่", 0),
        ("吃饭。", 1),
        ("🙂 →", 2),
        ("a\tb\nc\u3000d", 0),
    ],
)
def test_symbols_are_neither_letters_nor_digits_nor_white_space(text: str, count: int) -> None:
    assert count_symbols(text) == count


def test_documents_with_too_many_symbols_are_left_out() -> None:
    texts = ["abcdefgh..", "abcdefg...", "", "words alone"]
    kept, skipped = told(Filters(most_symbols=0.2), texts)
    assert kept == [texts[0], *texts[2:]]
    assert skipped == {"document with more than 20% symbols": 1}
    assert skipped.first == {"document with more than 20% symbols": "a.txt, at 1,000"}
    assert told(Filters(most_symbols=0.0), texts)[0] == texts[2:]


# Evaluation text -----------------------------------------------------------------------------------------------------

QUESTION = "Where did the chef who cooked the meal for the young king learn to cook so well?"
RUSSIAN = "Где повар который приготовил обед для молодого короля научился так хорошо готовить рыбу и хлеб?"
FORMATS: dict[str, Callable[[str], str]] = {
    "a.txt": lambda text: f"{text}\n",
    "a.tsv": lambda text: f"question\tlabel\n{text}\t1\n",
    "a.csv": lambda text: f'id,text\n7,"{text}"\n',
    "a.jsonl": lambda text: json.dumps({"q": text, "label": 1}) + "\n",
    "b.jsonl": lambda text: json.dumps({"q": text, "label": 1}, ensure_ascii=False) + "\n",
    "a.json": lambda text: json.dumps({"data": [{"q": "A\nB", "text": text}]}),
    "b.json": lambda text: json.dumps({"data": [{"q": "A\nB", "text": text}]}, indent=2),
}
COMPRESSED = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


@pytest.mark.parametrize("compression", COMPRESSED)
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("text", [QUESTION, RUSSIAN], ids=["English", "Russian"])
def test_evaluation_text_is_found_whatever_the_format_of_its_file(
    tmp_path: Path, name: str, compression: str, text: str
) -> None:
    file = tmp_path / (name + compression)
    file.write_bytes(COMPRESSED[compression](FORMATS[name](text).encode()))
    runs, total, short = hash_evaluation_runs([str(file)], 13)
    assert total > short and (np.diff(runs.astype(object)) > 0).all()
    filters = Filters(overlap=runs)
    inside = f"A page. {text.upper().replace(' ', ', ')} And more."
    kept, skipped = told(filters, ["Another page.", inside, " ".join(text.split()[:12])])
    assert kept == ["Another page.", " ".join(text.split()[:12])]
    assert skipped == {"document with 13 words in a row of evaluation text": 1}
    assert skipped.first == {"document with 13 words in a row of evaluation text": "a.txt, at 1,000"}


def test_lines_of_json_with_several_lines_of_text_keep_their_words_apart(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": QUESTION.replace(" ", "\n")}) + "\n")
    runs, _, _ = hash_evaluation_runs([str(tmp_path / "a.jsonl")], 13)
    assert has_known_run(QUESTION, runs, 13)


def test_a_backslash_in_plain_text_is_no_escape(tmp_path: Path) -> None:
    words = [f"word{n}" for n in range(13)]
    (tmp_path / "a.txt").write_text("\\".join(words))
    runs, _, _ = hash_evaluation_runs([str(tmp_path / "a.txt")], 13)
    assert has_known_run(" ".join(words), runs, 13)


def test_lines_and_those_too_short_to_be_found_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one two three\none two three four\n\na b c d e\n")
    (tmp_path / "b.txt").write_text("one two three four\n")
    runs, total, short = hash_evaluation_runs([str(tmp_path / name) for name in ("a.txt", "b.txt")], 4)
    assert (len(runs), total, short) == (3, 5, 2)
    assert hash_evaluation_runs([], 13)[1:] == (0, 0)
    assert Filters(overlap=hash_evaluation_runs([], 13)[0]).find_objection(QUESTION) is None


@given(st.lists(st.sampled_from("abc"), max_size=30), st.lists(st.sampled_from("abc"), max_size=30), st.integers(1, 6))
def test_texts_overlap_where_a_run_of_words_is_common(one: list[str], other: list[str], length: int) -> None:
    runs = {tuple(one[n : n + length]) for n in range(len(one) - length + 1)}
    common = any(tuple(other[n : n + length]) in runs for n in range(len(other) - length + 1))
    known = np.unique(hash_runs(split_words(" ".join(one)), length))
    assert (len(known) > 0 and has_known_run("; ".join(other), known, length)) is common


def test_the_first_objection_is_the_one_that_is_counted() -> None:
    kept, skipped = told(Filters(fewest_words=3, most_symbols=0.1), ["!!", "!! ?? !!", "three plain words"])
    assert kept == ["three plain words"]
    assert skipped == {"document of fewer than 3 words": 1, "document with more than 10% symbols": 1}


def test_evaluation_files_that_are_no_lines_or_not_there_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"a.parquet: evaluation text is read as lines; give .txt"):
        hash_evaluation_runs([str(tmp_path / "a.parquet")], 13)
    with pytest.raises(UserError, match=r"b.txt: No such file"):
        hash_evaluation_runs([str(tmp_path / "b.txt")], 13)
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"some text " * 1000)[:-20])
    with pytest.raises(UserError, match=r"c.txt.gz: "):
        hash_evaluation_runs([str(tmp_path / "c.txt.gz")], 13)


def test_words_of_a_long_text_are_counted_as_those_of_a_short_one() -> None:
    text = "one  two\u3000three\x1cfour\nfive "
    assert count_words(text) == len(text.split()) == 5
    assert count_words(text * (LONG_TEXT // len(text) + 1)) == 5 * (LONG_TEXT // len(text) + 1)
