"""The types of a config's fields: which dataclasses a field may hold, which numbers, and that in words."""

import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from electra.errors import UserError
from electra.ranges import Range


class ByKind:
    """Marks a type ``A | B`` of dataclasses of which files and flags choose one by its ``kind``.

    Only so marked, ``kind`` is a switch: in any other class a field of this name is a setting like the others.
    ``added``: classes of a user's own that may stand there too. ``changes``: how often one was added, to any type; what
    was made of the types before is stale.
    """

    changes: ClassVar[int] = 0

    def __init__(self) -> None:
        self.added: list[type] = []

    def add(self, config_class: type) -> None:
        """Let a dataclass stand there, in the place of an added one of the same kind (a notebook's cell, run again)."""
        self.added = [each for each in self.added if kind_of(each) != kind_of(config_class)] + [config_class]
        ByKind.changes += 1

    def __get_pydantic_core_schema__(self, union: object, schema_of: Callable[[type], Any]) -> Any:
        """pydantic's hook: read the value by the schema of the class whose kind it names."""
        from pydantic_core import core_schema

        def build_chosen(tree: object, build: Callable[[object], object]) -> object:
            try:
                return build(tree)
            except UserError as error:  # from __post_init__; pydantic says where only for a ValueError
                raise ValueError(str(error)) from error

        classes = {kind_of(each): schema_of(each) for each in [*dataclasses_of(union), *self.added]}
        choice = core_schema.tagged_union_schema(classes, discriminator="kind")
        return core_schema.no_info_wrap_validator_function(build_chosen, choice)


@cache
def field_types(config_class: type) -> dict[str, object]:
    """Each field's name → its type, with what it is marked with."""
    hints = get_type_hints(config_class, include_extras=True)
    return {field.name: hints[field.name] for field in fields(config_class)}


def kind_of(config_class: type) -> str:
    """The ``kind`` by which files and flags choose this class."""
    return next(str(field.default) for field in fields(config_class) if field.name == "kind")


def choose_class(hint: object, tree: object) -> type | None:
    """The dataclass that a field of this type holds where its value is ``tree``; None if it holds another value."""
    if not isinstance(tree, Mapping):
        return None
    classes = dataclasses_of(hint)
    if len(classes) == 1:
        return classes[0]
    return next((each for each in classes if kind_of(each) == tree.get("kind")), None)


def dataclasses_of(hint: object) -> list[type]:
    """The dataclasses that a field of this type may hold."""
    added = [each for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, ByKind) for each in mark.added]
    return [each for each in [*union_members(hint), *added] if isinstance(each, type) and is_dataclass(each)]


def entry_type(hint: object) -> object:
    """X of ``tuple[X, ...]``; None for any other type."""
    return get_args(hint)[0] if get_origin(hint) is tuple else None


def union_members(hint: object) -> tuple[object, ...]:
    """The members of a union, marked or not; a type that is none alone."""
    bare = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    return get_args(bare) if get_origin(bare) in (Union, types.UnionType) else (hint,)


def number_range(hint: object) -> tuple[type, Range] | None:
    """The kind of number, int or float, and the range of a type that is marked with one."""
    arguments = get_args(hint)
    marked = get_origin(hint) is Annotated and isinstance(arguments[1], Range)
    return (arguments[0], arguments[1]) if marked else None


def describe_type(hint: object, plural: bool = False) -> str:
    """A type in words."""
    words: dict[object, tuple[str, str]] = {
        int: ("a whole number", "whole numbers"), float: ("a number", "numbers"), str: ("text", "text"),
        bool: ("true or false", "true or false"), type(None): ("nothing", "nothing"),
    }  # fmt: skip
    if number := number_range(hint):
        kind, limits = number
        return f"{words[kind][plural]} {limits}".rstrip()
    if len(union_members(hint)) > 1:
        return " or ".join(dict.fromkeys(describe_type(each, plural) for each in union_members(hint)))
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    if get_origin(hint) is tuple:
        return "a list of " + describe_type(entry_type(hint), plural=True)
    return words[hint][plural] if hint in words else "keys with values"
