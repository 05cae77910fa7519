"""Questions from files: SQuAD's .json and MRQA's .jsonl, also .gz."""

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from electra.errors import UserError, convert_errors
from electra.tasks import answers as texts

LAYOUTS = "SQuAD's .json or MRQA's .jsonl, also with .gz"
NAMES = {str: "a text", list: "a list", int: "a whole number", dict: "an object"}


@dataclass(frozen=True)
class Question:
    """A question as a file has it, and ``where``. ``answers``: (text, start, end) in the context, in characters;
    ``golds``: the texts that are right, none if it is not said or there is no answer."""

    where: str
    id: str
    text: str
    context: str
    answers: tuple[tuple[str, int, int], ...]
    golds: tuple[str, ...]
    impossible: bool = False


def check_questions(questions: Iterator[Question], split: str) -> tuple[list[Question], int]:
    """The questions with their answers where they stand, and how many of these are not where they are said to be."""
    found: dict[str, Question] = {}
    moved = 0
    for each in questions:
        if each.id in found:
            raise UserError(f"{each.where}: id {each.id!r} stands there twice; first at {found[each.id].where}")
        places = [texts.locate_answer(each.context, *answer) for answer in each.answers]
        for (text, start, end), place in zip(each.answers, places, strict=True):
            if place is None and split == "train":
                raise UserError(
                    f"{each.where}, id {each.id!r}: answer {text!r} at {start} is not in its context, which has "
                    f"{each.context[max(start, 0) : end]!r} there; answers are spans of it"
                )
            moved += place is not None and place[0] != start
        spots = tuple((text, *place) for (text, _, _), place in zip(each.answers, places, strict=True) if place)
        found[each.id] = replace(each, answers=spots)
    return list(found.values()), moved


def read_questions(path: Path, split: str) -> tuple[str, Iterator[Question]]:
    """The version that a file says it is of, and its questions. Raises ``UserError`` for one that cannot be read."""
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    if kind not in ("json", "jsonl"):
        raise UserError(f"{path}: answers are read from {LAYOUTS}")
    with convert_errors(str(path), OSError, EOFError, zlib.error, UnicodeDecodeError):
        raw = path.read_bytes()
        content = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
    if kind == "jsonl":
        return "", parse_mrqa(content, str(path), split)
    with convert_errors(f"{path}: not JSON", ValueError):
        data = json.loads(content)
    return str(data.get("version", "") if isinstance(data, dict) else ""), parse_squad(data, str(path), split)


def parse_squad(data: Any, path: str, split: str) -> Iterator[Question]:
    """The questions of a file in SQuAD's layout."""
    for where, article in list_items(data, "data", f"{path}: "):
        for inside, paragraph in list_items(article, "paragraphs", f"{where}."):
            context = get_field(paragraph, "context", str, inside)
            for place, each in list_items(paragraph, "qas", f"{inside}."):
                identity, text = get_field(each, "id", str, place), get_field(each, "question", str, place)
                impossible = bool(each.get("is_impossible", False))
                said = list(list_items(each, "answers", f"{place}.")) if split != "test" or "answers" in each else []
                if split != "test" and impossible == bool(said):
                    wrong = (
                        "answers, and is_impossible" if said else "no answer; is_impossible: true says that it has none"
                    )
                    raise UserError(f"{place}, id {identity!r}: {wrong}")
                found = [
                    (get_field(one, "text", str, spot), get_field(one, "answer_start", int, spot)) for spot, one in said
                ]
                answers = tuple((answer, start, start + len(answer)) for answer, start in found)
                yield Question(place, identity, text, context, answers, tuple(gold for gold, _ in found), impossible)


def parse_mrqa(content: str, path: str, split: str) -> Iterator[Question]:
    """The questions of a file in MRQA's layout: a header, and a context with its questions in each other line."""
    for number, line in enumerate(content.split("\n"), 1):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        with convert_errors(f"{where}: not JSON", ValueError):
            row = json.loads(line)
        if number == 1 and isinstance(row, dict) and "header" in row:
            continue
        context = get_field(row, "context", str, where)
        for place, each in list_items(row, "qas", f"{where}: "):
            identity, text = get_field(each, "qid", str, place), get_field(each, "question", str, place)
            golds = get_field(each, "answers", list, place) if split == "dev" else []
            spots = list_items(each, "detected_answers", f"{place}.") if split == "train" else ()
            answers = [
                (get_field(one, "text", str, spot), first, last + 1)
                for spot, one in spots
                for first, last in parse_char_spans(get_field(one, "char_spans", list, spot), spot)
            ]
            if not (answers or golds or split == "test"):
                raise UserError(f"{place}, id {identity!r}: no answer")
            yield Question(place, identity, text, context, tuple(answers), tuple(map(str, golds)))


def list_items(item: Any, name: str, where: str) -> Iterator[tuple[str, Any]]:
    """(where, what) of each thing in a list."""
    for number, each in enumerate(get_field(item, name, list, where.rstrip(".: "))):
        yield f"{where}{name}[{number}]", each


def parse_char_spans(spans: list[Any], where: str) -> list[tuple[int, int]]:
    """``char_spans``: first and last character of each."""
    if not all(isinstance(each, list) and [type(one) for one in each] == [int, int] for each in spans):
        raise UserError(f"{where}: 'char_spans' should be pairs of whole numbers, first and last character")
    return [(first, last) for first, last in spans]


def get_field(item: Any, name: str, kind: type, where: str) -> Any:
    """What an object has by a name. Raises ``UserError`` if it is not there, or of another kind."""
    if not isinstance(item, dict) or name not in item:
        raise UserError(f"{where}: no {name!r}")
    if not isinstance(item[name], kind):
        raise UserError(f"{where}: {name!r} is {str(item[name])[:40]!r}, and should be {NAMES[kind]}")
    return item[name]
