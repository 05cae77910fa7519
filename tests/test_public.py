"""The names that ``import electra`` gives: what they are, where they are, and that nothing heavy comes with them."""

import ast
import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

import electra
from electra.cli import VERBS

HEAVY = ("torch", "transformers", "pydantic", "tyro", "numpy")
SOURCE = Path(electra.__file__).parent


def test_the_package_imports_nothing_heavy() -> None:
    """``test_cli`` has the same of ``electra --help``."""
    code = "import electra, json, sys; print(json.dumps(sorted(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {name.split(".")[0] for name in json.loads(printed)} & set(HEAVY)


def test_no_module_hides_a_public_name() -> None:
    """A submodule becomes an attribute of its package when it is imported, in place of what had the name."""
    for path in SOURCE.rglob("*.py"):
        if path.stem not in ("__main__", "triton"):  # the one runs, the others need a compiler for a GPU
            parts = path.relative_to(SOURCE.parent).with_suffix("").parts
            importlib.import_module(".".join(part for part in parts if part != "__init__"))
    for name in electra.PUBLIC:
        value = getattr(electra, name)
        assert callable(value) and not inspect.ismodule(value), name
        assert value.__name__ == electra.PUBLIC[name].partition(":")[2]


def test_each_verb_is_a_public_function_with_its_config() -> None:
    functions = {verb.function or name: verb for name, verb in VERBS.items()}
    for name, verb in functions.items():
        (parameter,) = inspect.signature(getattr(electra, name)).parameters.values()
        assert parameter.annotation is getattr(electra, verb.config)
    assert set(electra.PUBLIC) == {
        *functions,
        *(verb.config for verb in VERBS.values()),
        "load",
        "Encoder",
        "add_objective",
        "UserError",
    }
    assert set(electra.PUBLIC) <= set(dir(electra)) and set(electra.PUBLIC) < set(electra.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = electra.nothing


def test_editors_and_the_interpreter_find_the_same() -> None:
    tree = ast.parse(Path(electra.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {
        alias.name: f"{node.module}:{alias.name}"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name  # without "as" it is for this file alone
    }
    assert imported == electra.PUBLIC
    assert (SOURCE / "py.typed").is_file()
