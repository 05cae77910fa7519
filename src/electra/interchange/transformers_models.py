"""Models of transformers' own classes, read from a folder: safetensors alone, and none of the folder's code."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from electra.errors import UserError, convert_errors
from electra.interchange.spellings import refuse_two_thetas
from electra.tokenization.settings import read_settings, refuse_code

TOWER_CLASSES = {
    "ElectraForPreTraining", "ElectraForMaskedLM", "ModernBertForMaskedLM", "ModernBertForTokenClassification",
}  # fmt: skip


def read_model_type(folder: Path) -> str:
    """The ``model_type`` of a folder's config.json, or "None". Raises ``UserError`` if the file cannot be read."""
    return str(read_settings(folder / "config.json").get("model_type"))


def has_other_head(folder: Path) -> bool:
    """Whether an ELECTRA or ModernBERT has a head that none of our towers has, or no head."""
    config = read_settings(folder / "config.json")
    return TOWER_CLASSES.isdisjoint(config.get("architectures") or ())


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Let transformers draw no progress bars, and not report that the weights of a new head are new."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        logging.enable_progress_bar()


def load_with_transformers(folder: Path, auto: str, keep_layers: int = 0, **settings: Any) -> Any:
    """The model that one of transformers' ``Auto…`` classes loads from a folder, its weights float32.

    ``keep_layers``: how many layers, the lowest; 0: all. ``settings``: more arguments of ``from_pretrained``.

    Raises:
        UserError: transformers cannot load it, it has no safetensors, it has fewer layers, or it would run code from
            the folder.
    """
    import transformers

    refuse_code(folder)
    refuse_two_thetas(read_settings(folder / "config.json"), str(folder / "config.json"))
    if keep_layers:
        settings |= shorten_config(folder, keep_layers)
    with quiet_transformers(), convert_errors(f"{folder}: transformers cannot load this", Exception):
        return getattr(transformers, auto).from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32,
            **settings,
        )  # fmt: skip


def load_config(folder: Path) -> Any:
    """transformers' config of a folder, which knows the sizes by one name each, whatever the file calls them.

    Raises:
        UserError: it cannot be read, or needs code of the folder's.
    """
    import transformers

    refuse_code(folder)
    with convert_errors(f"{folder}: transformers cannot load this", Exception):
        return transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def shorten_config(folder: Path, layers: int) -> dict[str, Any]:
    """The settings of transformers' config by which a folder's model has so many layers.

    Raises:
        UserError: it has fewer, or its config cannot be read.
    """
    config = load_config(folder)
    if layers > config.num_hidden_layers:
        raise UserError(f"keep_layers {layers}: the encoder has {config.num_hidden_layers} layers")
    kinds = getattr(config, "layer_types", None)
    return {"num_hidden_layers": layers} | ({"layer_types": kinds[:layers]} if kinds else {})
