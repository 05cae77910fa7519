"""Presets as files that a person can read and copy: one YAML a recipe, with all of its hyper-parameters."""

from pathlib import Path
from typing import TypeVar

from electra.config import build_config, merge_trees, plain_tree, suggest_closest
from electra.errors import UserError

C = TypeVar("C")

FOLDER = Path(__file__).parent


def list_presets() -> list[str]:
    """The recipes that travel with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def find_preset(name: str) -> Path:
    """The recipe's file. Raises ``UserError`` with the closest name for one that is not there."""
    presets = list_presets()
    if name not in presets:
        raise UserError(f"--preset {name}: there is none; one of {', '.join(presets)}{suggest_closest(name, presets)}")
    return FOLDER / f"{name}.yaml"


def apply_preset(base: C, name: str) -> C:
    """``base`` with a preset laid over it, unchecked: what travels with the package is right (a test holds it equal to
    what ``config.load_config`` gives), and a training node has no pydantic to check it by.

    Raises:
        UserError: as ``find_preset``.
    """
    import yaml

    preset = yaml.safe_load(find_preset(name).read_text(encoding="utf-8"))
    return build_config(type(base), merge_trees(plain_tree(base), preset, type(base)))
