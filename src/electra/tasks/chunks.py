"""Spans that tags mark, and their F1, as conlleval counts them (Tjong Kim Sang and Buchholz, 2000).

IOB1, IOB2, BIOES and BILOU are read by one rule, so that no sequence of tags is wrong: a word that is not O starts a
span if its prefix says so, if the word before is O or has another type, or if that word's prefix ended a span.
"""

import re
from collections.abc import Iterable, Sequence

Span = tuple[int, int, str]  # first word, the word after the last, type
PlacedSpan = tuple[int, int, int, str]  # of a sentence by its number
Tags = Sequence[str]

TAG = re.compile(r"O|[BIESLUM](-.+)?")  # M: the I of BMES
STARTS, ENDS = "BSU", "ESLU"


def are_span_tags(labels: Iterable[str]) -> bool:
    """Whether tags mark spans, rather than say something of each word by itself.

    Single letters alone do only if O, B or I is among them: E and S may as well be names of languages.
    """
    tags = set(labels)
    return all(TAG.fullmatch(tag) for tag in tags) and any(tag in "OBI" or "-" in tag for tag in tags)


def decode_spans(tags: Tags) -> set[Span]:
    """The spans of one sentence. A prefix without a type has the type ``""``."""
    spans: set[Span] = set()
    first, before = 0, "O"
    for word, tag in enumerate([*tags, "O"]):
        goes_on = tag != "O" and before[0] not in ENDS + "O" and tag[0] not in STARTS and tag[2:] == before[2:]
        if not goes_on:
            if before != "O":
                spans.add((first, word, before[2:]))
            first = word
        before = tag
    return spans


def score_spans(gold: Iterable[Tags], predicted: Iterable[Tags]) -> dict[str, float]:
    """f1, precision and recall over the spans of all sentences, each 0 if nothing is divided by nothing.

    A predicted span is right if its words and its type are those of a gold one.
    """
    return compare_spans(collect_spans(gold), collect_spans(predicted))


def collect_spans(sentences: Iterable[Tags]) -> set[PlacedSpan]:
    """The spans of all sentences."""
    return {(number, *span) for number, tags in enumerate(sentences) for span in decode_spans(tags)}


def compare_spans(gold: set[PlacedSpan], predicted: set[PlacedSpan]) -> dict[str, float]:
    """f1, precision and recall of a set of spans, each 0 if nothing is divided by nothing."""
    right = len(gold & predicted)
    return {
        "f1": 2 * right / max(len(gold) + len(predicted), 1),
        "precision": right / max(len(predicted), 1),
        "recall": right / max(len(gold), 1),
    }
