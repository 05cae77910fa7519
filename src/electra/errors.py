"""The one exception that a person is meant to read, and what is done to any text before a person reads it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

# C0, DEL and C1 steer a terminal; marks of direction and line separators make a line look like another one; half a
# surrogate pair (an undecodable byte of a file's name) cannot be printed.
UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)((?:(?!::)[^\s'\"<>`])+)")  # fsspec joins addresses by ::
PORT = re.compile(r"(?:[^:@]*|\[[^\]]*\])(?::\d*)?")


class UserError(Exception):
    """A mistake that the user can mend: one line saying where it is, what was found and what would be right.

    The command line prints it as ``electra: error: …`` and exits with code 2, without a traceback. Control characters
    in it are made visible, and passwords and queries of addresses left out.
    """

    def __init__(self, message: str):
        super().__init__(escape_controls(hide_secrets(message)))


def escape_controls(text: str) -> str:
    """The text with its control characters written out, ``\\x1b`` for the escape character, so that it stays in a line
    and steers no terminal."""
    return UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def hide_secrets(text: str) -> str:
    """The text with ``…`` for the user and password and for the query of each address (``scheme://…``) in it."""
    return ADDRESS.sub(lambda found: found[1] + public_part(found[1], found[2]), text) if "://" in text else text


def public_part(scheme: str, rest: str) -> str:
    """What of an address, behind its scheme, everyone may see."""
    end = re.search(r"[:;,.)\]]*$", rest)
    assert end is not None
    inside, sign, query = rest[: end.start()].partition("?")
    if sign and not scheme.startswith("http") and "=" not in query:  # a glob's sign for one character
        inside, query = f"{inside}?{query}", ""
    inside, mark, fragment = inside.partition("#")
    host = re.split("[/\\\\]", inside, maxsplit=1)[0]
    if "@" in host or ("@" in inside and not PORT.fullmatch(host)):  # a password may hold a slash
        inside = "…@" + inside.rpartition("@")[2]
    elif not PORT.fullmatch(host):  # … or a space, before which the address seems to end
        inside = "…"
    shown = inside + (mark + ("…" if "=" in fragment else fragment) if mark else "")
    return shown + ("?…" if query else "") + end[0]


def summarize_error(error: Exception) -> str:
    """What an error says, in one line."""
    said = getattr(error, "strerror", None) or " ".join(str(error).split())[:300]
    return escape_controls(hide_secrets(said)) or type(error).__name__


@contextmanager
def convert_errors(where: str, *kinds: type[Exception]) -> Iterator[None]:
    """Raises ``UserError`` saying where, for errors of such kinds."""
    try:
        yield
    except UserError:
        raise
    except kinds as error:
        raise UserError(f"{where}: {summarize_error(error)}") from error


def require_plain_name(name: str, where: str) -> str:
    """``name``, which is to become a file or folder within one that was asked for. ``where``: the flag it came from.

    Raises:
        UserError: it is empty, has more than 200 bytes, or is no plain name: a path, ``..``, hidden, or with control
            characters.
    """
    if not name or name.startswith(".") or "/" in name or "\\" in name or UNSEEN.search(name):
        raise UserError(f"{where} {name!r}: becomes a folder's name, so it must be a plain one, without / or a first .")
    if len(name.encode()) > 200:
        raise UserError(f"{where} {name[:40]!r}…: becomes a folder's name, so it may have 200 bytes at most")
    return name
