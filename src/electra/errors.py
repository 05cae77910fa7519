"""The exception for mistakes of the user's, and how any text is made safe to print in one line."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

# Control characters (C0, DEL, C1) steer a terminal. Marks of direction and line separators make a line look like
# another one. Half a surrogate pair (an undecodable byte of a file's name) cannot be printed.
UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)((?:(?!::)[^\s'\"<>`])+)")  # fsspec joins addresses by ::
MOST_SHOWN = 1000  # characters of an error
PORT = re.compile(r"(?:[^:@]*|\[[^\]]*\])(?::\d*)?")


class UserError(Exception):
    """A mistake that the user can correct: one line that says where it is, what was found and what would be right.

    The command line prints it as ``electra: error: …`` and exits with code 2, without a traceback. Control characters
    are written out, the passwords and queries of addresses replaced by ``…``, and of an endless line the middle.
    """

    def __init__(self, message: str):
        super().__init__(cut_middle(escape_controls(hide_secrets(message))))


def cut_middle(line: str) -> str:
    """A line that a person can read: of a longer one the beginning, with the place, and the end, with the remedy."""
    return line if len(line) <= MOST_SHOWN else f"{line[: MOST_SHOWN // 2]} … {line[-MOST_SHOWN // 4 :]}"


def escape_controls(text: str) -> str:
    """Write out control characters, the escape character as ``\\x1b``: the text stays in one line and steers no
    terminal."""
    return UNSEEN.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def hide_secrets(text: str) -> str:
    """Replace user, password and query of each address (``scheme://…``) in the text by ``…``."""
    return ADDRESS.sub(lambda match: match[1] + public_part(match[1], match[2]), text) if "://" in text else text


def public_part(scheme: str, rest: str) -> str:
    """The ``rest`` of an address, behind its scheme, without what only its owner may see."""
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
    """The message of any exception in one line, cut after 300 characters; its class's name if it has none."""
    message = getattr(error, "strerror", None) or " ".join(str(error).split())[:300]
    return escape_controls(hide_secrets(message)) or type(error).__name__


@contextmanager
def convert_errors(where: str, *kinds: type[Exception]) -> Iterator[None]:
    """Turn exceptions of these ``kinds`` into ``UserError`` with a message that begins with ``where``."""
    try:
        yield
    except UserError:
        raise
    except kinds as error:
        raise UserError(f"{where}: {summarize_error(error)}") from error


def require_plain_name(name: str, where: str) -> str:
    """Refuse a ``name`` that cannot be a file or folder within the one that was asked for; give it back otherwise.

    ``where`` begins the message: the flag that the name came from.

    Raises:
        UserError: the name is empty, has more than 200 bytes or control characters, is a path, or begins with a dot.
    """
    if not name or name.startswith(".") or "/" in name or "\\" in name or UNSEEN.search(name):
        raise UserError(f"{where} {name!r}: becomes a folder's name, so it must be a plain one, without / or a first .")
    if len(name.encode()) > 200:
        raise UserError(f"{where} {name[:40]!r}…: becomes a folder's name, so it may have 200 bytes at most")
    return name
