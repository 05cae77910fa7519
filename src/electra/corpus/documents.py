"""What raw text is read as: Documents, each from a Span of a source, and a count of what was left out."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from electra.errors import escape_controls, hide_secrets

Boundary = Literal["blank-line", "line", "file"]

NOT_UTF8 = "not UTF-8"
HALF_SURROGATE = "text has half a surrogate pair, which is no character"


@dataclass(frozen=True)
class Document:
    """A text that belongs together. ``source`` is its file, ``index`` its place there: a byte, or a row from 0."""

    text: str
    source: str
    index: int


@dataclass(frozen=True)
class Span:
    """What one reader reads: bytes ``start`` … ``stop`` of a file. Both are 0 for what has no known size."""

    path: str
    start: int = 0
    stop: int = 0

    @property
    def name(self) -> str:
        """The path by whose ending the format is told: an address of the web without its query."""
        return self.path.partition("?")[0] if self.path.startswith(("http://", "https://")) else self.path

    @property
    def shown(self) -> str:
        """The path as it may be told and written down: of an address without password and query."""
        return hide_secrets(self.path)

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return self.stop - self.start


@dataclass(frozen=True)
class TextFormat:
    """What a file's name does not tell: what ends a document in plain text, and where the text of a record is."""

    documents: Boundary = "blank-line"
    field: str = "text"


def is_encodable(text: str) -> bool:
    """Whether UTF-8 can hold the text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Skipped(Counter[str]):
    """How much was left out, by reason, with the place where each reason was met first."""

    def __init__(self) -> None:
        super().__init__()
        self.first: dict[str, str] = {}

    def note(self, reason: str, where: str | Callable[[], str], count: int = 1) -> None:
        """Count ``count`` more for ``reason``; ``where`` is asked only for the first."""
        self[reason] += count
        if reason not in self.first:
            self.first[reason] = hide_secrets(where if isinstance(where, str) else where())

    def said(self) -> dict[str, Any]:
        """All of it as JSON takes it."""
        return {reason: {"count": count, "first": self.first.get(reason, "")} for reason, count in self.items()}

    def add(self, said: Mapping[str, Any]) -> None:
        """Count what another one ``said``."""
        for reason, each in said.items():
            self.note(reason, each["first"], each["count"])

    def lines(self) -> list[str]:
        """Each reason with its count, and where it was met first."""
        return [
            escape_controls(
                f"skipped {count:,}: {reason}" + (f" (first at {first})" if (first := self.first.get(reason)) else "")
            )
            for reason, count in self.most_common()
        ]
