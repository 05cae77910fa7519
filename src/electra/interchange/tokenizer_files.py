"""A tokenizer's files, which travel with each model that is written: transformers reads any text as we did."""

from pathlib import Path

from electra.errors import UserError
from electra.tokenization.loading import load_tokenizer


def write_tokenizer(
    source: Path, folder: Path, vocab_size: int, longest: int, segments: bool, special_in_text: bool = False
) -> dict[str, int | None]:
    """Write the tokenizer of the folder ``source`` for a model, with the settings by which transformers reads as we do.

    ``vocab_size``: the ids that the model has embeddings for. ``longest``: the tokens to which a text is cut where
    transformers is asked to cut it. ``segments``: whether the model reads segments. ``special_in_text``: whether what
    looks like a special token in a text is one, as masks are for a generator; else it is text, as everywhere here.

    Returns the keys of config.json that name its special tokens, with their ids.

    Raises:
        UserError: no tokenizer there, code that it would run, or more ids than ``vocab_size``.
    """
    tokenizer = load_tokenizer(source, needs=())
    if tokenizer.size > vocab_size:
        raise UserError(f"{source}: {tokenizer.size} word pieces, but the tower has {vocab_size}")
    names = ["input_ids", *["token_type_ids"] * segments, "attention_mask"]
    tokenizer.save(
        folder,
        model_max_length=longest,
        model_input_names=names,
        split_special_tokens=not special_in_text,
        padding_side="right",
        truncation_side="right",
    )
    return {f"{name}_token_id": tokenizer.ids.get(name) for name in ("pad", "cls", "sep")}
