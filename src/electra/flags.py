"""Flags laid over a config, by tyro: the last layer, whose ``--help`` shows the layers below as defaults."""

import contextlib
import io
import re
from collections.abc import Sequence
from dataclasses import fields, make_dataclass
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

from electra.config import (
    dataclasses_of,
    expand_exponent,
    key_types,
    kind_of,
    overlay_config,
    suggest_closest,
    union_members,
)
from electra.errors import UserError

C = TypeVar("C")


def parse_flags(
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

    base, arguments = apply_kinds(base, arguments)
    known = known_flags(base)
    given = [normalize_flag(argument, known, taken) for argument in arguments]
    words = [expand_word(word, known.get(before)) for before, word in zip(["", *given], given, strict=False)]
    about += "".join(f"\n\n{line}" for line in describe_kinds(base))
    settings = (tyro.conf.AvoidSubcommands,)
    shape = mark_positional(type(base), positional)
    default = shape(**{field.name: getattr(base, field.name) for field in fields(base)})  # type: ignore[arg-type]
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parsed = tyro.cli(shape, prog=program, description=about, args=words, default=default, config=settings)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UserError(condense_message(said.getvalue())) from stop
    return type(base)(**{field.name: getattr(parsed, field.name) for field in fields(base)})  # type: ignore[arg-type]


def apply_kinds(base: C, arguments: Sequence[str]) -> tuple[C, list[str]]:
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
        if path not in key_types(base):
            raise UserError(f"unknown flag {flag}{suggest_closest(flag, known_flags(base))}")
        tree: Any = value
        for part in reversed(path.split(".")):
            tree = {part: tree}
        base = overlay_config(base, tree, "flags")


def describe_kinds(base: Any) -> list[str]:
    """A line of help where parts of the config come in several kinds."""
    choices = {path: dataclasses_of(hint) for path, hint in key_types(base).items()}
    parts = [
        f"{flag_name(path)}.kind {'|'.join(kind_of(choice) for choice in kinds)}"
        for path, kinds in choices.items()
        if len(kinds) > 1
    ]
    return [f"Parts of several kinds, shown below as set: {', '.join(parts)}."] if parts else []


def known_flags(config: Any) -> dict[str, Any]:
    """Every flag that tyro will know (``--optimizer.learning-rate``) → its type."""
    known: dict[str, Any] = {"--help": None}
    for path, hint in key_types(config).items():
        known[flag_name(path)] = hint
        if hint is bool:
            head, dot, tail = path.rpartition(".")
            known[flag_name(f"{head}{dot}no_{tail}")] = hint
    return known


def normalize_flag(argument: str, known: dict[str, Any], taken: Sequence[str]) -> str:
    """The argument as tyro takes it; a flag that is none of ``known`` raises ``UserError``."""
    if not argument.startswith("--"):
        return argument
    flag, equals, value = argument.partition("=")
    flag = flag.replace("_", "-")
    if flag not in known:
        raise UserError(f"unknown flag {flag}{suggest_closest(flag, [*known, *taken])}")
    return f"{flag}{equals}{expand_word(value, known[flag])}"


def expand_word(word: str, hint: Any) -> str:
    """``2e9`` written out where a whole number is wanted."""
    wanted = union_members(hint) + tuple(each for part in union_members(hint) for each in get_args(part))
    return str(expand_exponent(word)) if int in wanted and float not in wanted else word


def mark_positional(config_class: type, positional: Sequence[str]) -> type:
    """The config class with some fields marked for tyro as given without a flag."""
    import tyro

    hints = get_type_hints(config_class)
    marked = [
        (name, Annotated[hints[name], tyro.conf.Positional, tyro.conf.arg(metavar=name.upper())]) for name in positional
    ]
    return make_dataclass(
        config_class.__name__, [(name, hint, None) for name, hint in marked], bases=(config_class,), frozen=True
    )


def condense_message(message: str) -> str:
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
