"""Presets as files that a person can read and copy: one YAML a recipe, with all of its hyper-parameters."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from electra.config import dataclasses_of, entry_type, kind_of, suggest_closest
from electra.errors import UserError

C = TypeVar("C")

FOLDER = Path(__file__).parent


def list_presets() -> list[str]:
    """The recipes that travel with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def find_preset(name: str) -> Path:
    """The recipe's file. Raises ``UserError`` with the closest name for one that is not there."""
    if name not in list_presets():
        raise UserError(
            f"--preset {name}: there is none; one of {', '.join(list_presets())}{suggest_closest(name, list_presets())}"
        )
    return FOLDER / f"{name}.yaml"


def apply_preset(base: C, name: str) -> C:
    """``base`` with a preset laid over it, unchecked: what travels with the package is right (a test holds it equal to
    what ``config.load_config`` gives), and a training node has no pydantic to check it by.

    Raises:
        UserError: as ``find_preset``.
    """
    import yaml

    return lay_values_over(base, yaml.safe_load(find_preset(name).read_text(encoding="utf-8")))


def lay_values_over(base: C, values: Mapping[str, Any]) -> C:
    """``base`` with nested values in the place of its own."""
    hints = get_type_hints(type(base))
    changes = {key: fill_value(hints[key], getattr(base, key), value) for key, value in values.items()}
    return replace(base, **changes)  # type: ignore[type-var]


def fill_value(hint: Any, there: Any, value: Any) -> Any:
    """A field's value: a config of the kind that it names, a tuple of them, or what it is."""
    if entry := entry_type(hint):
        return tuple(fill_value(entry, there[min(index, len(there) - 1)], each) for index, each in enumerate(value))
    if not isinstance(value, Mapping):
        return value
    kind = getattr(there, "kind", None)
    if value.get("kind", kind) != kind:
        there = next(choice for choice in dataclasses_of(hint) if kind_of(choice) == value["kind"])()
    return lay_values_over(there, value)
