"""Questions whose answers are spans of a text: SQuAD 1.1 and 2.0 (Rajpurkar et al., 2016, 2018), MRQA (2019).

The encoder reads [CLS] question [SEP] a window of the context [SEP].
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from jaxtyping import Int
from torch import Tensor, nn

from electra import fingerprints
from electra.errors import UserError
from electra.interchange.encoders import Reader
from electra.interchange.finetuned import HeadKind, ProblemType
from electra.tasks.answers import (
    DIFFERENCE,
    AnswerPrediction,
    normalize_answer,
    rank_answers,
    score_answer,
    score_with_threshold,
)
from electra.tasks.datasets.accounts import describe_questions, format_account, preview_questions
from electra.tasks.datasets.questions import Question, check_questions, read_questions
from electra.tasks.finetuning import heads, spans
from electra.tasks.finetuning.examples import Example, require_first_token
from electra.tasks.finetuning.problem import FineTuning
from electra.tasks.finetuning.windows import cut_context
from electra.tokenization.tokenizer import Tokenizer

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
    published = True
    units = (0.0, 1.0)
    labels: tuple[str, ...] = ()

    def __init__(
        self,
        questions: Mapping[str, Sequence[Question]],
        accounts: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ):
        """``accounts``: split → lines that say what was read for it."""
        self.questions, self.splits, self.accounts = questions, tuple(questions), accounts
        self.unanswerable = any(question.impossible for split in ("train", "dev") for question in questions[split])

    def account(self, split: str, preview: bool) -> list[str]:
        """Questions, and how many have an answer."""
        questions = self.questions[split]
        rows = preview_questions(questions) if preview else []
        return format_account(split, self.accounts.get(split, ()), describe_questions(questions), rows)

    def contents(self) -> dict[str, str]:
        """A hash of the questions of each split, wherever they stand in their files."""
        return {
            split: fingerprints.hash_values(vars(question) | {"where": ""} for question in questions)
            for split, questions in self.questions.items()
        }

    def examples(self, split: str, tokenizer: Tokenizer, length: int) -> list[Example]:
        """The windows of each question, each with a question of ``QUERY`` tokens and half of ``length`` at most.

        Windows of train without a whole answer are left out, unless some questions have no answer.

        Raises:
            UserError: a length below 5, or one at which no window of train holds an answer.
        """
        require_first_token(tokenizer)
        frame = tokenizer.pair_frame
        special = len(frame.before) + len(frame.between) + len(frame.after)
        query = min(QUERY, (length - special) // 2)
        if query < 1:
            least = special + 2
            raise UserError(f"length {length}: [CLS], a question, [SEP], its context and [SEP] need {least} tokens")
        questions = self.questions[split]
        contexts = tokenize_contexts(list(dict.fromkeys(question.context for question in questions)), tokenizer)
        queries = tokenizer.encode([question.text.strip() for question in questions])
        examples = []
        for number, (question, ids) in enumerate(zip(questions, queries, strict=True)):
            asked = ids[:query]
            front = len(asked) + len(frame.before) + len(frame.between)
            pieces, offsets = contexts[question.context]
            answers = locate_tokens(question, offsets)
            for first, last, own, after in cut_context(len(pieces), length - front - len(frame.after)):
                answer = next(((start, end) for start, end in answers if first <= start <= end < last), None)
                if answer is None and split == "train" and not self.unanswerable:
                    continue
                shift = front - first
                start, end = (answer[0] + shift, answer[1] + shift) if answer else (0, 0)
                window = spans.Window(front, offsets[first:last], (own + shift, after + shift), start, end)
                examples.append(Example(*frame.wrap(asked, pieces[first:last]), window, number))
        if not examples:
            raise UserError(f"length {length}: no window holds a whole answer of {split}; --tuning.length must be more")
        return examples

    def targets(self, examples: Sequence[Example], length: int) -> tuple[dict[str, Tensor], int]:
        """The tensors that ``spans.stack_targets`` makes of the windows; each window counts."""
        return spans.stack_targets([example.target for example in examples], length), len(examples)

    def head(self, reader: Reader, tuning: FineTuning) -> nn.Module:
        """The paper's head, which tells answerable windows apart if some questions have no answer, or transformers'."""
        if tuning.head == "transformers" or reader.family == "whole":
            return spans.PlainSpans(heads.build_token_logits(reader, tuning, 2, "qa_outputs"))
        width = reader.sizes[-1]
        answerability = spans.Answerability(width) if self.unanswerable else None
        return spans.ConditionedSpans(width, tuning.dropout, answerability)

    def predictions(
        self, split: str, examples: Sequence[Example], answers: Sequence[spans.FoundSpans]
    ) -> list[AnswerPrediction]:
        """The best text for each question, and what it was chosen from.

        Where some questions have no answer, ``DIFFERENCE`` is the least score of no answer in a window, less the best
        score that it competes with.
        """
        windows: list[list[tuple[spans.Window, spans.FoundSpans]]] = [[] for _ in self.questions[split]]
        for example, answer in zip(examples, answers, strict=True):
            windows[example.sample].append((example.target, answer))
        predictions: list[AnswerPrediction] = []
        for question, pairs in zip(self.questions[split], windows, strict=True):
            best = rank_answers(question.context, [span for window, answer in pairs for span in answer.locate(window)])
            text = best[0]["text"] if best else ""
            if self.unanswerable:
                difference = min(answer.null for _, answer in pairs) - max(answer.rival for _, answer in pairs)
                predictions.append(
                    {"id": question.id, "text": text, DIFFERENCE: difference if best else 0.0, "n_best": best}
                )
            else:
                predictions.append({"id": question.id, "text": text, "n_best": best})
        return predictions

    def judge(self, split: str, predictions: Sequence[AnswerPrediction]) -> dict[str, float]:
        """exact and F1 as shares; where some questions have no answer, the figures of ``score_with_threshold``."""
        questions, of_nothing = self.questions[split], 1.0 if self.unanswerable else 0.0
        golds: list[Sequence[str]] = [question.golds for question in questions]
        if self.unanswerable:
            golds = [[gold for gold in texts if normalize_answer(gold)] or [""] for texts in golds]
        scores = np.array(
            [
                score_answer(prediction["text"], texts, of_nothing)
                for prediction, texts in zip(predictions, golds, strict=True)
            ]
        )
        if not self.unanswerable:
            return {"f1": float(scores[:, 1].mean()), "exact": float(scores[:, 0].mean())}
        answerable = [not question.impossible for question in questions]
        differences = np.array([prediction[DIFFERENCE] for prediction in predictions])
        return score_with_threshold(scores, answerable, differences)


def tokenize_contexts(
    contexts: Sequence[str], tokenizer: Tokenizer
) -> dict[str, tuple[list[int], Int[np.ndarray, "tokens 2"]]]:
    """Context → the ids of its tokens, and the characters [from, to) that each stands for."""
    tokens = {}
    for start in range(0, len(contexts), AT_ONCE):
        part = list(contexts[start : start + AT_ONCE])
        for context, encoding in zip(part, tokenizer.backend.encode_batch(part, add_special_tokens=False), strict=True):
            tokens[context] = encoding.ids, np.array(encoding.offsets, dtype=np.int32).reshape(-1, 2)
    return tokens


def locate_tokens(question: Question, offsets: Int[np.ndarray, "tokens 2"]) -> list[tuple[int, int]]:
    """The first and last token of each answer. ``offsets``: the characters of each token of the context."""
    first = np.searchsorted(offsets[:, 1], [start for _, start, _ in question.answers], side="right")
    last = np.searchsorted(offsets[:, 0], [end for _, _, end in question.answers], side="left") - 1
    return list(zip(first.tolist(), last.tolist(), strict=True))


def load_squad(files: Mapping[str, Path]) -> tuple[Squad, list[str]]:
    """The task in a file for each split, and a line for what is not as published and for answers that were moved.

    test need not have answers.

    Raises:
        UserError: a file of another kind or a damaged one, a field that is missing, an id that is there twice, a
            question without answer that is not said to be impossible, an answer of train that is not in its context.
    """
    splits: dict[str, list[Question]] = {}
    notes = []
    for split, path in files.items():
        version, questions = read_questions(path, split)
        splits[split], moved, absent = check_questions(questions, split)
        count = len(splits[split])
        if not count:
            raise UserError(f"{path}: no questions")
        published = PUBLISHED.get((version, split), count)
        if count != published:
            notes.append(f"{path}: {count:,} questions, and {published:,} as published: incomplete or another")
        if absent:
            notes.append(f"{path}: {absent:,} answers are nowhere in their contexts; predictions cannot equal them")
        if moved:
            notes.append(f"{path}: {moved:,} answers were not where their offsets say; the nearest occurrence is taken")
    return Squad(splits, {split: [str(path)] for split, path in files.items()}), notes
