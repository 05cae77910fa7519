"""The built-in corpus: what is collected from real packages, and what counts as a copy."""

from collections import Counter
from pathlib import Path

import pytest

from electra.corpus import builtin
from electra.corpus.builtin import (
    choose_split,
    is_in_held_out_file,
    name_package,
    remove_copies,
    split_passages,
)
from electra.corpus.docstrings import FEWEST_WORDS, clean_docstring, extract_docstrings
from electra.corpus.documents import Document
from electra.corpus.hashing import split_words
from electra.corpus.near_copies import find_near_copies

SOURCE = '''
"""A module about the weather in eight words or so."""

def rain(x):
    """Say how much rain falls.

    ----------
    It is measured in millimetres ==========
    """
    "short"

class Wind:
    """Blows."""

    async def gust(self):
        """The strongest wind of the last ten minutes, in metres a second."""

add_docstr(rain, """What is written in C has its documentation added like this, word by word.""")
'''


def test_docstrings_are_found_and_cleaned(tmp_path: Path) -> None:
    (tmp_path / "weather.py").write_text(SOURCE)
    found = extract_docstrings(("weather.py", str(tmp_path / "weather.py")))
    assert [(d.text.split("\n")[0], d.index) for d in found] == [
        ("A module about the weather in eight words or so.", 0),
        ("Say how much rain falls.", 1),
        ("The strongest wind of the last ten minutes, in metres a second.", 4),
        ("What is written in C has its documentation added like this, word by word.", 5),
    ]
    assert "---" not in found[1].text and "====" not in found[1].text
    (tmp_path / "broken.py").write_text('def """')
    assert extract_docstrings(("broken.py", str(tmp_path / "broken.py"))) is None


@pytest.fixture(scope="module")
def real() -> list[tuple[str, str]]:
    """Source files of some packages of the standard library."""
    names = ("json/", "email/", "argparse.py", "asyncio/", "unittest/")
    found = [file for file in builtin.list_python_files() if file[0].startswith(names)]
    assert len(found) > 50
    return found


def test_files_are_read_the_same_by_any_number_of_processes(
    real: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builtin, "list_python_files", lambda: real)
    one, two = (list(builtin.collect_docstrings(Counter(), workers)) for workers in (1, 2))
    assert one == two
    assert len(one) > 200
    assert all(len(split_words(document.text)) >= FEWEST_WORDS for document in one)
    assert {"json", "email", "argparse"} <= {name_package(document) for document in one}
    assert one == sorted(one, key=lambda document: (document.source, document.index))


def test_files_are_python_sources_of_the_standard_library_and_of_named_packages() -> None:
    sources = [source for source, _ in builtin.list_python_files()]
    assert len(sources) > 1000 and len(set(sources)) == len(sources)
    assert not any("/_vendor/" in source for source in sources)
    assert not {"electra", "test", "mypy", "_pytest", "hypothesis"} & {source.split("/")[0] for source in sources}
    assert {"argparse.py", "torch/nn/modules/linear.py", "numpy/__init__.py"} <= set(sources)


def test_about_the_asked_shares_of_the_files_are_dev_and_test() -> None:
    splits = Counter(choose_split(Document("", f"package/module{n}.py", 0)) for n in range(10_000))
    assert splits["test"] / 10_000 == pytest.approx(builtin.TEST_SHARE, abs=0.01)
    assert splits["dev"] / 10_000 == pytest.approx(builtin.DEV_SHARE, abs=0.01)
    one = [choose_split(Document(text, "torch/nn.py", n)) for n, text in enumerate("abc")]
    assert len(set(one)) == 1, "a file is on one side as a whole"


def test_copies_and_repeats_are_dropped_and_the_held_out_one_stays() -> None:
    inside, outside = ("held.py", "train.py")
    names = [f"module{n}.py" for n in range(200)]
    inside = next(name for name in names if is_in_held_out_file(Document("", name, 0)))
    outside = next(name for name in names if not is_in_held_out_file(Document("", name, 0)))
    text = "The quick brown fox jumps over the lazy dog while the other animals of the forest look on in wonder."
    other = "Nothing of this was ever said before by anyone, so it stays exactly as it is, word for word, here."
    documents = [
        Document(text, outside, 0),
        Document(text.upper().replace(",", ";"), outside, 1),
        Document(other, outside, 2),
        Document(f"{text}\n\n{other} It goes on with a sentence that is new, and so it is not dropped.", outside, 3),
        Document(text, inside, 0),
    ]
    skipped: Counter[str] = Counter()
    kept = list(remove_copies(documents, skipped))
    assert [(d.source, d.index) for d in kept if d.text == text] == [(inside, 0)]
    assert (outside, 2) in [(d.source, d.index) for d in kept]
    assert skipped["exact copy"] == 1
    assert skipped["near copy"] + skipped["made of repeated passages"] + skipped["exact copy"] == 5 - len(kept)


def test_passages_join_to_the_text() -> None:
    text = "a\n\nb\n  c\n  d\ne\n\n\nf"
    assert "\n".join(split_passages(text)) == text
    assert list(split_passages(text)) == ["a\n", "b\n  c\n  d", "e\n\n", "f"]


def test_near_copies_are_the_later_ones() -> None:
    base = " ".join(f"word{n}" for n in range(100))
    changed = base.replace("word50", "another").replace("word9", "WORD9,")
    half = " ".join(f"word{n}" for n in range(40)) + " " + " ".join(f"new{n}" for n in range(60))
    assert find_near_copies([base, changed, half, "word1 word2", "word1 word2"]).tolist() == [
        False,
        True,
        False,
        False,
        True,
    ]
    assert find_near_copies([]).tolist() == []


def test_clean_drops_what_is_not_text() -> None:
    assert clean_docstring("  Title\n  =====\n  text\ud800 goes on........... here") == "Title\ntext goes on... here"
