"""The one exception that a person is meant to read."""

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """A mistake that the user can mend: one line saying where it is, what was found and what would be right.

    The command line prints it as ``electra: error: …`` and exits with code 2, without a traceback.
    """


def in_a_line(error: Exception) -> str:
    """What an error says, in one line."""
    said = getattr(error, "strerror", None) or " ".join(str(error).split())[:300]
    return said or type(error).__name__


@contextmanager
def told_as(where: str, *kinds: type[Exception]) -> Iterator[None]:
    """Raises ``UserError`` saying where, for errors of such kinds."""
    try:
        yield
    except UserError:
        raise
    except kinds as error:
        raise UserError(f"{where}: {in_a_line(error)}") from error
