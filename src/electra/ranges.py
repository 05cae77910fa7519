"""The numbers that a setting may have, written where the setting is: ``steps: Count = 1_000_000``.

A range is metadata of a field's type. It is checked where files and flags are read (``electra.config``) and where a
verb begins. A number that is not finite is in none.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any


@dataclass(frozen=True)
class Range:
    """Finite numbers of at least ``least``, more than ``above``, at most ``most`` and less than ``below``.

    ``zero``: 0 is one of them, whatever the bounds.
    """

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    zero: bool = False

    def __str__(self) -> str:
        """The range as it follows "a number" in an error: "of at least 1", "from 0 to 1"."""
        if self.least is not None and self.most is not None:
            return f"from {self.least} to {self.most}"
        bounds = {"of at least": self.least, "above": self.above, "at most": self.most, "below": self.below}
        words = " and ".join(f"{words} {bound}" for words, bound in bounds.items() if bound is not None)
        return words + (", or 0" if self.zero else "")

    def holds(self, value: object, kind: type) -> bool:
        """Whether ``value`` is a number of the ``kind``, int or float, in this range. True and False are no numbers."""
        wanted = int if kind is int else (int, float)
        if isinstance(value, bool) or not isinstance(value, wanted):
            return False
        if isinstance(value, float) and not math.isfinite(value):
            return False
        if isinstance(value, int) and abs(value) >= 2**63:
            return False
        return (self.zero and value == 0) or all((
            self.least is None or value >= self.least,
            self.most is None or value <= self.most,
            self.above is None or value > self.above,
            self.below is None or value < self.below,
        ))  # fmt: skip

    def __get_pydantic_core_schema__(self, kind: type, schema_of: Callable[[type], Any]) -> Any:
        """pydantic's hook: read a number, from text such as 2e9 too, and check that it is in the range."""
        from pydantic_core import core_schema

        def check_value(value: object) -> object:
            if not self.holds(value, kind):
                raise ValueError(f"not {self}")
            return value

        read = core_schema.no_info_before_validator_function(parse_number, schema_of(kind))
        return core_schema.no_info_after_validator_function(check_value, read)


def parse_number(value: object) -> object:
    """Text such as 12, 2e9 or 0.1 as the number that it names, whole where it can be; other text as it is.

    Raises:
        ValueError: true or false, which are no numbers; a whole number of more than 63 bits.
    """
    if isinstance(value, bool):
        raise ValueError(f"{value} is no number")
    number = name_number(value) if isinstance(value, str) else value
    if isinstance(number, int) and abs(number) >= 2**63:
        raise ValueError("a number of more than 63 bits")
    return number


def name_number(text: str) -> object:
    """The number that a text names, whole where it can be; else the text."""
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        return int(number) if isinstance(number, float) and number.is_integer() else number
    return text


Count = Annotated[int, Range(least=1)]
CountOrZero = Annotated[int, Range(least=0)]  # 0 says "off", "all" or "by itself": the field's help says which
Seed = Annotated[int, Range(least=0, most=2**63 - 1)]  # torch.manual_seed takes these and a few more

Positive = Annotated[float, Range(above=0)]
NotNegative = Annotated[float, Range(least=0)]
Fraction = Annotated[float, Range(least=0, most=1)]
FractionBelowOne = Annotated[float, Range(least=0, below=1)]  # a dropout, or what a moving average keeps
FractionAboveZero = Annotated[float, Range(above=0, most=1)]
