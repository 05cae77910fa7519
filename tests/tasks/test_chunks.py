"""Spans and their F1 against a restatement of the rule span by span, and hard cases by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from electra.tasks.chunks import are_span_tags, decode_spans, score_spans

TAGS = st.lists(
    st.sampled_from(["O", *(f"{prefix}-{kind}" for prefix in "BIESLU" for kind in ("A", "B-C"))]), max_size=9
)


def edge(tags: list[str], at: int) -> bool:
    """Whether no span reaches over the place before word ``at``."""
    if at in (0, len(tags)) or "O" in (tags[at - 1], tags[at]):
        return True
    (left, left_type), (right, right_type) = tags[at - 1].split("-", 1), tags[at].split("-", 1)
    return left_type != right_type or left in ("E", "S", "L", "U") or right in ("B", "S", "U")


def restated(tags: list[str]) -> set[tuple[int, int, str]]:
    """Every stretch of words other than O with an edge at both ends and none inside."""
    return {
        (first, last, tags[first].split("-", 1)[1])
        for first in range(len(tags))
        for last in range(first + 1, len(tags) + 1)
        if "O" not in tags[first:last]
        and edge(tags, first)
        and edge(tags, last)
        and not any(edge(tags, at) for at in range(first + 1, last))
    }


@given(TAGS)
def test_spans_are_those_of_the_restated_rule(tags: list[str]) -> None:
    assert decode_spans(tags) == restated(tags)


@given(st.lists(st.tuples(TAGS, TAGS), max_size=4))
def test_f1_is_that_of_spans_counted_one_by_one(pairs: list[tuple[list[str], list[str]]]) -> None:
    gold = [(number, *span) for number, (tags, _) in enumerate(pairs) for span in sorted(restated(tags))]
    predicted = [(number, *span) for number, (_, tags) in enumerate(pairs) for span in sorted(restated(tags))]
    right = sum(span in gold for span in predicted)
    precision = right / len(predicted) if predicted else 0.0
    recall = right / len(gold) if gold else 0.0
    both = 2 * precision * recall / (precision + recall) if right else 0.0
    scores = score_spans(*zip(*pairs, strict=True)) if pairs else score_spans([], [])
    assert scores == {"f1": pytest.approx(both), "precision": precision, "recall": recall}


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("I-X I-X O I-Y", {(0, 2, "X"), (3, 4, "Y")}),
        ("B-X I-Y I-X", {(0, 1, "X"), (1, 2, "Y"), (2, 3, "X")}),
        ("I-X B-X I-X", {(0, 1, "X"), (1, 3, "X")}),
        ("E-X O I-X E-X E-X", {(0, 1, "X"), (2, 4, "X"), (4, 5, "X")}),
        ("B-X S-X I-X E-X", {(0, 1, "X"), (1, 2, "X"), (2, 4, "X")}),
        ("B-X I-X L-X U-X U-X", {(0, 3, "X"), (3, 4, "X"), (4, 5, "X")}),
        ("B-X M-X E-X", {(0, 3, "X")}),
        ("B I O B", {(0, 2, ""), (3, 4, "")}),
        ("O O", set()),
        ("", set()),
    ],
)
def test_hard_cases(tags: str, expected: set[tuple[int, int, str]]) -> None:
    assert decode_spans(tags.split()) == expected


def test_f1_is_zero_where_it_is_not_defined() -> None:
    nothing = {"f1": 0.0, "precision": 0.0, "recall": 0.0}
    assert (
        score_spans([["O"]], [["O"]])
        == score_spans([["B-X"]], [["O"]])
        == score_spans([["O"]], [["B-X"]])
        == score_spans([], [])
        == nothing
    )


def test_tags_tell_whether_they_mark_spans() -> None:
    assert are_span_tags(["O", "B-NP", "I-NP"]) and are_span_tags(["U-x-y", "L-x-y"]) and are_span_tags(["B", "I", "O"])
    assert are_span_tags(["B", "M", "E", "S"]) and are_span_tags(["I", "E"]) and are_span_tags(["S-X", "E-X"])
    assert not are_span_tags(["E", "S"]) and not are_span_tags(["L", "M", "U"]) and not are_span_tags(["S"])
    assert not are_span_tags(["NN", "IN"]) and not are_span_tags(["O", "NOUN"]) and not are_span_tags(["B-", "O"])
