"""A value in a row of labelled data as a text or a label: whatever is neither is refused with its place and kind."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from electra.corpus.documents import HALF_SURROGATE, is_encodable
from electra.errors import UserError
from electra.strict_json import parse_json

KINDS = {dict: "an object", list: "a list", bool: "true or false", int: "a whole number", float: "a number"}

LIST_AS_TEXT = re.compile(r"\[\s*(['\"].*)?\]", re.DOTALL)  # as Python, JSON and NumPy print one

Record = Mapping[str, Any]  # column → value, as csv, json or pyarrow gives it


def read_class_names(metadata: bytes, path: str) -> dict[str, Sequence[str]]:
    """What the numbers in columns mean, if Hugging Face's ``datasets`` wrote the file: column → names of classes.

    Raises:
        UserError: what it wrote is not JSON, or two classes have one name.
    """
    content = parse_json(metadata.decode(errors="replace"), f"{path}: the description of its columns")
    info = content.get("info") if isinstance(content, dict) else None
    features = info.get("features") if isinstance(info, dict) else None
    names_by_column: dict[str, Sequence[str]] = {}
    for column, feature in (features if isinstance(features, dict) else {}).items():
        inner = feature[0] if isinstance(feature, list) and feature else feature  # a list of classes: two spellings
        inner = inner.get("feature", inner) if isinstance(inner, dict) else {}
        names = inner.get("names") if isinstance(inner, dict) else None
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            if len(set(names)) < len(names):
                raise UserError(f"{path}: two classes of column {column!r} have one name: {', '.join(names)[:80]}")
            names_by_column[column] = names
    return names_by_column


def name_classes(value: object, names: Sequence[str], where: str) -> object:
    """The names that whole numbers stand for; None for -1, by which ``datasets`` says that there is none.

    Raises:
        UserError: a number without a name.
    """
    if isinstance(value, list):
        return [name_classes(each, names, where) for each in value]
    if type(value) is not int or value == -1:
        return None if value == -1 else value
    if not 0 <= value < len(names):
        raise UserError(f"{where} is {value}, and the file has names for 0 to {len(names) - 1}")
    return names[value]


def get_field(record: Record, column: str, where: str) -> Any:
    """A value that must be there, or None for null. Raises ``UserError`` that names the columns that are there."""
    if column not in record:
        raise UserError(f"{where}: no {column!r}: {', '.join(map(repr, record))}")
    return record[column]


def get_text(record: Record, column: str, where: str) -> str:
    """A field that is a text. Raises ``UserError`` for anything else."""
    value = get_field(record, column, where)
    if not isinstance(value, str):
        raise UserError(f"{where}: {column!r} is {describe_value(value)}, and should be a text")
    return require_encodable(value, f"{where}: {column!r}")


def name_label(value: object, where: str) -> str:
    """A label as text: numbers, true and false as JSON writes them.

    Raises:
        UserError: anything else, a number that is not finite, or a list that was printed into a text.
    """
    if isinstance(value, str):
        return refuse_printed_list(require_encodable(value, where), where)
    if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return json.dumps(value)
    raise UserError(f"{where} is {describe_value(value)}, and should be a text or a number")


def refuse_printed_list(text: str, where: str) -> str:
    """The text. Raises ``UserError`` for one like ``['a', 'b']``, which a table of texts has in place of a list."""
    if LIST_AS_TEXT.fullmatch(text.strip()):
        raise UserError(f"{where} is a list that was printed: {text[:40]}; save real lists, as .jsonl or .parquet")
    return text


def require_encodable(text: str, where: str) -> str:
    """The text. Raises ``UserError`` if it has half a surrogate pair, which no tokenizer and no file takes."""
    if not is_encodable(text):
        raise UserError(f"{where}: {HALF_SURROGATE}")
    return text


def describe_value(value: object) -> str:
    """A value for an error text: its kind, and how it begins."""
    if value is None:
        return "null"
    return f"{KINDS.get(type(value), f'of type {type(value).__name__}')}: {str(value)[:40]}"
