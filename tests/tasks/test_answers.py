"""SQuAD's judgement against its definitions, restated word by word, and thresholds against all that there are."""

import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from electra.tasks import answers

WORDS = [
    "the",
    "a",
    "an",
    "The",
    "An",
    "cat",
    "Cat",
    "theme",
    "U.S.",
    "—",
    "“cat”",
    "it's",
    "½",
    "ß",
    "É",
    "-",
    "1,000",
]
texts = st.one_of(st.text(max_size=30), st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join))


def words(text: str) -> list[str]:
    """The words of a text: lower case, ASCII punctuation out, and then the articles, where no letter touches them."""
    kept = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    cut, word = [""], ""
    for letter in kept:  # runs of letters, digits and _, and what is between them
        inside = letter.isalnum() or letter == "_"
        word = letter if not cut[-1] or inside != (cut[-1][-1].isalnum()) else cut.pop() + letter
        cut.append(word)
    return "".join(" " if each in ("a", "an", "the") else each for each in cut).split()


def overlap(text: str, gold: str) -> float:
    given_words, gold_words = words(text), words(gold)
    same = 0
    left = list(gold_words)
    for word in given_words:
        if word in left:
            left.remove(word)
            same += 1
    if not same:
        return 0.0
    precision, recall = same / len(given_words), same / len(gold_words)
    return 2 * precision * recall / (precision + recall)


@settings(max_examples=500, deadline=None)
@given(texts, texts)
def test_exact_and_f1_are_their_definitions(text: str, gold: str) -> None:
    assert answers.normalize_answer(text).split() == words(text)
    assert answers.exact_match(text, gold) == float(words(text) == words(gold))
    assert answers.word_f1(text, gold, 0.0) == pytest.approx(overlap(text, gold))
    nothing = not words(text) and not words(gold)
    assert answers.word_f1(text, gold, 1.0) == pytest.approx(1.0 if nothing else overlap(text, gold))


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  U.S. Navy,\n", "us navy"),
        ("a theme an' another", "theme another"),
        ("“The Cat” — ½", "“ cat” — ½"),  # punctuation beyond ASCII stays, and an article next to it goes
        ("a-b the_c", "ab thec"),
        ("The", ""),
        ("...", ""),
    ],
)
def test_normal_forms(text: str, normal: str) -> None:
    assert answers.normalize_answer(text) == normal


def test_the_nearest_gold_answer_counts_for_each_figure() -> None:
    assert answers.score_answer("big cat", ["cat", "big dog here", "Big Cat!"], 0.0) == (1.0, 1.0)
    assert answers.score_answer("big cat", ["cat", "dog"], 0.0) == (0.0, pytest.approx(2 / 3))
    assert answers.score_answer("cat cat", ["cat"], 0.0) == (0.0, pytest.approx(2 / 3)), (
        "a word counts as often as it is there"
    )
    assert answers.score_answer("", ["cat"], 1.0) == (0.0, 0.0)
    assert answers.score_answer("", [""], 1.0) == (1.0, 1.0)
    assert answers.score_answer("the", ["a"], 0.0) == (1.0, 0.0), "as 1.1's script has it"


rows = st.lists(
    st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.booleans(), st.integers(-3, 3)), min_size=1, max_size=12
)


@settings(max_examples=300, deadline=None)
@given(rows)
def test_no_threshold_is_better_than_the_one_that_is_found(rows: list[tuple[float, bool, int]]) -> None:
    kept, answerable, differences = (np.array(each, dtype=float) for each in zip(*rows, strict=True))
    dropped = 1 - answerable
    figure = lambda threshold: np.where(differences > threshold, dropped, kept).mean()  # noqa: E731
    value, threshold = answers.find_best_threshold(kept, dropped, differences)
    tried = {each: figure(each) for each in [-4.0, *differences]}
    assert value == pytest.approx(max(tried.values()))
    assert figure(threshold) == pytest.approx(value), "ties are kept or dropped together"
    lowest = min(each for each in tried if tried[each] == pytest.approx(value))
    assert threshold == (lowest if lowest > -4 else np.nextafter(differences.min(), -np.inf))


def test_figures_are_those_at_the_threshold_that_is_best_for_f1() -> None:
    kept = np.array([[0.0, 0.9], [1.0, 1.0], [0.0, 0.0]])
    figures = answers.score_with_threshold(kept, [True, True, False], np.array([1.0, 0.0, 2.0]))
    assert figures == pytest.approx(
        {"f1": 2.9 / 3, "exact": 2 / 3, "best_f1": 2.9 / 3, "best_exact": 2 / 3, "threshold": 1.0}
    )
    predictions = [{"id": "x", "text": "cat", "score_null_minus_best": 1.0},
                   {"id": "y", "text": "dog", "score_null_minus_best": 1.5}]  # fmt: skip
    assert answers.select_answers(predictions, 1.0) == {"x": "cat", "y": ""}
    assert answers.select_answers([{"id": "x", "text": "cat"}], -5.0) == {"x": "cat"}


def test_where_an_answer_stands() -> None:
    context = "A cat. A cat\n sat; a Cat."
    assert answers.locate_answer(context, "cat", 2, 5) == (2, 5)
    assert answers.locate_answer(context, "cat", 3, 6) == (2, 5)
    assert answers.locate_answer(context, "cat", 8, 11) == (9, 12)
    assert answers.locate_answer(context, "cat sat", 9, 16) == (9, 17), "white space may differ"
    assert answers.locate_answer(context, "cat", 21, 24) == (21, 24), "and case, at the very place"
    assert answers.locate_answer(context, "cat", -16, -13) == (2, 5)
    assert answers.locate_answer(context, "dog", 2, 5) is None
    assert answers.locate_answer(context, " ", 1, 2) is None


def test_best_texts_are_told_once() -> None:
    ranked = answers.rank_answers("the cat", [(1.0, 4, 7), (3.0, 3, 7), (2.0, 0, 3), (9.0, 3, 4)])
    assert [(each["text"], each["score"]) for each in ranked] == [("cat", 3.0), ("the", 2.0)]
    assert ranked[0]["probability"] == pytest.approx(1 / (1 + np.exp(-1)))
    assert answers.rank_answers("", []) == []
