"""Spans that tags mark, and their F1, as conlleval counts them (Tjong Kim Sang and Buchholz, 2000).

IOB1, IOB2, BIOES and BILOU are read by one rule, so that no sequence of tags is wrong: a word that is not O starts a
span if its prefix says so, if the word before is O or has another type, or if that word's prefix ended a span.
"""

import re
from collections.abc import Iterable, Sequence

Span = tuple[int, int, str]  # first word, the word after the last, type
Tags = Sequence[str]

TAG = re.compile(r"O|[BIESLUM](-.+)?")  # M: the I of BMES
STARTS, ENDS = "BSU", "ESLU"


def are_span_tags(labels: Iterable[str]) -> bool:
    """Whether tags mark spans, rather than say something of each word for itself."""
    return all(TAG.fullmatch(label) for label in labels)


def decode_spans(tags: Tags) -> set[Span]:
    """The spans of one sentence. A prefix without a type has the type ``""``."""
    found: set[Span] = set()
    first, before = 0, "O"
    for at, tag in enumerate([*tags, "O"]):
        goes_on = tag != "O" and before[0] not in ENDS + "O" and tag[0] not in STARTS and tag[2:] == before[2:]
        if not goes_on:
            if before != "O":
                found.add((first, at, before[2:]))
            first = at
        before = tag
    return found


def score_spans(gold: Iterable[Tags], found: Iterable[Tags]) -> dict[str, float]:
    """f1, precision and recall over the spans of all sentences, each 0 where nothing is divided by nothing.

    A found span is right if its words and its type are those of a gold one.
    """
    return compare_spans(collect_spans(gold), collect_spans(found))


def score_spans_by_type(gold: Iterable[Tags], found: Iterable[Tags]) -> dict[str, dict[str, float]]:
    """The same of each type, and ``decode_spans``: how many gold has of it."""
    wanted, said = collect_spans(gold), collect_spans(found)
    return {
        each: compare_spans(*({span for span in some if span[3] == each} for some in (wanted, said)))
        | {"spans": sum(span[3] == each for span in wanted)}
        for each in sorted({span[3] for span in wanted | said})
    }


def collect_spans(sentences: Iterable[Tags]) -> set[tuple[int, int, int, str]]:
    """(sentence, first, after the last, type) of all spans."""
    return {(number, *span) for number, tags in enumerate(sentences) for span in decode_spans(tags)}


def compare_spans(gold: set[tuple[int, int, int, str]], found: set[tuple[int, int, int, str]]) -> dict[str, float]:
    """See ``score_spans``."""
    right = len(gold & found)
    return {
        "f1": 2 * right / max(len(gold) + len(found), 1),
        "precision": right / max(len(found), 1),
        "recall": right / max(len(gold), 1),
    }
