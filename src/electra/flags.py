"""Flags laid over a config, by tyro: the last layer, whose ``--help`` shows the layers below as defaults."""

import contextlib
import io
import re
from collections.abc import Sequence
from dataclasses import fields, make_dataclass
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

from electra.config import alternatives, dataclasses_of, kind_of, overlay, paths, suggestion, whole
from electra.errors import UserError

C = TypeVar("C")


def parse(
    base: C,
    arguments: Sequence[str],
    program: str,
    about: str,
    positional: Sequence[str] = (),
    taken: Sequence[str] = (),
) -> C:
    """``base`` with flags laid over it; the fields named in ``positional`` are given without a flag.

    ``taken``: flags that the caller has read before, which a misspelled one may have meant.

    ``--optimizer.kind muon`` is applied first, wherever it stands: the other flags and ``--help`` are that kind's.

    Raises:
        UserError: an unknown flag (with the closest right one) or a value of the wrong type, in one line.
        SystemExit: with code 0, after ``--help``.
    """
    import tyro

    base, arguments = kinds_first(base, arguments)
    known = names(base)
    given = [spelled(argument, known, taken) for argument in arguments]
    words = [whole_number(word, known.get(before)) for before, word in zip(["", *given], given, strict=False)]
    about += "".join(f"\n\n{line}" for line in exchangeable(base))
    settings = (tyro.conf.AvoidSubcommands,)
    shape = with_positional(type(base), positional)
    default = shape(**{field.name: getattr(base, field.name) for field in fields(base)})  # type: ignore[arg-type]
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parsed = tyro.cli(shape, prog=program, description=about, args=words, default=default, config=settings)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UserError(condensed(said.getvalue())) from stop
    return type(base)(**{field.name: getattr(parsed, field.name) for field in fields(base)})  # type: ignore[arg-type]


def kinds_first(base: C, arguments: Sequence[str]) -> tuple[C, list[str]]:
    """``base`` with every ``--….kind`` applied, and the other arguments."""
    rest = list(arguments)
    while True:
        at = next((i for i, word in enumerate(rest) if re.match(r"--[\w.-]+\.kind(=|$)", word)), None)
        if at is None:
            return base, rest
        flag, equals, value = rest.pop(at).partition("=")
        if not equals:
            if at == len(rest):
                raise UserError(f"{flag}: a kind must follow")
            value = rest.pop(at)
        path = field_name(flag)
        if path not in paths(base):
            raise UserError(f"unknown flag {flag}{suggestion(flag, names(base))}")
        tree: Any = value
        for part in reversed(path.split(".")):
            tree = {part: tree}
        base = overlay(base, tree, "flags")


def exchangeable(base: Any) -> list[str]:
    """A line of help where parts of the config come in several kinds."""
    choices = {path: dataclasses_of(hint) for path, hint in paths(base).items()}
    parts = [
        f"{flag_name(path)}.kind {'|'.join(kind_of(choice) for choice in kinds)}"
        for path, kinds in choices.items()
        if len(kinds) > 1
    ]
    return [f"Parts of several kinds, shown below as set: {', '.join(parts)}."] if parts else []


def names(config: Any) -> dict[str, Any]:
    """Every flag that tyro will know (``--optimizer.learning-rate``) → its type."""
    known: dict[str, Any] = {"--help": None}
    for path, hint in paths(config).items():
        known[flag_name(path)] = hint
        if hint is bool:
            head, dot, tail = path.rpartition(".")
            known[flag_name(f"{head}{dot}no_{tail}")] = hint
    return known


def spelled(argument: str, known: dict[str, Any], taken: Sequence[str]) -> str:
    """The argument as tyro takes it; a flag that is none of ``known`` raises ``UserError``."""
    if not argument.startswith("--"):
        return argument
    flag, equals, value = argument.partition("=")
    flag = flag.replace("_", "-")
    if flag not in known:
        raise UserError(f"unknown flag {flag}{suggestion(flag, [*known, *taken])}")
    return f"{flag}{equals}{whole_number(value, known[flag])}"


def whole_number(word: str, hint: Any) -> str:
    """``2e9`` written out where a whole number is wanted."""
    wanted = alternatives(hint) + tuple(each for part in alternatives(hint) for each in get_args(part))
    return str(whole(word)) if int in wanted and float not in wanted else word


def with_positional(config_class: type, positional: Sequence[str]) -> type:
    """The config class with some fields marked for tyro as given without a flag."""
    import tyro

    hints = get_type_hints(config_class)
    marked = [
        (name, Annotated[hints[name], tyro.conf.Positional, tyro.conf.arg(metavar=name.upper())]) for name in positional
    ]
    return make_dataclass(
        config_class.__name__, [(name, hint, None) for name, hint in marked], bases=(config_class,), frozen=True
    )


def condensed(message: str) -> str:
    """The gist of tyro's framed message in one line."""
    lines = [line.strip("│ ").strip() for line in message.splitlines() if not line.startswith(("╭", "╰"))]
    gist = []
    for line in lines:
        if not line or line.startswith("───"):
            break
        gist.append(line)
    return " ".join(gist).removeprefix("Error parsing ") or "the flags could not be read"


def flag_name(path: str) -> str:
    """``phases.0.goes_on`` → ``--phases.0.goes-on``."""
    return "--" + path.replace("_", "-")


def field_name(flag: str) -> str:
    """``--phases.0.goes-on`` → ``phases.0.goes_on``."""
    return flag.removeprefix("--").replace("-", "_")
