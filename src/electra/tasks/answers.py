"""Answers as texts: where they stand in a context, and SQuAD's judgement of them (exact match, F1, threshold)."""

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Final, NotRequired, TypedDict

import numpy as np
from jaxtyping import Float

ARTICLES = re.compile(r"\b(?:a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)  # ASCII's alone: “ and – stay
DIFFERENCE: Final = "score_null_minus_best"  # of a prediction: how much likelier it is that there is no answer

N_BEST = 20  # texts of a question


class RankedText(TypedDict):
    """A text that may be the answer; its probability is among those of a question's best texts."""

    text: str
    score: float
    probability: float


class AnswerPrediction(TypedDict):
    """What is predicted of a question: the text, or none if ``DIFFERENCE`` is above a threshold."""

    id: str
    text: str
    score_null_minus_best: NotRequired[float]
    n_best: list[RankedText]


def normalize_answer(text: str) -> str:
    """A text as SQuAD's scripts compare it: lower case, no ASCII punctuation, no articles, single spaces."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def exact_match(text: str, gold: str) -> float:
    """1 if both are the same once normalized, else 0."""
    return float(normalize_answer(text) == normalize_answer(gold))


def word_f1(text: str, gold: str, of_nothing: float) -> float:
    """The harmonic mean of precision and recall of the words, each as often as it occurs.

    ``of_nothing``: the value if neither text has a word: 1 in SQuAD 2.0's script, 0 in 1.1's, which is MRQA's too.
    """
    words, gold_words = normalize_answer(text).split(), normalize_answer(gold).split()
    if not words and not gold_words:
        return of_nothing
    shared = (Counter(words) & Counter(gold_words)).total()
    return 2 * shared / (len(words) + len(gold_words))


def score_answer(text: str, golds: Sequence[str], of_nothing: float) -> tuple[float, float]:
    """(exact match, F1), each against the gold answer that is best for it."""
    return max(exact_match(text, gold) for gold in golds), max(word_f1(text, gold, of_nothing) for gold in golds)


def find_best_threshold(
    kept: Float[np.ndarray, " questions"],
    dropped: Float[np.ndarray, " questions"],
    differences: Float[np.ndarray, " questions"],
) -> tuple[float, float]:
    """(mean score, threshold) of the lowest threshold with the best mean: an answer above it is dropped.

    ``kept``, ``dropped``: a question's score with its answer and without. This is the official sweep but for its two
    slips: questions of equal difference are kept or dropped together, as a threshold does it; and the threshold that
    drops all is below all differences, not 0.
    """
    order = np.argsort(differences, kind="stable")
    levels = differences[order]
    totals = dropped.sum() + np.cumsum(np.concatenate([[0.0], (kept - dropped)[order]]))
    edges = np.flatnonzero(np.append(True, np.append(levels[1:] != levels[:-1], True)))
    best = edges[np.argmax(totals[edges])]
    threshold = levels[best - 1] if best else np.nextafter(levels[0], -np.inf)
    return float(totals[best] / len(levels)), float(threshold)


def score_with_threshold(
    kept: Float[np.ndarray, "questions 2"],
    answerable: Sequence[bool],
    differences: Float[np.ndarray, " questions"],
) -> dict[str, float]:
    """SQuAD 2.0's figures. ``kept``: (exact match, F1) of each answer if it is given.

    ``f1`` and ``exact`` are those at ``threshold``, where F1 is best; ``best_exact`` has a threshold of its own.
    """
    dropped = 1.0 - np.array(answerable, dtype=np.float64)
    best_exact, _ = find_best_threshold(kept[:, 0], dropped, differences)
    best_f1, threshold = find_best_threshold(kept[:, 1], dropped, differences)
    exact = float(np.where(differences > threshold, dropped, kept[:, 0]).mean())
    return {"f1": best_f1, "exact": exact, "best_f1": best_f1, "best_exact": best_exact, "threshold": threshold}


def select_answers(predictions: Sequence[AnswerPrediction], threshold: float) -> dict[str, str]:
    """SQuAD's prediction file: question id → text, empty where the difference is above the threshold.

    Predictions of a task in which every question has an answer have no difference: all texts are given.
    """
    return {
        prediction["id"]: "" if prediction.get(DIFFERENCE, threshold) > threshold else prediction["text"]
        for prediction in predictions
    }


def locate_answer(context: str, text: str, start: int, end: int) -> tuple[int, int] | None:
    """The characters [from, to) of an answer in its context, which is said to be at [start, end).

    At that place case and white space may differ; anywhere else white space alone, and the occurrence nearest to
    ``start`` is taken. None if there is none.
    """
    folded = text.casefold().split()
    if not folded:
        return None
    if start >= 0 and context[start:end].casefold().split() == folded:
        return start, end
    words = re.compile(r"\s+".join(map(re.escape, text.split())))
    occurrences = [match.span() for match in words.finditer(context)]
    return min(occurrences, key=lambda span: abs(span[0] - start), default=None)


def rank_answers(context: str, scored: Sequence[tuple[float, int, int]]) -> list[RankedText]:
    """The best different texts, ``N_BEST`` at most, the best first, with their scores and probabilities.

    ``scored``: (score, start, end) of spans of the context in characters.
    """
    scores: dict[str, float] = {}
    for score, start, end in sorted(scored, key=lambda span: -span[0]):
        text = context[start:end].strip()
        if text and len(scores) < N_BEST:
            scores.setdefault(text, score)
    weights = np.exp(np.array(list(scores.values())) - max(scores.values(), default=0.0))
    return [
        {"text": text, "score": score, "probability": float(probability)}
        for (text, score), probability in zip(scores.items(), weights / weights.sum(), strict=True)
    ]
