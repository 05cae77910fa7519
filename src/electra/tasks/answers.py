"""Answers as texts: where one stands in its context, and SQuAD's own judgement of it (exact match, F1, threshold)."""

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

ARTICLES = re.compile(r"\b(?:a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)  # ASCII's alone: “ and – stay
DIFFERENCE = "score_null_minus_best"  # of a prediction: how much likelier it is that there is no answer

N_BEST = 20  # texts of a question


def normalize_answer(text: str) -> str:
    """A text as SQuAD's scripts compare it: lower case, no ASCII punctuation, no articles, single spaces."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def exact_match(text: str, gold: str) -> float:
    """1 if both are the same once normalized, else 0."""
    return float(normalize_answer(text) == normalize_answer(gold))


def word_f1(text: str, gold: str, of_nothing: float) -> float:
    """The harmonic mean of precision and recall of the words, as often as they occur.

    ``of_nothing``: what it is if neither has a word: 1 in SQuAD 2.0's script, 0 in 1.1's, which is MRQA's too.
    """
    found, wanted = normalize_answer(text).split(), normalize_answer(gold).split()
    if not found and not wanted:
        return of_nothing
    same = (Counter(found) & Counter(wanted)).total()
    return 2 * same / (len(found) + len(wanted))


def score_answer(text: str, golds: Sequence[str], of_nothing: float) -> tuple[float, float]:
    """(exact, F1) against the gold answer that is nearest, for each of the two."""
    return max(exact_match(text, gold) for gold in golds), max(word_f1(text, gold, of_nothing) for gold in golds)


def find_best_threshold(
    kept: Float[np.ndarray, " questions"],
    dropped: Float[np.ndarray, " questions"],
    differences: Float[np.ndarray, " questions"],
) -> tuple[float, float]:
    """(mean score, threshold) of the lowest threshold with the best mean, where an answer is dropped if its difference
    is above the threshold.

    ``kept``, ``dropped``: a question's score with its answer and without. It is the official sweep but for its two
    slips: questions of equal difference are kept or dropped together, as a threshold does it; and the threshold that
    drops all is below all differences, not 0.
    """
    order = np.argsort(differences, kind="stable")
    levels = differences[order]
    totals = dropped.sum() + np.cumsum(np.concatenate([[0.0], (kept - dropped)[order]]))
    whole = np.flatnonzero(np.append(True, np.append(levels[1:] != levels[:-1], True)))
    best = whole[np.argmax(totals[whole])]
    threshold = levels[best - 1] if best else np.nextafter(levels[0], -np.inf)
    return float(totals[best] / len(levels)), float(threshold)


def score_with_threshold(
    kept: Float[np.ndarray, "questions 2"],
    answerable: Sequence[bool],
    differences: Float[np.ndarray, " questions"],
) -> dict[str, float]:
    """SQuAD 2.0's figures. ``kept``: (exact, F1) of each answer, were it given.

    ``word_f1`` and ``exact_match`` are those at ``threshold``, where F1 is best; ``best_exact`` has a threshold of
    its own.
    """
    dropped = 1.0 - np.array(answerable, dtype=np.float64)
    best_exact, _ = find_best_threshold(kept[:, 0], dropped, differences)
    best_f1, threshold = find_best_threshold(kept[:, 1], dropped, differences)
    found = float(np.where(differences > threshold, dropped, kept[:, 0]).mean())
    return {"f1": best_f1, "exact": found, "best_f1": best_f1, "best_exact": best_exact, "threshold": threshold}


def select_answers(predictions: Sequence[Mapping[str, Any]], threshold: float) -> dict[str, str]:
    """SQuAD's prediction file: question id → text, empty where the difference is above the threshold.

    Predictions of a task in which every question has an answer have no difference, and all of them are given.
    """
    return {each["id"]: "" if each.get(DIFFERENCE, threshold) > threshold else each["text"] for each in predictions}


def locate_answer(context: str, text: str, start: int, end: int) -> tuple[int, int] | None:
    """Where in its context an answer stands that is said to be at [start, end); None: nowhere.

    There, but for case and white space; else its occurrence nearest to ``start``, white space being as it may.
    """
    folded = text.casefold().split()
    if not folded:
        return None
    if start >= 0 and context[start:end].casefold().split() == folded:
        return start, end
    words = re.compile(r"\s+".join(map(re.escape, text.split())))
    found = [match.span() for match in words.finditer(context)]
    return min(found, key=lambda span: abs(span[0] - start), default=None)


def rank_answers(context: str, scored: Sequence[tuple[float, int, int]]) -> list[dict[str, Any]]:
    """The best texts, at most ``N_BEST``, with their scores and, among them, probabilities.

    ``scored``: (score, start, end) of spans of the context in characters.
    """
    found: dict[str, float] = {}
    for score, first, last in sorted(scored, key=lambda each: -each[0]):
        text = context[first:last].strip()
        if text and len(found) < N_BEST:
            found.setdefault(text, score)
    chances = np.exp(np.array(list(found.values())) - max(found.values(), default=0.0))
    return [
        {"text": text, "score": score, "probability": float(chance)}
        for (text, score), chance in zip(found.items(), chances / chances.sum(), strict=True)
    ]
