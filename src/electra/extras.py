"""Packages of the extras of ``pip install 'electra[…]'``: imported where they are used."""

from importlib import import_module
from types import ModuleType

from electra.errors import UserError


def import_extra(module: str, extra: str, what: str) -> ModuleType:
    """Import a module that comes with an extra. ``what`` needs it, in words, which begin the error.

    Raises:
        UserError: it is not installed; the error names the package and the extra.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise UserError(f"{what} needs the package {package}; pip install 'electra[{extra}]'") from error
