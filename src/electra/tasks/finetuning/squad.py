"""Questions whose answers are spans of a text: SQuAD 1.1 and 2.0 (Rajpurkar et al., 2016, 2018), MRQA (2019).

What is read at once is [CLS] question [SEP] a window of the context [SEP].
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from torch import Tensor, nn

from electra import fingerprints
from electra.errors import UserError
from electra.interchange.encoders import Reader
from electra.interchange.finetuned import HeadKind, ProblemType
from electra.tasks import answers as texts
from electra.tasks.datasets.questions import Question, check_questions, read_questions
from electra.tasks.finetuning import heads, spans
from electra.tasks.finetuning.examples import Example
from electra.tasks.finetuning.problem import FineTuning
from electra.tokenization import Tokenizer

QUERY = 64  # tokens of a question: original code
AT_ONCE = 1000  # contexts that are cut into tokens at once
PUBLISHED = {("1.1", "train"): 87599, ("1.1", "dev"): 10570, ("v2.0", "train"): 130319, ("v2.0", "dev"): 11873}


class Squad:
    """Questions as a problem, judged as SQuAD 2.0 is if some of train or dev have no answer, else as 1.1 is."""

    name = "squad"
    epochs = 2
    metrics: tuple[str, ...] = ("f1", "exact")
    evaluated: tuple[str, ...] = ("dev",)
    model: HeadKind = "question-answering"
    problem_type: ProblemType = ""
    labels: tuple[str, ...] = ()

    def __init__(self, questions: Mapping[str, Sequence[Question]]):
        self.questions, self.splits = questions, tuple(questions)
        self.unanswerable = any(each.impossible for split in ("train", "dev") for each in questions[split])

    def contents(self) -> dict[str, str]:
        """See ``Problem``. Where a question stands in its file changes nothing."""
        return {
            split: fingerprints.hash_values(vars(each) | {"where": ""} for each in questions)
            for split, questions in self.questions.items()
        }

    def examples(self, split: str, tokenizer: Tokenizer, length: int) -> list[Example]:
        """The windows of each question. Those of train that hold no whole answer are left out, unless questions without
        one are to be learned. A question has at most ``QUERY`` tokens, and half of what is read.

        Raises:
            UserError: a length below 5, or one at which no window of train holds an answer.
        """
        query = min(QUERY, (length - 3) // 2)
        if query < 1:
            raise UserError(f"length {length}: [CLS], a question, [SEP], its context and [SEP] need 5 tokens")
        cls, sep = tokenizer.ids["cls"], tokenizer.ids["sep"]
        questions = self.questions[split]
        contexts = tokenize_contexts(list(dict.fromkeys(each.context for each in questions)), tokenizer)
        found = []
        for of, (each, ids) in enumerate(
            zip(questions, tokenizer.encode([q.text.strip() for q in questions]), strict=True)
        ):
            front = [cls, *ids[:query], sep]
            pieces, offsets = contexts[each.context]
            gold = locate_tokens(each, offsets)
            for first, last, own, after in spans.cut_context(len(pieces), length - len(front) - 1):
                here = next(((a, b) for a, b in gold if first <= a <= b < last), None)
                if here is None and split == "train" and not self.unanswerable:
                    continue
                move = len(front) - first
                start, end = (here[0] + move, here[1] + move) if here else (0, 0)
                window = spans.Window(len(front), offsets[first:last], (own + move, after + move), start, end)
                segments = [0] * len(front) + [1] * (last - first + 1)
                found.append(Example([*front, *pieces[first:last], sep], segments, window, of))
        if not found:
            raise UserError(f"length {length}: no window holds a whole answer of {split}; --tuning.length must be more")
        return found

    def targets(self, examples: Sequence[Example], length: int) -> tuple[dict[str, Tensor], int]:
        """See ``spans.stack_targets``; each window counts."""
        return spans.stack_targets([example.target for example in examples], length), len(examples)

    def head(self, reader: Reader, tuning: FineTuning) -> nn.Module:
        """See ``Problem``."""
        if tuning.head == "transformers" or reader.family == "whole":
            return spans.PlainSpans(heads.build_token_logits(reader, tuning, 2, "qa_outputs"))
        width = reader.sizes[-1]
        answerability = spans.Answerability(width) if self.unanswerable else None
        return spans.ConditionedSpans(width, tuning.dropout, answerability)

    def predictions(self, split: str, examples: Sequence[Example], answers: Sequence[Any]) -> list[Any]:
        """Of each question its id, the best text, ``n_best``, and, where some have no answer,
        ``score_null_minus_best``: the least score of no answer in a window, less the best that it competes with."""
        found: list[list[tuple[spans.Window, spans.FoundSpans]]] = [[] for _ in self.questions[split]]
        for example, answer in zip(examples, answers, strict=True):
            found[example.of].append((example.target, answer))
        said = []
        for question, windows in zip(self.questions[split], found, strict=True):
            scored = [span for window, each in windows for span in each.scored(window)]
            best = texts.rank_answers(question.context, scored)
            one: dict[str, Any] = {"id": question.id, "text": best[0]["text"] if best else ""}
            if self.unanswerable:
                nothing = min(each.null for _, each in windows) - max(each.rival for _, each in windows)
                one[texts.DIFFERENCE] = nothing if best else 0.0
            said.append(one | {"n_best": best})
        return said

    def judge(self, split: str, predictions: Sequence[Any]) -> dict[str, float]:
        """exact and F1 as shares; where some questions have no answer, those of ``answers.score_with_threshold``."""
        rows = zip(self.questions[split], predictions, strict=True)
        if not self.unanswerable:
            found = np.array([texts.score_answer(said["text"], question.golds, 0.0) for question, said in rows])
            return {"f1": float(found[:, 1].mean()), "exact": float(found[:, 0].mean())}
        golds = [[gold for gold in question.golds if texts.normalize_answer(gold)] or [""] for question, _ in rows]
        found = np.array(
            [texts.score_answer(said["text"], gold, 1.0) for gold, said in zip(golds, predictions, strict=True)]
        )
        answerable = [not question.impossible for question in self.questions[split]]
        return texts.score_with_threshold(found, answerable, np.array([said[texts.DIFFERENCE] for said in predictions]))


def tokenize_contexts(
    contexts: Sequence[str], tokenizer: Tokenizer
) -> dict[str, tuple[list[int], Int[np.ndarray, "tokens 2"]]]:
    """Context → the ids of its tokens, and the characters that each stands for."""
    found = {}
    for at in range(0, len(contexts), AT_ONCE):
        some = list(contexts[at : at + AT_ONCE])
        for context, cut in zip(some, tokenizer.backend.encode_batch(some, add_special_tokens=False), strict=True):
            found[context] = cut.ids, np.array(cut.offsets, dtype=np.int32).reshape(-1, 2)
    return found


def locate_tokens(question: Question, offsets: Int[np.ndarray, "tokens 2"]) -> list[tuple[int, int]]:
    """The first and last token of each answer."""
    first = np.searchsorted(offsets[:, 1], [start for _, start, _ in question.answers], side="right")
    last = np.searchsorted(offsets[:, 0], [end for _, _, end in question.answers], side="left") - 1
    return list(zip(first.tolist(), last.tolist(), strict=True))


def load_squad(files: Mapping[str, Path]) -> tuple[Squad, list[str]]:
    """The task in a file for each split, and a line for each thing about them that is not as published or not as it
    says. test need not have answers.

    Raises:
        UserError: a file of another kind or a damaged one, a field that is missing, an id that is there twice, a
            question without answer that is not said to be impossible, an answer of train that is not in its context.
    """
    found: dict[str, list[Question]] = {}
    told = []
    for split, path in files.items():
        version, questions = read_questions(path, split)
        found[split], moved = check_questions(questions, split)
        if not found[split]:
            raise UserError(f"{path}: no questions")
        count = PUBLISHED.get((version, split), len(found[split]))
        if len(found[split]) != count:
            told.append(f"{path}: {len(found[split]):,} questions, and {count:,} as published: incomplete or another")
        if moved:
            told.append(f"{path}: {moved:,} answers were not where their offsets say; the nearest occurrence is taken")
    return Squad(found), told
