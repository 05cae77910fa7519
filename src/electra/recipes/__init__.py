"""Presets as files that a person can read and copy: one YAML a recipe, with all of its hyper-parameters."""

from pathlib import Path

from electra.config import suggestion
from electra.errors import UserError

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """The recipes that travel with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def path(name: str) -> Path:
    """The recipe's file. Raises ``UserError`` with the closest name for one that is not there."""
    if name not in names():
        raise UserError(f"--preset {name}: there is none; one of {', '.join(names())}{suggestion(name, names())}")
    return FOLDER / f"{name}.yaml"
