"""Ways to damage a file: its bytes, the lines of a text, the values of JSON. All draw from a given generator."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

Damage = Callable[[bytes, Random], bytes]

STRANGE_VALUES: list[Any] = [
    None, True, -1, 0, 0.5, 2**64, 1e308, float("nan"), "", "x", "\ud800", "../etc", [], {}, [[]], {"": {}}, ["a", "b"],
]  # fmt: skip
STRANGE_BYTES = [b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\r", b'"', b"\t", b"\n\n", b"{", b"]", b"\\"]
DEEP = b"[" * 20_000


def flip_bit(content: bytes, draw: Random) -> bytes:
    """One bit is another."""
    at = draw.randrange(len(content) or 1)
    return content[:at] + bytes(byte ^ (1 << draw.randrange(8)) for byte in content[at : at + 1]) + content[at + 1 :]


def change_bytes(content: bytes, draw: Random) -> bytes:
    """A few bytes are others."""
    at, count = draw.randrange(len(content) or 1), draw.randint(1, 16)
    return content[:at] + draw.randbytes(count) + content[at + count :]


def zero_bytes(content: bytes, draw: Random) -> bytes:
    """A stretch is zeros, as a file system leaves it after a power cut."""
    at, count = draw.randrange(len(content) or 1), draw.randint(1, 512)
    return content[:at] + bytes(len(content[at : at + count])) + content[at + count :]


def cut_off(content: bytes, draw: Random) -> bytes:
    """The end is missing."""
    return content[: draw.randrange(len(content) or 1)]


def drop_bytes(content: bytes, draw: Random) -> bytes:
    """A stretch is missing."""
    at = draw.randrange(len(content) or 1)
    return content[:at] + content[at + draw.randint(1, 64) :]


def repeat_bytes(content: bytes, draw: Random) -> bytes:
    """A stretch is there twice."""
    at, count = draw.randrange(len(content) or 1), draw.randint(1, 64)
    return content[: at + count] + content[at:]


def insert_strange(content: bytes, draw: Random) -> bytes:
    """Bytes with a meaning, or none, somewhere."""
    at = draw.randrange(len(content) + 1)
    return content[:at] + draw.choice(STRANGE_BYTES) + content[at:]


def append_bytes(content: bytes, draw: Random) -> bytes:
    """More than there should be."""
    return content + draw.randbytes(draw.randint(1, 64))


def swap_halves(content: bytes, draw: Random) -> bytes:
    """The end stands before the beginning."""
    at = draw.randrange(len(content) or 1)
    return content[at:] + content[:at]


def empty(content: bytes, draw: Random) -> bytes:
    """Nothing."""
    return b""


def nest_deeply(content: bytes, draw: Random) -> bytes:
    """Brackets that no parser should follow to the end."""
    return DEEP if draw.random() < 0.5 else b'{"a":' * 5000


def drop_line(content: bytes, draw: Random) -> bytes:
    """A line is missing."""
    lines = content.splitlines(keepends=True) or [b""]
    lines.pop(draw.randrange(len(lines)))
    return b"".join(lines)


def shuffle_lines(content: bytes, draw: Random) -> bytes:
    """The lines stand in another order."""
    lines = content.splitlines(keepends=True)
    draw.shuffle(lines)
    return b"".join(lines)


def join_lines(content: bytes, draw: Random) -> bytes:
    """Two lines are one."""
    lines = content.split(b"\n")
    at = draw.randrange(len(lines))
    return b"\n".join([*lines[:at], b" ".join(lines[at : at + 2]), *lines[at + 2 :]])


def change_json(content: bytes, draw: Random) -> bytes:
    """A value of one JSON document, or of one line of JSON lines, is another; or its name is."""
    try:
        return json.dumps(change_value(json.loads(content), draw)).encode("utf-8", "surrogatepass")
    except ValueError:
        lines = content.split(b"\n")
        at = draw.randrange(len(lines))
        try:
            lines[at] = json.dumps(change_value(json.loads(lines[at]), draw)).encode("utf-8", "surrogatepass")
        except ValueError:
            return flip_bit(content, draw)
        return b"\n".join(lines)


def change_value(value: Any, draw: Random) -> Any:
    """A copy of a JSON value in which something, anywhere, is another value, is missing, or has another name."""
    if isinstance(value, dict) and value and draw.random() < 0.85:
        name = draw.choice(list(value))
        how = draw.random()
        if how < 0.1:
            return {other: item for other, item in value.items() if other != name}
        if how < 0.2:
            return {(f"{other}x" if other == name else other): item for other, item in value.items()}
        return value | {name: change_value(value[name], draw)}
    if isinstance(value, list) and value and draw.random() < 0.85:
        at = draw.randrange(len(value))
        return [*value[:at], change_value(value[at], draw), *value[at + 1 :]]
    return draw.choice(STRANGE_VALUES)


DAMAGES: list[Damage] = [
    flip_bit, change_bytes, zero_bytes, cut_off, drop_bytes, repeat_bytes, insert_strange, append_bytes, swap_halves,
    empty, nest_deeply, drop_line, shuffle_lines, join_lines, change_json, change_json, change_json,
]  # fmt: skip
