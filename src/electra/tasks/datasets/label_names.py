"""Names of classes, labels and tags: their order, which are numbers, and which are likely one."""

import math
import re
from collections.abc import Iterable

from electra.errors import UserError

NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")  # Python's float takes 1_0, nan and ٣ too


def parse_number(text: str) -> float | None:
    """A finite number that is written with digits; None for any other text."""
    number = float(text) if NUMBER.fullmatch(text) else math.inf
    return number if math.isfinite(number) else None


def parse_score(text: str, where: str) -> float:
    """A score. Raises ``UserError`` for what is no finite number."""
    number = parse_number(text.strip())
    if number is None:
        raise UserError(f"{where} {text!r} is no number")
    return number


def sort_labels(names: Iterable[str]) -> tuple[str, ...]:
    """The names in order: as numbers if all are, else as texts."""
    numbers = {name: parse_number(name) for name in names}
    if None in numbers.values():
        return tuple(sorted(numbers))
    return tuple(sorted(numbers, key=lambda name: (numbers[name], name)))


def list_lookalikes(names: Iterable[str]) -> list[str]:
    """Each group of names that differ in case or spaces only, as a text."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(" ".join(name.split()).casefold(), []).append(name)
    return [", ".join(map(repr, group)) for group in groups.values() if len(group) > 1]
