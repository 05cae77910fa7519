"""The JSON files beside a model or tokenizer of others: read, and refused where reading on would run their code."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from electra.errors import UserError, convert_errors

# Numbers of config.json up to which transformers counts when it reads one: no model has so many.
MOST = {"num_hidden_layers": 10_000, "num_labels": 10_000_000}


def read_settings(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty if there is no such file. Raises ``UserError`` if it holds something else."""
    with convert_errors(str(path), OSError, ValueError, RecursionError):
        settings = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if not isinstance(settings, dict):
        raise UserError(f"{path}: no object with named fields")
    return settings


def refuse_code(folder: Path) -> None:
    """Raise ``UserError`` for a folder whose model or tokenizer needs code that is not transformers' own, or whose
    config is one that ``refuse_endless`` refuses."""
    for path in (folder / name for name in ("config.json", "tokenizer_config.json")):
        config = read_settings(path)
        refuse_endless(config, str(path))
        names_kernels = "/" in str(config.get("attn_implementation"))  # the Hub's name of a repository with kernels
        if keys := ["auto_map"] * ("auto_map" in config) + ["attn_implementation"] * names_kernels:
            raise UserError(f"{path}: {keys[0]}: this model needs code of its own, which is not run")


def refuse_endless(settings: Mapping[str, Any], path: str) -> None:
    """Raise ``UserError`` for settings of the config.json at ``path`` that transformers would count up to without
    end."""
    for key, most in MOST.items():
        value = settings.get(key)
        if isinstance(value, int) and value > most:
            raise UserError(f"{path}: {key} is {value}; expected {most:,} at most")
