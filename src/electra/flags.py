"""Flags: the last layer of a config. tyro prints ``--help``, with the layers below as defaults."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import make_dataclass
from typing import Annotated, Any, NoReturn, TypeVar, get_origin

from electra.config import key_types, overlay_config, plain_tree, suggest_closest
from electra.config_types import dataclasses_of, describe_type, entry_type, field_types, kind_of, number_range
from electra.errors import UserError
from electra.ranges import name_number

C = TypeVar("C")

FlagWords = tuple[str, list[str]]  # a flag, and the words up to the next one
FLAG = re.compile(r"--|-[A-Za-z]")  # how a flag begins; - is standard input, -1 a number, -.txt a kind of input


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
        UserError: an unknown flag (with the closest right one), or a value that is missing, of the wrong type or out of
            its range, in one line.
        SystemExit: with code 0, after ``--help``.
    """
    base, groups = apply_kinds(base, group_by_flag(arguments))
    if any(flag in ("-h", "--help") for flag, _ in groups):
        show_help(base, program, about, positional)
    types, tree = key_types(type(base), plain_tree(base)), plain_tree(base)
    return overlay_config(base, nest_values(read_values(groups, types, positional, taken), tree), "flags")


def group_by_flag(arguments: Sequence[str]) -> list[FlagWords]:
    """Each flag with the words behind it, that of ``--flag=word`` included; the words before the first with ""."""
    groups: list[FlagWords] = [("", [])]
    for argument in arguments:
        if FLAG.match(argument):
            flag, equals, word = argument.partition("=")
            groups.append((flag.replace("_", "-"), [word] if equals else []))
        else:
            groups[-1][1].append(argument)
    return groups


def apply_kinds(base: C, groups: Sequence[FlagWords]) -> tuple[C, list[FlagWords]]:
    """``base`` with every ``--….kind`` applied that chooses one of several kinds; and the flags that are left."""
    rest = list(groups)
    while True:
        switches = {f"{flag_name(path)}.kind": path for path in list_choices(base)}
        at = next((index for index, (flag, _) in enumerate(rest) if flag in switches), None)
        if at is None:
            return base, rest
        flag, words = rest[at]
        rest[at] = ("", words[1:])
        kind = {f"{switches[flag]}.kind": words[0] if words else None}
        base = overlay_config(base, nest_values(kind, plain_tree(base)), "flags")


def read_values(
    groups: Sequence[FlagWords], types: Mapping[str, object], positional: Sequence[str], taken: Sequence[str]
) -> dict[str, object]:
    """The value of each key that is given by a flag or by its place; of a flag that is given twice the last one, and
    of a list all of them together. Raises ``UserError`` as ``parse_flags``."""
    known = list_flags(types)
    values: dict[str, object] = {}
    loose: list[str] = []  # words that belong to no flag
    for flag, words in groups:
        if flag and flag not in known:
            raise UserError(f"unknown flag {flag}{suggest_closest(flag, ['--help', *known, *taken])}")
        key = known.get(flag, "")
        if key and types[key] is not bool:
            value, words = take_value(words, types[key], key)
            before = values.get(key)
            values[key] = [*before, *value] if isinstance(before, list) and isinstance(value, list) else value
        elif key:
            values[key] = flag == flag_name(key)
        loose += words
    for key in positional:
        if loose and key not in values:
            values[key], loose = take_value(loose, types[key], key)
    if loose:
        raise UserError(f"unexpected argument {loose[0]}")
    return values


def take_value(words: list[str], hint: object, key: str) -> tuple[object, list[str]]:
    """The value of a key, from the first word or, for a list, from all of them; and the words that are left.

    Where a number is wanted, words that are numbers become numbers: errors show those without quotes.

    Raises:
        UserError: there is no word.
    """
    if get_origin(hint) is tuple:
        return [name_number(word) if number_range(entry_type(hint)) else word for word in words], []
    if not words:
        raise UserError(f"flags: {key}: expected {describe_type(hint)}, found nothing")
    return name_number(words[0]) if number_range(hint) else words[0], words[1:]


def nest_values(values: Mapping[str, object], tree: Any, prefix: str = "") -> Any:
    """``{"phases.1.rows": 8}`` as a layer over the plain ``tree`` of a config: ``{"phases": [{}, {"rows": 8}]}``."""
    if isinstance(tree, list):
        return [nest_values(values, part, f"{prefix}{index}.") for index, part in enumerate(tree)]
    layer: dict[str, object] = {}
    for name, part in tree.items():
        inner = isinstance(part, Mapping) or (isinstance(part, list) and part and isinstance(part[0], Mapping))
        if prefix + name in values:
            layer[name] = values[prefix + name]
        elif inner:
            layer[name] = nest_values(values, part, f"{prefix}{name}.")
    return layer


def show_help(base: object, program: str, about: str, positional: Sequence[str]) -> NoReturn:
    """Print the flags with the values of ``base`` as their defaults. Raises ``SystemExit`` with code 0."""
    import tyro

    kinds = [f"{flag_name(path)}.kind {'|'.join(choices)}" for path, choices in list_choices(base).items()]
    if kinds:
        about += f"\n\nParts of several kinds, shown below as set: {', '.join(kinds)}."
    config_class: type = type(base)
    shape = mark_positional(config_class, positional)
    default = shape(**{name: getattr(base, name) for name in field_types(config_class)})
    settings = (tyro.conf.AvoidSubcommands,)
    tyro.cli(shape, prog=program, description=about, args=["--help"], default=default, config=settings)
    raise SystemExit(0)


def list_choices(base: object) -> dict[str, list[str]]:
    """The key of each part that comes in several kinds → the kinds."""
    types = key_types(type(base), plain_tree(base))
    choices = {key: [kind_of(each) for each in dataclasses_of(hint) if len(dataclasses_of(hint)) > 1]
               for key, hint in types.items()}  # fmt: skip
    return {key: kinds for key, kinds in choices.items() if kinds}


def list_flags(types: Mapping[str, object]) -> dict[str, str]:
    """Every flag (``--optimizer.learning-rate``) → its key (``optimizer.learning_rate``)."""
    flags: dict[str, str] = {}
    for key, hint in types.items():
        flags[flag_name(key)] = key
        if hint is bool:
            head, dot, tail = key.rpartition(".")
            flags[flag_name(f"{head}{dot}no_{tail}")] = key
    return flags


def mark_positional(config_class: type, positional: Sequence[str]) -> type:
    """The config class with some fields marked for tyro: as given without a flag, or as ``word`` if it is ``word_``."""
    import tyro

    hints: dict[str, Any] = field_types(config_class)
    marked = [
        (name, Annotated[hints[name], tyro.conf.Positional, tyro.conf.arg(metavar=name.upper())], None)
        for name in positional
    ] + [
        (name, Annotated[hints[name], tyro.conf.arg(name=name.rstrip("_"))], None)
        for name in hints
        if name.endswith("_")
    ]
    return make_dataclass(config_class.__name__, marked, bases=(config_class,), frozen=True)


def flag_name(path: str) -> str:
    """``phases.0.goes_on`` → ``--phases.0.goes-on``; ``as_``, since ``as`` is a word of Python's → ``--as``."""
    return "--" + path.rstrip("_").replace("_", "-")
