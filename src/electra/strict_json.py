"""JSON read strictly: what has two meanings is refused, and so is what has not the shape that is expected.

Shapes are told without pydantic, which a training node has not.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from electra.errors import UserError, convert_errors

Json = Any  # what json.loads gives

NAMES = {
    dict: "an object",
    list: "a list",
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}
SHOWN = 60  # characters of a value in an error


def parse_json(text: str, where: str) -> Json:
    """The value of a JSON text from a file. Raises ``UserError``, which ``where`` begins, for what ``load_strictly``
    refuses."""
    with convert_errors(f"{where}: not JSON", ValueError, RecursionError):
        return load_strictly(text)


def load_strictly(text: str) -> Json:
    """A JSON value.

    Raises:
        ValueError: no JSON, NaN or Infinity (which JSON has not), or an object with two values of one name.
        RecursionError: values in one another without end.
    """
    return json.loads(text, object_pairs_hook=build_object, parse_constant=refuse_constant)


def build_object(pairs: Sequence[tuple[str, Json]]) -> dict[str, Json]:
    """An object of its names and values. Raises ``ValueError`` if a name is there twice."""
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} stands there twice")
    return content


def refuse_constant(name: str) -> Json:
    """Raise ``ValueError`` for NaN, Infinity and -Infinity, which Python's reader takes for JSON."""
    raise ValueError(f"{name} is no JSON value")


def require_shape(content: Any, shape: Any, where: str) -> Any:
    """What JSON gave, if it is a ``shape``: a plain type, ``dict[…]``, ``list[…]``, a union, ``Literal``, ``Any``; or a
    dataclass, of which one is then made.

    Raises:
        UserError: it has another shape; ``where`` begins the message.
    """
    if mismatch := find_mismatch(content, shape, ""):
        raise UserError(f"{where}: {mismatch}")
    return shape(**content) if isinstance(shape, type) and is_dataclass(shape) else content


def find_mismatch(content: Any, shape: Any, key: str) -> str:
    """The first place at which a value has not the shape, and what is expected there; nothing if it has it."""
    origin, arguments = get_origin(shape) or shape, get_args(shape)
    if origin in (Union, UnionType):
        mismatches = [find_mismatch(content, choice, key) for choice in arguments]
        return "" if "" in mismatches else mismatches[0]
    if shape is Any or (origin is Literal and content in arguments):
        return ""
    if is_dataclass(origin):
        return find_field_mismatch(content, origin, key)
    if origin is Literal or not is_instance(content, origin):
        expected = NAMES.get(origin) or f"one of {', '.join(map(str, arguments))}"
        return f"{key and f'{key}: '}expected {expected}, found {repr(content)[:SHOWN]}"
    if not arguments:
        return ""
    parts: list[tuple[Any, Any, str]] = []
    if origin is dict:
        parts += [(name, arguments[0], f"{key}{'.' * bool(key)}{name}") for name in content]
        parts += [(value, arguments[1], f"{key}{'.' * bool(key)}{name}") for name, value in content.items()]
    else:
        parts += [(value, arguments[0], f"{key}[{index}]") for index, value in enumerate(content)]
    return next((mismatch for part in parts if (mismatch := find_mismatch(*part))), "")


def find_field_mismatch(content: Any, dataclass: Any, key: str) -> str:
    """As ``find_mismatch``, for the fields of a dataclass, all of which must be there, and no others."""
    names = {field.name for field in fields(dataclass)}
    if not isinstance(content, Mapping) or content.keys() != names:
        return f"{key and f'{key}: '}expected an object with {', '.join(sorted(names))}"
    hints = get_type_hints(dataclass)
    mismatches = (find_mismatch(content[name], hints[name], f"{key}{'.' * bool(key)}{name}") for name in content)
    return next(filter(None, mismatches), "")


def is_instance(content: Any, plain: type) -> bool:
    """``isinstance`` as JSON means it: true is no number, and a whole number is a number."""
    if isinstance(content, bool):
        return plain is bool
    return isinstance(content, int | float) if plain is float else isinstance(content, plain)
