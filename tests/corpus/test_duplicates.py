"""Copies: word for word, line for line, nearly so; found alike however the corpus lies in files and memory."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from electra.corpus import duplicates, hashing
from electra.corpus.documents import Document, Skipped
from electra.corpus.duplicates import (
    BANDS,
    PERMUTATIONS,
    SHORTEST_LINE,
    CopyDetector,
    CopyRemover,
    mark_copies,
    remove_marked_lines,
    select_keyed_lines,
)
from electra.corpus.hashing import RUN_WORDS, split_words
from electra.errors import UserError

LONG = "the chef who ate a meal in the kitchen wrote another book"


def documents(texts: Sequence[str], source: str = "a.txt") -> list[Document]:
    return [Document(text, source, 100 * index) for index, text in enumerate(texts)]


def kept(folder: Path, wanted: CopyDetector, files: Sequence[Sequence[str]]) -> tuple[list[list[str]], Skipped]:
    """The texts of each file that stay, and what was left out: the two passes over a corpus."""
    parts = [documents(texts, f"{number}.txt") for number, texts in enumerate(files)]
    for number, part in enumerate(parts):
        outputs = {kind: (folder / f"{number}.{kind}.keys").open("wb") for kind in wanted.kinds}
        wanted.write_keys(part, outputs)
        for output in outputs.values():
            output.close()
    for kind in wanted.kinds:
        mark_copies(
            *([folder / f"{number}.{kind}.{what}" for number in range(len(parts))] for what in ("keys", "marks"))
        )
    assert not list(folder.glob("*.partial"))
    skipped, found = Skipped(), []
    for number, part in enumerate(parts):
        marked = {kind: np.fromfile(folder / f"{number}.{kind}.marks", bool) for kind in wanted.kinds}
        found.append([document.text for document in CopyRemover(wanted, marked).filter_documents(part, skipped)])
    return found, skipped


# Documents and lines -------------------------------------------------------------------------------------------------


def test_a_document_that_stands_before_is_left_out_in_its_file_and_in_those_behind(tmp_path: Path) -> None:
    files = [["one", "two", "one", "One", "one "], [], ["three", "two"], ["three", "four"]]
    found, skipped = kept(tmp_path, CopyDetector(("documents",)), files)
    assert found == [["one", "two", "One"], [], ["three"], ["four"]]
    assert skipped == {"copy of a document": 4}
    assert skipped.first == {"copy of a document": "0.txt, at 200"}


def test_a_copy_has_the_same_words_however_its_file_ends_lines(tmp_path: Path) -> None:
    files = [["the chef\nate a meal"], ["the chef\r\nate a meal\n"], ["the chef ate a meal"], ["the chefate a meal"]]
    found, skipped = kept(tmp_path, CopyDetector(("documents",)), files)
    assert found == [files[0], [], [], files[3]] and skipped == {"copy of a document": 2}


def test_the_words_of_a_long_text_are_hashed_as_those_of_a_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    text = " the chef\t\u2003ate  a\r\n meal" * 50
    whole = hashing.hash_words(text)
    assert whole == hashing.hash_words(" ".join(text.split())) != hashing.hash_words(text.replace(" ", ""))
    for length in range(1, 60):
        monkeypatch.setattr(hashing, "LONG_TEXT", length)
        assert hashing.hash_words(text) == whole


def test_long_lines_that_stand_before_are_taken_out(tmp_path: Path) -> None:
    other = f"{LONG}, and then it was read aloud"
    files = [
        [f"Heading\n{LONG}\nend", f"Heading\n  {LONG}\t\nmore\n{other}\n{other}"],
        [f"{LONG}\n\n{other}", f"Heading\n{LONG} indeed"],
    ]
    found, skipped = kept(tmp_path, CopyDetector(("lines",)), files)
    assert found == [[f"Heading\n{LONG}\nend", f"Heading\nmore\n{other}"], [f"Heading\n{LONG} indeed"]]
    assert skipped == {"copy of a line": 4, "document of copied lines alone": 1}
    assert skipped.first["copy of a line"] == "0.txt, at 100"
    assert skipped.first["document of copied lines alone"] == "1.txt, at 0"


@pytest.mark.parametrize(("length", "copies"), [(SHORTEST_LINE - 1, 2), (SHORTEST_LINE, 1)])
def test_a_line_is_a_copy_from_40_characters_on(tmp_path: Path, length: int, copies: int) -> None:
    line = "x" * length
    found, _ = kept(tmp_path, CopyDetector(("lines",)), [[f"a\n{line}", f"b\n{line}"]])
    assert "".join(found[0]).count(line) == copies


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from(["", "a", "  ", "x" * 40, "y" * 41, " " + "x" * 40]), max_size=8), max_size=8))
def test_lines_are_as_a_loop_over_a_set_would_leave_them(
    tmp_path_factory: pytest.TempPathFactory, given_lines: list[list[str]]
) -> None:
    seen: set[str] = set()
    expected = []
    for lines in given_lines:
        left = []
        for line in lines:
            stripped = line.strip()
            if len(stripped) < 40 or stripped not in seen:
                left.append(line)
            if len(stripped) >= 40:
                seen.add(stripped)
        if left == lines or "\n".join(left).strip():
            expected.append("\n".join(left))
    texts = ["\n".join(lines) for lines in given_lines]
    found, _ = kept(tmp_path_factory.mktemp("lines"), CopyDetector(("lines",)), [texts])
    assert found == [expected]


@given(st.text(max_size=300), st.data())
def test_a_text_without_no_lines_is_the_text(text: str, data: st.DataObject) -> None:
    count = sum(1 for _ in select_keyed_lines(text))
    assert remove_marked_lines(text, np.zeros(count, dtype=bool)) == text
    drawn = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    left = remove_marked_lines(text, np.array(drawn, dtype=bool))
    assert list(select_keyed_lines(left)) == [
        line for line, gone in zip(select_keyed_lines(text), drawn, strict=True) if not gone
    ]


def test_all_kinds_together(tmp_path: Path) -> None:
    pytest.importorskip("datasketch", reason="near copies need datasketch; pip install 'electra[near]'")
    text = " ".join(f"word{n}" for n in range(100))
    line = "a line of its own that stands in two of the texts here"
    own = " ".join(f"other{n}" for n in range(50))
    files = [[text, f"{line}\nfirst", text.upper()], [f"{line}\n{own}", text, "last"]]
    found, skipped = kept(tmp_path, CopyDetector(("documents", "lines", "near")), files)
    assert found == [[text, f"{line}\nfirst"], [own, "last"]]
    assert skipped == {"near copy of a document": 1, "copy of a line": 1, "copy of a document": 1}


# Marks ---------------------------------------------------------------------------------------------------------------

numbers = st.one_of(st.integers(0, 9), st.sampled_from([2**63, 2**64 - 1, 2**64 - 2]), st.integers(0, 2**64 - 1))


@pytest.mark.parametrize("at_once", [3, 1 << 24])
@settings(max_examples=80, deadline=None)
@given(st.lists(st.lists(numbers, max_size=12), min_size=1, max_size=6))
def test_marks_are_those_of_a_loop_over_a_set(
    tmp_path_factory: pytest.TempPathFactory, at_once: int, keys: list[list[int]]
) -> None:
    folder = tmp_path_factory.mktemp("keys")
    files = [folder / f"{number}.keys" for number in range(len(keys))]
    marks = [folder / f"{number}.marks" for number in range(len(keys))]
    for file, each in zip(files, keys, strict=True):
        np.array(each, dtype="<u8").tofile(file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "KEYS_AT_ONCE", at_once)
        mark_copies(files, marks)
    seen: set[int] = set()
    for file, each in zip(marks, keys, strict=True):
        expected = []
        for key in each:
            expected.append(key in seen)
            seen.add(key)
        assert np.fromfile(file, bool).tolist() == expected
    assert sorted(folder.iterdir()) == sorted(files + marks)


def test_many_keys_are_compared_a_share_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = np.random.default_rng(0).integers(0, 1 << 63, 100_000, dtype=np.uint64)
    for number, each in enumerate((keys, keys[::-1], keys[:10])):
        each.tofile(tmp_path / f"{number}.keys")
    sorted_at_once: list[int] = []
    argsort = np.argsort
    monkeypatch.setattr(np, "argsort", lambda a, **kind: sorted_at_once.append(len(a)) or argsort(a, **kind))
    monkeypatch.setattr(duplicates, "KEYS_AT_ONCE", 10_000)
    marks = [tmp_path / f"{number}.marks" for number in range(3)]
    mark_copies([tmp_path / f"{number}.keys" for number in range(3)], marks)
    assert sum(sorted_at_once) == 200_010 and max(sorted_at_once) < 12_000
    assert [np.fromfile(file, bool).sum() for file in marks] == [0, 100_000, 10]


# Near copies ---------------------------------------------------------------------------------------------------------


def runs(text: str) -> set[tuple[str, ...]]:
    words = split_words(text)
    return {tuple(words[n : n + RUN_WORDS]) for n in range(len(words) - RUN_WORDS + 1)}


def edited(text: str, count: int, draw: np.random.Generator) -> str:
    """The text with so many of its words made others."""
    words = text.split()
    for at in draw.choice(len(words), count, replace=False):
        words[at] = f"other{draw.integers(1 << 40)}"
    return " ".join(words)


@pytest.fixture(scope="module")
def pairs() -> list[tuple[str, str, float]]:
    """Texts, copies with planted edits, and how much alike they are: the share of common runs in all of both."""
    pytest.importorskip("datasketch", reason="near copies need datasketch; pip install 'electra[near]'")
    draw = np.random.default_rng(4)
    found = []
    for count in (0, 1, 2, 4, 6, 8, 12, 16, 24, 40):
        for _ in range(40):
            text = " ".join(f"w{n}" for n in draw.integers(0, 5000, 400))
            copy = edited(text, count, draw)
            found.append((text, copy, len(runs(text) & runs(copy)) / len(runs(text) | runs(copy))))
    return found


@pytest.mark.parametrize("likeness", BANDS)
def test_near_copies_are_found_as_often_as_their_bands_say(
    pairs: list[tuple[str, str, float]], likeness: float
) -> None:
    """1 − (1 − J^values)^bands, for pairs of likeness J; within 4 standard deviations of the sum over all pairs."""
    bands, values = BANDS[likeness]
    assert bands * values <= PERMUTATIONS
    wanted = CopyDetector(("near",), likeness)
    same = np.array(
        [(wanted.compute_near_keys(text) == wanted.compute_near_keys(copy)).any() for text, copy, _ in pairs]
    )
    alike = np.array([likeness for _, _, likeness in pairs])
    chance = 1 - (1 - alike**values) ** bands
    assert same.sum() == pytest.approx(chance.sum(), abs=4 * np.sqrt((chance * (1 - chance)).sum()))
    assert same[alike > likeness + 0.09].mean() > 0.9
    assert same[alike < likeness - 0.25].mean() < 0.1 if (alike < likeness - 0.25).any() else likeness < 0.8
    assert same[alike == 1].all()


def test_the_bands_are_those_that_datasketch_chooses() -> None:
    datasketch = pytest.importorskip("datasketch", reason="near copies need datasketch")
    for likeness, bands in BANDS.items():
        index = datasketch.MinHashLSH(likeness, PERMUTATIONS)
        assert (index.b, index.r) == bands


def test_near_copies_are_left_out_across_files(tmp_path: Path, pairs: list[tuple[str, str, float]]) -> None:
    text, copy, _ = next(pair for pair in pairs if 0.97 < pair[2] < 1)
    far, _, _ = pairs[-1]
    loud = re.sub(" ", ", ", text.upper()) + "!"
    found, skipped = kept(tmp_path, CopyDetector(("near",)), [[text, far], [], [copy, loud, "short"]])
    assert found == [[text, far], [], ["short"]]
    assert skipped == {"near copy of a document": 2}
    assert skipped.first == {"near copy of a document": "2.txt, at 0"}


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("the chef", "The chef!", True),
        ("the chef", "the cook", False),
        ("the chef", "the chef ate", False),
        ("!!!", "***", False),
        ("!!!", "!!!", True),
        ("", "the", False),
    ],
)
def test_texts_shorter_than_a_run_of_words_are_one_run(first: str, second: str, same: bool) -> None:
    pytest.importorskip("datasketch", reason="near copies need datasketch; pip install 'electra[near]'")
    keys = CopyDetector(("near",)).compute_near_keys
    assert bool((keys(first) == keys(second)).any()) is same


def test_what_cannot_be_found_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"--likeness 0.85: one of 0.9, 0.8, 0.7, 0.5"):
        CopyDetector(("near",), 0.85).validate()
    monkeypatch.setitem(sys.modules, "datasketch", None)
    CopyDetector(("documents", "lines")).validate()
    with pytest.raises(UserError, match=r"near copies need the package datasketch; pip install 'electra\[near\]'"):
        CopyDetector(("near",)).validate()


def test_no_documents_have_no_keys_of_any_kind(tmp_path: Path) -> None:
    wanted = CopyDetector(("documents", "lines", "near"))
    assert kept(tmp_path, wanted, [[]])[0] == [[]]
    assert all((tmp_path / f"0.{kind}.keys").read_bytes() == b"" for kind in wanted.kinds)
