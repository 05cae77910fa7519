"""Configs are frozen dataclasses, laid in layers: a preset, then a file over it, then flags (``electra.flags``).

A layer is a tree of plain values: mappings, lists, text, numbers. Trees are laid over one another, and pydantic makes
the config of the outcome, by the types of its fields. A field of type ``Annotated[A | B, ByKind()]`` holds one of
several dataclasses, each with a field ``kind: Literal["…"] = "…"``. A layer without ``kind`` changes the one that is
there. A layer with another ``kind`` keeps of it the fields that both kinds have with the same default, and starts from
the new kind's defaults for the others: a preset's mask rate stays with another objective, its learning rate does not
with another optimizer, whose default is another.
"""

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar

from electra.config_types import (
    ByKind,
    choose_class,
    dataclasses_of,
    describe_type,
    entry_type,
    field_types,
    kind_of,
    number_range,
    union_members,
)
from electra.errors import UserError
from electra.strict_json import load_strictly

C = TypeVar("C")

Json = Any  # a plain value, as YAML, TOML and JSON give it
MOST_VALUES = 1_000_000  # in a config file
MOST_SHOWN = 200  # characters of a value in an error
HALF_SURROGATE = re.compile("[\ud800-\udfff]")


def load_config(base: C, file: str | Path) -> C:
    """``base`` with a YAML, TOML or JSON file laid over it.

    Raises:
        UserError: no such file, not readable as what its name says, an unknown key (named, with the closest right one),
            or a value of the wrong type or out of its range.
    """
    return overlay_config(base, read_config_file(Path(file)), str(file))


def dump_config(config: object) -> str:
    """The config as YAML, which ``load_config`` reads back to an equal one."""
    import yaml

    return yaml.safe_dump(plain_tree(config), sort_keys=False)  # ASCII: PyYAML reads U+0085 back as a line's end


def read_config_file(file: Path) -> Mapping[Any, Json]:
    """The file's mapping, unchecked. Raises ``UserError`` with the file's name, and the line if the parser gives it."""
    parsers: dict[str, Callable[[str], Json]] = {
        ".yaml": parse_yaml,
        ".yml": parse_yaml,
        ".toml": parse_toml,
        ".json": parse_json_config,
    }
    if file.suffix not in parsers:
        raise UserError(f"{file}: a config file is named .yaml, .toml or .json")
    try:
        tree = parsers[file.suffix](file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise UserError(f"{file}: nested too deeply") from error
    except ValueError as error:
        raise UserError(f"{file}: {' '.join(str(error).split())}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UserError(f"{file}: expected keys with values, found {type(tree).__name__}")
    return tree


def parse_yaml(text: str) -> Json:
    """The value of a YAML text. Raises ``ValueError`` with the line, as the other parsers do."""
    import yaml

    from electra.yaml_loader import YamlLoader, describe_yaml_error

    try:
        return check_plain_value(yaml.load(text, YamlLoader))
    except yaml.YAMLError as error:
        raise ValueError(describe_yaml_error(error)) from error


def parse_toml(text: str) -> Json:
    """The value of a TOML text. Raises ``ValueError`` with the line, and ``RecursionError`` for too deep nesting."""
    return check_plain_value(tomllib.loads(text))


def parse_json_config(text: str) -> Json:
    """The value of a JSON text. Raises ``ValueError`` and ``RecursionError`` as ``load_strictly``."""
    return check_plain_value(load_strictly(text))


def check_plain_value(value: Json) -> Json:
    """``value``, as a parser gives it, with an end to what is in it.

    Raises:
        ValueError: more than ``MOST_VALUES``, which aliases make of a few lines, or text with half a surrogate pair.
        RecursionError: values within values too deeply, as in a list that holds itself.
    """
    count = 0

    def visit(part: Json) -> None:
        nonlocal count
        count += 1
        if count > MOST_VALUES:
            raise ValueError(f"more than {MOST_VALUES:,} values, those that aliases repeat included")
        if isinstance(part, str) and not part.isascii() and HALF_SURROGATE.search(part):
            raise ValueError(f"{part!r}: half a surrogate pair, which is no character")
        for each in (*part, *part.values()) if isinstance(part, dict) else part if isinstance(part, list) else ():
            visit(each)

    visit(value)
    return value


def overlay_config(base: C, tree: Mapping[Any, Json], where: str) -> C:
    """``base`` with the nested mapping ``tree`` laid over it; ``where`` (a file's name) begins every error's line.

    Entry i of a list of dataclasses is laid over entry i of the list that is there, or its last.

    Raises:
        UserError: an unknown key, or a value of the wrong type or out of its range.
    """
    return validate_tree(type(base), merge_trees(plain_tree(base), tree, type(base)), where)


def merge_trees(lower: Json, upper: Json, hint: object) -> Json:
    """The plain value ``upper`` laid over ``lower``, both for a field of type ``hint``; unknown keys are kept."""
    if isinstance(upper, list) and dataclasses_of(entry_type(hint)):
        entries = lower if isinstance(lower, list) and lower else [None]
        below = (entries[min(index, len(entries) - 1)] for index in range(len(upper)))
        return [merge_trees(entry, each, entry_type(hint)) for entry, each in zip(below, upper, strict=True)]
    beneath = lower if isinstance(lower, Mapping) else {}
    config_class = choose_class(hint, {**beneath, **upper}) if isinstance(upper, Mapping) else None
    if not isinstance(upper, Mapping) or config_class is None:
        return upper
    if (before := choose_class(hint, lower)) is not config_class:
        beneath = plain_tree(config_class()) | (keep_common_fields(beneath, before, config_class) if before else {})
    types = field_types(config_class)
    return {**beneath, **{key: merge_trees(beneath.get(key), each, types.get(key)) for key, each in upper.items()}}


def keep_common_fields(tree: Mapping[str, Json], before: type, after: type) -> dict[str, Json]:
    """The values in ``tree``, a config of the kind ``before``, of the fields that ``after`` has with the same type and
    the same default: what does not depend on the kind."""
    old, new = (plain_tree(kind()) for kind in (before, after))
    old_types, new_types = field_types(before), field_types(after)
    common = [name for name in tree.keys() & old.keys() & new.keys() if old[name] == new[name]]
    return {name: tree[name] for name in common if old_types[name] == new_types[name]}


def validate_tree(config_class: type, tree: Json, where: str) -> Any:
    """The config that a complete tree describes. Raises ``UserError`` as ``overlay_config``, for the first mistake."""
    from pydantic import ValidationError

    validate = make_validator(config_class, ByKind.changes)
    try:
        return validate((tree,))[0]
    except ValidationError as error:
        mistakes = error.errors(include_url=False)
        first = next((each for each in mistakes if each["type"] in UNKNOWN_KEY), mistakes[0])
        raise UserError(f"{where}: {explain_mistake(config_class, tree, first)}") from error


@cache
def make_validator(config_class: type, _: int) -> Callable[[tuple[Json]], Any]:
    """pydantic's reader of a config, which refuses unknown keys; made anew after each of ``ByKind.changes``. It takes a
    tree and gives a config, both in a tuple: for a dataclass alone pydantic does not take this setting from outside."""
    from pydantic import TypeAdapter

    return TypeAdapter(tuple[config_class], config={"extra": "forbid"}).validate_python  # type: ignore[valid-type]


UNKNOWN_KEY = ("unexpected_keyword_argument", "invalid_key")  # pydantic's names: for text, and for anything else
UNKNOWN_KIND = ("union_tag_invalid", "union_tag_not_found")


def explain_mistake(config_class: type, tree: Json, mistake: Mapping[str, Any]) -> str:
    """One of pydantic's errors as a line of ours: the key, what is expected there and what was found."""
    location = mistake["loc"][1:]  # without the place in the tuple of ``make_validator``
    if mistake["type"] in UNKNOWN_KEY:
        keys, hint, part = follow_location(config_class, tree, location[:-1])
        key = str(mistake["input"] if mistake["type"] == "invalid_key" else location[-1])
        part_class = choose_class(hint, part)
        known = key_types(part_class, part) if part_class else {}
        return f"unknown key {'.'.join([*keys, key])}{suggest_closest(key, known)}"
    keys, hint, found = follow_location(config_class, tree, location)
    path = ".".join(keys)
    if mistake["type"] in UNKNOWN_KIND:
        kinds, kind = [kind_of(each) for each in dataclasses_of(hint)], found.get("kind")
        shown = "missing" if kind is None else show_value(kind)
        return f"{path}.kind: {shown}; one of {', '.join(kinds)}{suggest_closest(str(kind), kinds)}"
    if mistake["type"] == "value_error" and dataclasses_of(hint):  # the class itself refuses, in __post_init__
        return f"{path or 'config'}: {mistake['ctx']['error']}"
    return f"{path}: expected {describe_type(hint)}, found {show_value(found)}"


def show_value(value: Json) -> str:
    """A value as an error shows it; a long one is cut."""
    shown = repr(value)
    return shown if len(shown) <= MOST_SHOWN else f"{shown[:MOST_SHOWN]} …"


def follow_location(hint: object, tree: Json, location: Sequence[int | str]) -> tuple[list[str], object, Json]:
    """The keys of the field in which pydantic found a mistake, the field's type and its value in ``tree``."""
    keys: list[str] = []
    for part in location:
        classes = dataclasses_of(hint)
        if len(classes) > 1:  # pydantic says which of them it is
            hint = next(each for each in classes if kind_of(each) == part)
            continue
        if not classes and not dataclasses_of(entry_type(hint)):
            break
        keys.append(str(part))
        hint = field_types(classes[0])[str(part)] if classes else entry_type(hint)
        tree = tree[part]
    return keys, hint, tree


def build_config(hint: object, tree: Json) -> Any:
    """What a complete tree describes, unchecked and without pydantic: for trees that are known to be right."""
    if config_class := choose_class(hint, tree):
        types = field_types(config_class)
        return config_class(**{key: build_config(types[key], value) for key, value in tree.items()})
    return tuple(build_config(entry_type(hint), each) for each in tree) if isinstance(tree, list) else tree


def check_ranges(config: object, path: str = "") -> None:
    """Check all numbers of a config: one that was made in Python has been through no other check.

    Raises:
        UserError: a number is not in the range that its field's type says.
    """
    config_class: type = type(config)
    for name, hint in field_types(config_class).items():
        value = getattr(config, name)
        if not in_range(value, hint):
            raise UserError(f"{path}{name}: expected {describe_type(hint)}, found {value!r}")
        for key, part in nested_configs(value, path + name):
            check_ranges(part, f"{key}.")


def in_range(value: object, hint: object) -> bool:
    """Whether all numbers in a field's value are in the range of its type; other values are not looked at."""
    if number := number_range(hint):
        kind, limits = number
        return limits.holds(value, kind)
    if len(members := union_members(hint)) > 1:
        return any(in_range(value, each) for each in members)
    if isinstance(value, (tuple, list)):
        return all(in_range(each, entry_type(hint)) for each in value)
    return value is None or hint is not NoneType


def nested_configs(value: object, path: str) -> Iterator[tuple[str, object]]:
    """The configs in a field's value, each with its path."""
    if is_dataclass(value):
        yield path, value
    elif isinstance(value, (tuple, list)):
        yield from ((f"{path}.{index}", each) for index, each in enumerate(value) if is_dataclass(each))


def key_types(config_class: type, tree: Mapping[str, Json], prefix: str = "") -> dict[str, object]:
    """Every key of a config, as a plain tree, and of those in it (``optimizer.learning_rate``, ``phases.0.steps``) →
    its type."""
    found: dict[str, object] = {}
    for name, hint in field_types(config_class).items():
        path, value = prefix + name, tree.get(name)
        found[path] = hint
        parts = [(path, hint, value)]
        if isinstance(value, list):
            parts = [(f"{path}.{index}", entry_type(hint), each) for index, each in enumerate(value)]
        for place, part_hint, part in parts:
            if isinstance(part, Mapping) and (part_class := choose_class(part_hint, part)):
                found |= key_types(part_class, part, f"{place}.")
    return found


def plain_tree(value: object) -> Json:
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
