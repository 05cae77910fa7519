"""Raw text as it is read: Documents, each from a Span of a source, and a count of what was left out."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypedDict

from electra.errors import escape_controls, hide_secrets

Boundary = Literal["blank-line", "line", "file"]
ReportProgress = Callable[[int], object]  # is called with the bytes that are done so far

NOT_UTF8 = "not UTF-8"
HALF_SURROGATE = "text has half a surrogate pair, which is no character"


@dataclass(frozen=True)
class Document:
    """A text that belongs together. ``source``: its file. ``index``: its place there, a byte offset or a row from 0."""

    text: str
    source: str
    index: int


@dataclass(frozen=True)
class Span:
    """Bytes ``start`` … ``stop`` of a file, which are read together. Both are 0 if the size is not known."""

    path: str
    start: int = 0
    stop: int = 0

    @property
    def name(self) -> str:
        """The path whose ending gives the format: of a web address the part before its query."""
        return self.path.partition("?")[0] if self.path.startswith(("http://", "https://")) else self.path

    @property
    def shown(self) -> str:
        """The path for messages and files: of an address without password and query."""
        return hide_secrets(self.path)

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return self.stop - self.start


@dataclass(frozen=True)
class TextFormat:
    """What the name of a file does not tell.

    ``documents``: what ends a document in plain text. ``field``: the key or column of the text in records.
    """

    documents: Boundary = "blank-line"
    field: str = "text"


def is_encodable(text: str) -> bool:
    """Whether the text can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def ignore_progress(done: int) -> None:
    """A ``ReportProgress`` for callers that do not want to know."""


class SkippedJson(TypedDict):
    """What JSON files hold of one reason: how much was left out for it, and where the first was."""

    count: int
    first: str


class Skipped(Counter[str]):
    """How much was left out, by reason, and where each reason occurred first."""

    def __init__(self) -> None:
        super().__init__()
        self.first: dict[str, str] = {}

    def note(self, reason: str, where: str | Callable[[], str], count: int = 1) -> None:
        """Add ``count`` for ``reason``. ``where``, if it is a function, is called only for a reason's first."""
        self[reason] += count
        if reason not in self.first:
            self.first[reason] = hide_secrets(where if isinstance(where, str) else where())

    def to_json(self) -> dict[str, SkippedJson]:
        """Counts and first places by reason."""
        return {reason: {"count": count, "first": self.first.get(reason, "")} for reason, count in self.items()}

    def add_json(self, skipped: Mapping[str, SkippedJson]) -> None:
        """Add the counts of another ``Skipped``, as its ``to_json`` gives them."""
        for reason, entry in skipped.items():
            self.note(reason, entry["first"], entry["count"])

    def lines(self) -> list[str]:
        """A line to print for each reason, the most frequent first."""
        return [
            escape_controls(
                f"skipped {count:,}: {reason}" + (f" (first at {first})" if (first := self.first.get(reason)) else "")
            )
            for reason, count in self.most_common()
        ]
