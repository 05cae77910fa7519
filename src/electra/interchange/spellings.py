"""Both spellings of what config.json says of a ModernBERT: that of transformers 5, and the one before, by which
text-embeddings-inference, MLX and what needs an older transformers read it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from electra.errors import UserError
from electra.tokenization.settings import read_settings

THETAS = {"global_rope_theta": "full_attention", "local_rope_theta": "sliding_attention"}
FRAME = {"bos_token_id": "cls_token_id", "eos_token_id": "sep_token_id"}  # what begins and ends a text here


def complete_config(folder: Path, special_ids: Mapping[str, int | None]) -> None:
    """Add to the config.json in ``folder`` what it leaves out or has as null: ``special_ids``, the ids that begin and
    end a text, the thetas of rotary positions at the top level, and how many classes texts are told apart into."""
    path = folder / "config.json"
    settings = read_settings(path)
    for key, token_id in special_ids.items():
        settings[key] = token_id if settings.get(key) is None else settings[key]
    for key, ours in FRAME.items():
        settings[key] = settings.get(ours) if settings.get(key) is None else settings[key]
    settings |= find_thetas(settings)
    if any(name.endswith("ForSequenceClassification") for name in settings.get("architectures") or ()):
        settings |= {"num_labels": len(labels)} if (labels := settings.get("id2label")) else {}
    path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def find_thetas(settings: Mapping[str, Any]) -> dict[str, float]:
    """The thetas that a config has in transformers 5's spelling, by the keys that they had before."""
    rope = settings.get("rope_parameters") or {}
    found = {key: (rope.get(layers) or {}).get("rope_theta") for key, layers in THETAS.items()}
    return {key: theta for key, theta in found.items() if theta is not None}


def refuse_two_thetas(settings: Mapping[str, Any], path: str) -> None:
    """Raise ``UserError`` if the config.json at ``path`` says two different thetas, one in each spelling."""
    for key, theta in find_thetas(settings).items():
        if settings.get(key) not in (None, theta):
            raise UserError(
                f"{path}: {key} is {settings[key]}, but rope_theta of {THETAS[key]} in rope_parameters is {theta}; "
                "say it once, or twice the same"
            )
