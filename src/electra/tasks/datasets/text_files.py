"""Text files and JSON as labelled data comes in them, read strictly: what has two meanings, or none, is refused."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from electra.errors import UserError, convert_errors

Json = Any  # what json.loads gives


def read_utf8(path: Path) -> str:
    """The text of a file, without a byte order mark. Raises ``UserError`` if it cannot be read or is no UTF-8."""
    with convert_errors(str(path), OSError):
        content = path.read_bytes()
    return decode_utf8(content, str(path))


def decode_utf8(content: bytes, where: str) -> str:
    """Bytes as text, without a byte order mark. Raises ``UserError`` if they are not UTF-8 or hold a zero byte."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not UTF-8 at byte {error.start:,}") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(f"{where}, line {line}: a zero byte; this is no UTF-8 text (UTF-16, or damaged)")
    return text


def parse_json(text: str, where: str) -> Json:
    """A JSON value.

    Raises:
        UserError: no JSON, NaN or Infinity (which JSON has not), an object with two values of one name, or values in
            one another without end.
    """
    with convert_errors(f"{where}: not JSON", ValueError, RecursionError):
        return json.loads(text, object_pairs_hook=build_object, parse_constant=refuse_constant)


def build_object(pairs: Sequence[tuple[str, Json]]) -> dict[str, Json]:
    """An object of its names and values. Raises ``ValueError`` if a name is there twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is there twice in one object")
    return found


def refuse_constant(name: str) -> Json:
    """Raise ``ValueError`` for NaN, Infinity and -Infinity, which Python's reader takes for JSON."""
    raise ValueError(f"{name} is no JSON value")
