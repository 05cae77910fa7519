"""Questions about texts, from files: SQuAD's .json, MRQA's .jsonl, also .gz, and a question a row as `datasets` has."""

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from electra.errors import UserError, convert_errors
from electra.strict_json import Json, parse_json
from electra.tasks.answers import locate_answer
from electra.tasks.datasets.records import read_table
from electra.tasks.datasets.text_files import decode_utf8
from electra.tasks.datasets.values import require_encodable

LAYOUTS = "SQuAD's .json or MRQA's .jsonl, also with .gz; a question a row: .jsonl or .parquet"
KIND_NAMES = {str: "a text", list: "a list", int: "a whole number", dict: "an object", bool: "true or false"}

T = TypeVar("T")


@dataclass(frozen=True)
class Question:
    """A question, and ``where`` its file has it.

    ``answers``: (text, start, end) in the context, in characters. ``golds``: the right texts; none if the file does not
    say or there is no answer.
    """

    where: str
    id: str
    text: str
    context: str
    answers: tuple[tuple[str, int, int], ...]
    golds: tuple[str, ...]
    impossible: bool = False


def check_questions(questions: Iterator[Question], split: str) -> tuple[list[Question], int, int]:
    """The questions with each answer at its place in the context, how many answers were not where the file says, and
    how many are nowhere in their context: those have no place, but predictions are compared with them.

    Raises:
        UserError: an id that is there twice, or, in train, an answer that is not in its context.
    """
    by_id: dict[str, Question] = {}
    moved = absent = 0
    for question in questions:
        if question.id in by_id:
            raise UserError(
                f"{question.where}: id {question.id!r} stands there twice; first at {by_id[question.id].where}"
            )
        answers = []
        for text, start, end in question.answers:
            place = locate_answer(question.context, text, start, end)
            if place is None and split == "train":
                raise UserError(
                    f"{question.where}, id {question.id!r}: answer {text!r} at {start} is not in its context, which "
                    f"has {question.context[max(start, 0) : end]!r} there; answers are spans of it"
                )
            absent += place is None
            if place is not None:
                moved += place[0] != start
                answers.append((text, *place))
        by_id[question.id] = replace(question, answers=tuple(answers))
    return list(by_id.values()), moved, absent


def read_questions(path: Path, split: str) -> tuple[str, Iterator[Question]]:
    """The version that a file says it is of ("" if it does not), and its questions.

    Raises:
        UserError: another kind of file, a damaged one, or, while the questions are taken, a field that is missing.
    """
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    if path.suffix == ".parquet":
        return "", (parse_row(row, where, split) for where, row in read_table(path).rows)
    if kind not in ("json", "jsonl"):
        raise UserError(f"{path}: answers are read from {LAYOUTS}")
    with convert_errors(str(path), OSError, EOFError, zlib.error):
        raw = path.read_bytes()
        content = decode_utf8(gzip.decompress(raw) if path.suffix == ".gz" else raw, str(path))
    if kind == "jsonl":
        return "", parse_lines(content, str(path), split)
    data = parse_json(content, str(path))
    return str(data.get("version", "") if isinstance(data, dict) else ""), parse_squad(data, str(path), split)


def parse_squad(data: Json, path: str, split: str) -> Iterator[Question]:
    """The questions of a file in SQuAD's layout: articles of paragraphs with a context and its questions."""
    for in_article, article in list_items(data, "data", f"{path}: "):
        if isinstance(article, dict) and "question" in article:
            yield parse_row(article, in_article, split)
            continue
        for in_paragraph, paragraph in list_items(article, "paragraphs", f"{in_article}."):
            context = get_field(paragraph, "context", str, in_paragraph)
            for where, entry in list_items(paragraph, "qas", f"{in_paragraph}."):
                yield parse_squad_question(entry, context, where, split)


def parse_squad_question(entry: Json, context: str, where: str, split: str) -> Question:
    """One question of SQuAD's; in test its answers may be missing."""
    identity, text = get_field(entry, "id", str, where), get_field(entry, "question", str, where)
    impossible = get_field({"is_impossible": False, **entry}, "is_impossible", bool, where)
    listed = list(list_items(entry, "answers", f"{where}.")) if split != "test" or "answers" in entry else []
    if split != "test" and impossible == bool(listed):
        wrong = "answers, and is_impossible" if listed else "no answer; is_impossible: true says that it has none"
        raise UserError(f"{where}, id {identity!r}: {wrong}")
    answers = []
    for place, answer in listed:
        gold, start = get_field(answer, "text", str, place), get_field(answer, "answer_start", int, place)
        answers.append((gold, start, start + len(gold)))
    return Question(where, identity, text, context, tuple(answers), tuple(gold for gold, _, _ in answers), impossible)


def parse_lines(content: str, path: str, split: str) -> Iterator[Question]:
    """The questions of a file of JSON lines: in MRQA's layout a header, and a context with its questions in each other
    line; else a question with its context in each."""
    for number, line in enumerate(content.split("\n"), 1):
        in_line = f"{path}, line {number}"
        if not line.strip():
            continue
        row = parse_json(line, in_line)
        if number == 1 and isinstance(row, dict) and "header" in row:
            continue
        if isinstance(row, dict) and "qas" not in row and "question" in row:
            yield parse_row(row, in_line, split)
            continue
        context = get_field(row, "context", str, in_line)
        for where, entry in list_items(row, "qas", f"{in_line}: "):
            yield parse_mrqa_question(entry, context, where, split)


def parse_row(row: Json, where: str, split: str) -> Question:
    """A question with its context, as Hugging Face's ``datasets`` has SQuAD: ``answers`` is an object of two lists,
    ``text`` and ``answer_start``, of like length. If they are empty there is no answer.
    """
    context, answers = get_field(row, "context", str, where), row.get("answers")
    if isinstance(answers, dict):
        place = f"{where}: 'answers'"
        texts, starts = get_field(answers, "text", list, place), get_field(answers, "answer_start", list, place)
        if len(texts) != len(starts):
            raise UserError(f"{place}: {len(texts)} under 'text', and {len(starts)} under 'answer_start'")
        row = {
            **row,
            "answers": [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)],
        }
    elif answers is None:
        row = {name: value for name, value in row.items() if name != "answers"}
    if "answers" in row and not row["answers"] and split != "test":
        row = {"is_impossible": True, **row}
    return parse_squad_question(row, context, where, split)


def parse_mrqa_question(entry: Json, context: str, where: str, split: str) -> Question:
    """One question of MRQA's: train has its answers' places, dev their texts; test need not have either."""
    identity, text = get_field(entry, "qid", str, where), get_field(entry, "question", str, where)
    golds = get_field(entry, "answers", list, where) if split == "dev" else []
    if not all(isinstance(gold, str) for gold in golds):
        raise UserError(f"{where}: 'answers' should be texts")
    answers = [
        (get_field(answer, "text", str, place), first, last + 1)
        for place, answer in (list_items(entry, "detected_answers", f"{where}.") if split == "train" else ())
        for first, last in parse_char_spans(get_field(answer, "char_spans", list, place), place)
    ]
    if not (answers or golds or split == "test"):
        raise UserError(f"{where}, id {identity!r}: no answer")
    return Question(where, identity, text, context, tuple(answers), tuple(golds))


def list_items(item: Json, name: str, where: str) -> Iterator[tuple[str, Json]]:
    """(place, value) for each value of the list that is called ``name``; the place, for error texts, begins with
    ``where``."""
    for number, value in enumerate(get_field(item, name, list, where.rstrip(".: "))):
        yield f"{where}{name}[{number}]", value


def parse_char_spans(spans: list[Json], where: str) -> list[tuple[int, int]]:
    """MRQA's ``char_spans``: the first and last character of each. Raises ``UserError`` if they are not numbers."""
    if not all(isinstance(span, list) and [type(edge) for edge in span] == [int, int] for span in spans):
        raise UserError(f"{where}: 'char_spans' should be pairs of whole numbers, first and last character")
    return [(first, last) for first, last in spans]


def get_field(item: Json, name: str, kind: type[T], where: str) -> T:
    """A value of an object by its name. Raises ``UserError`` if it is not there, or of another kind."""
    if not isinstance(item, dict) or name not in item:
        raise UserError(f"{where}: no {name!r}")
    if not isinstance(item[name], kind) or (kind is int and isinstance(item[name], bool)):
        raise UserError(f"{where}: {name!r} is {str(item[name])[:40]!r}, and should be {KIND_NAMES[kind]}")
    if isinstance(item[name], str):
        require_encodable(item[name], f"{where}: {name!r}")
    return item[name]
