"""Configs are frozen dataclasses, laid in layers: a preset, then a file over it, then flags (``electra.flags``).

A field that is ``A | B`` of dataclasses chooses by their ``kind``: each has a field ``kind: Literal["…"] = "…"``.
Without ``kind`` a layer changes the one that is there; with another ``kind`` it starts from that one's defaults.
"""

import difflib
import json
import tomllib
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from electra.errors import UserError

C = TypeVar("C")


def load_config(base: C, file: str | Path) -> C:
    """``base`` with a YAML, TOML or JSON file laid over it.

    Raises:
        UserError: no such file, not readable as what its name says, an unknown key (named, with the closest right one),
            or a value of the wrong type.
    """
    return overlay_config(base, read_config_file(Path(file)), str(file))


def dump_config(config: object) -> str:
    """The config as YAML, which ``load_config`` reads back to an equal one."""
    import yaml

    return yaml.safe_dump(plain_tree(config), sort_keys=False)  # ASCII: PyYAML reads U+0085 back as a line's end


def read_config_file(file: Path) -> Mapping[Any, Any]:
    """The file's mapping, unchecked. Raises ``UserError`` naming the file, and the line where the parser gives it."""
    parsers: dict[str, Callable[[str], Any]] = {
        ".yaml": parse_yaml,
        ".yml": parse_yaml,
        ".toml": tomllib.loads,
        ".json": json.loads,
    }
    if file.suffix not in parsers:
        raise UserError(f"{file}: a config file is named .yaml, .toml or .json")
    try:
        tree = parsers[file.suffix](file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 at byte {error.start}") from error
    except ValueError as error:
        raise UserError(f"{file}: {' '.join(str(error).split())}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UserError(f"{file}: expected keys with values, found {type(tree).__name__}")
    return tree


def parse_yaml(text: str) -> Any:
    """YAML's value. Raises ``ValueError`` with the line, as the other parsers do."""
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def overlay_config(base: C, tree: Mapping[Any, Any], where: str) -> C:
    """``base`` with the nested mapping ``tree`` laid over it; ``where`` (a file, a flag) begins every error's line.

    Entry i of a list of dataclasses is laid over entry i of the list that is there, or its last.

    Raises:
        UserError: an unknown key or a value of the wrong type.
    """
    return overlay_part(base, tree, where, "")


def overlay_part(base: C, tree: Mapping[Any, Any], where: str, path: str) -> C:
    """``overlay_config`` for the part of a config that lies at ``path``."""
    hints = get_type_hints(type(base))
    for key in tree:
        if key not in hints:
            raise UserError(f"{where}: unknown key {path}{key}{suggest_closest(str(key), key_types(base))}")
    changes = {
        key: convert_value(hints[key], getattr(base, key), value, where, path + key) for key, value in tree.items()
    }
    try:
        return replace(base, **changes)  # type: ignore[type-var]
    except (ValueError, UserError) as error:
        raise UserError(f"{where}: {path.rstrip('.') or 'config'}: {error}") from error


def convert_value(hint: Any, base: Any, value: Any, where: str, path: str) -> Any:
    """``value`` as a field of type ``hint`` holds it; ``base`` is what the field holds now."""
    choices, entry = dataclasses_of(hint), entry_type(hint)
    if choices and isinstance(value, Mapping):
        return overlay_part(choose_kind(choices, base, value.get("kind"), where, path), value, where, f"{path}.")
    if entry and isinstance(value, list):
        there = list(base) or [None]
        return tuple(
            convert_value(entry, there[min(index, len(there) - 1)], each, where, f"{path}.{index}")
            for index, each in enumerate(value)
        )
    return check_value(hint, value, where, path)


def choose_kind(choices: Sequence[type], base: Any, kind: Any, where: str, path: str) -> Any:
    """The instance that a mapping is laid over: ``base``, or the defaults of another kind."""
    if type(base) in choices and kind in (None, getattr(base, "kind", None)):
        return base
    kinds = {kind_of(choice): choice for choice in choices}
    if len(choices) == 1:
        return choices[0]()
    if kind not in kinds:
        found = "missing" if kind is None else f"{kind!r}"
        raise UserError(f"{where}: {path}.kind: {found}; one of {', '.join(kinds)}{suggest_closest(str(kind), kinds)}")
    return kinds[kind]()


def check_value(hint: Any, value: Any, where: str, path: str) -> Any:
    """A plain value checked against its type; 2e9 is a whole number, and true is none."""
    from pydantic import TypeAdapter, ValidationError

    kinds = set(union_members(hint))
    try:
        if isinstance(value, bool) and kinds & {int, float} and bool not in kinds:
            raise ValueError
        return TypeAdapter(hint).validate_python(expand_exponent(value) if int in kinds else value)
    except (ValidationError, ValueError) as error:
        raise UserError(f"{where}: {path}: expected {describe_type(hint)}, found {value!r}") from error


def expand_exponent(value: Any) -> Any:
    """Text such as ``2e9`` as the whole number that it names; anything else unchanged."""
    try:
        number = float(value) if isinstance(value, str) else None
    except ValueError:
        return value
    return int(number) if number is not None and number.is_integer() else value


def describe_type(hint: Any) -> str:
    """A type in words."""
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "nothing"}
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    if len(union_members(hint)) > 1:
        return " or ".join(dict.fromkeys(describe_type(each) for each in union_members(hint)))
    if get_origin(hint) in (tuple, list):
        return "a list of " + (describe_type(get_args(hint)[0]) if get_args(hint) else "values")
    return words.get(hint, "keys with values" if is_dataclass(hint) else getattr(hint, "__name__", str(hint)))


def key_types(config: Any, prefix: str = "") -> dict[str, Any]:
    """Every key of the config and of those in it (``optimizer.learning_rate``, ``phases.0.steps``) → its type."""
    found: dict[str, Any] = {}
    hints = get_type_hints(type(config))
    for field in fields(config):
        value, path = getattr(config, field.name), prefix + field.name
        found[path] = hints[field.name]
        for name, part in nested_configs(value, path):
            found |= key_types(part, f"{name}.")
    return found


def nested_configs(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The configs in a field's value, with their paths."""
    if is_dataclass(value):
        yield path, value
    elif isinstance(value, tuple):
        yield from ((f"{path}.{index}", each) for index, each in enumerate(value) if is_dataclass(each))


def plain_tree(value: Any) -> Any:
    """Configs as dicts and tuples as lists, which YAML and JSON know."""
    if is_dataclass(value):
        return {field.name: plain_tree(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain_tree(each) for key, each in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain_tree(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def suggest_closest(key: str, known: Iterable[str]) -> str:
    """``; did you mean …?`` with the closest of the known keys (the same last part counts most), or nothing."""
    tail = key.rpartition(".")[2]
    same = [each for each in known if each.rpartition(".")[2] == tail]
    close = (
        same
        or difflib.get_close_matches(key, known, 1)
        or [each for each in known if difflib.get_close_matches(tail, [each.rpartition(".")[2]])]
    )
    return f"; did you mean {close[0]}?" if close else ""


def kind_of(config_class: type) -> str:
    """The ``kind`` by which files and flags choose this class."""
    return next(str(field.default) for field in fields(config_class) if field.name == "kind")


def dataclasses_of(hint: Any) -> list[type]:
    """The dataclasses that a field of this type may hold."""
    return [each for each in union_members(hint) if isinstance(each, type) and is_dataclass(each)]


def entry_type(hint: Any) -> Any:
    """What ``tuple[X, …]`` holds, if X is a dataclass or a choice of them; else nothing."""
    arguments = get_args(hint)
    return arguments[0] if get_origin(hint) is tuple and arguments and dataclasses_of(arguments[0]) else None


def union_members(hint: Any) -> tuple[Any, ...]:
    """The members of a union; a type that is none alone."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
