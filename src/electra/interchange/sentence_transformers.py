"""Encoders of sentences: what stands beside an encoder's files so that ``SentenceTransformer(folder)`` loads it.

The files are written here and not by the library, in the spelling of its version 2: versions 3.4, 5.1 and 6.2 read them
alike. What 6.2 itself saves, 5.1 cannot load, and text-embeddings-inference, which wants ``pooling_mode_mean_tokens``,
cannot either.
"""

import json
from pathlib import Path
from typing import Literal

Pooling = Literal["mean", "cls"]

POOLING_FOLDER = "1_Pooling"
POOLED: dict[Pooling, str] = {"mean": "the mean of its tokens' states", "cls": "the state of its first token, [CLS],"}


def describe_vectors(pooling: Pooling, kept: int, layers: int) -> str:
    """What a model card says of them. ``kept``: how many of its ``layers`` the encoder still has."""
    depth = f"the lowest {kept} of {layers} layers" if kept < layers else "the last layer"
    return f"\n## Vectors\n\nThe vector of a text is {POOLED[pooling]} after {depth}.\n"


def write_modules(folder: Path, width: int, longest: int, pooling: Pooling) -> None:
    """Write the four files that make a folder with a bare encoder one of sentence-transformers.

    ``width``: of the encoder's states. ``longest``: the tokens to which a text is cut, special tokens among them.
    ``pooling``: what a text's vector is: the mean of its tokens' states, [CLS] and [SEP] among them, or [CLS]'s alone.

    Raises:
        OSError: the disk does not take them.
    """
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": POOLING_FOLDER, "type": "sentence_transformers.models.Pooling"},
    ]
    modes = {
        "pooling_mode_cls_token": pooling == "cls",
        "pooling_mode_mean_tokens": pooling == "mean",
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    }
    (folder / POOLING_FOLDER).mkdir()
    for name, content in {
        "modules.json": modules,
        f"{POOLING_FOLDER}/config.json": {"word_embedding_dimension": width, **modes},
        "sentence_bert_config.json": {"max_seq_length": longest, "do_lower_case": False},
        "config_sentence_transformers.json": {
            "model_type": "SentenceTransformer",
            "prompts": {},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
    }.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
