"""A tokenizer's files, which travel with each model that is written."""

import json
import shutil
from pathlib import Path

from electra import tokenization as vocabularies
from electra.errors import UserError
from electra.model.config import EncoderConfig, ModernConfig

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")


def copy_tokenizer_files(source: Path, folder: Path) -> bool:
    """Copy those of the tokenizer's files that are in ``source``. Return whether there are any."""
    present = [name for name in TOKENIZER_FILES if (source / name).exists()]
    for name in present:
        shutil.copyfile(source / name, folder / name)
    return bool(present)


def copy_tokenizer(source: Path, folder: Path, config: EncoderConfig) -> dict[str, int | None]:
    """Copy a tower's tokenizer. Return the keys of config.json that name its special tokens, with their ids.

    ModernBERT's classes take no segments, so the copy for a modern tower says that its tokenizer makes none.

    Raises:
        UserError: no tokenizer there, code that it would run, or more word pieces than the tower has.
    """
    vocabularies.refuse_code(source)
    if not copy_tokenizer_files(source, folder):
        raise UserError(f"{source}: no tokenizer here; expected {', '.join(TOKENIZER_FILES)}")
    path = folder / "tokenizer_config.json"
    if isinstance(config, ModernConfig) and path.exists():
        settings = json.loads(path.read_text(encoding="utf-8"))
        settings["model_input_names"] = ["input_ids", "attention_mask"]
        path.write_text(json.dumps(settings, indent=2), encoding="utf-8")
    tokenizer = vocabularies.load_auto_tokenizer(folder)
    if len(tokenizer) > config.vocab_size:
        raise UserError(f"{source}: {len(tokenizer)} word pieces, but the tower has {config.vocab_size}")
    return {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "cls", "sep")}
