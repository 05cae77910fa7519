"""What objectives ask of a vocabulary: which tokens begin a word, and how often each comes."""

import json

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from electra.dataset.shards import Shards
from electra.tokenization import Tokenizer

SPACE_MARKS = {"ByteLevel": "Ġ", "Metaspace": "▁"}  # what a token begins with whose word has a space before it
TOKENS_AT_ONCE = 1 << 24  # tokens


def find_word_beginnings(tokenizer: Tokenizer) -> Bool[Tensor, " vocab"]:
    """Whether a token begins a word: with word pieces all but the ``##`` ones; else those with a space before them."""
    parts = json.loads(tokenizer.backend.to_str())
    prefix = parts["model"].get("continuing_subword_prefix")
    space = SPACE_MARKS.get((parts["pre_tokenizer"] or {}).get("type", ""), "")
    found = torch.ones(tokenizer.size, dtype=torch.bool)
    for token, index in tokenizer.backend.get_vocab(with_added_tokens=True).items():
        found[index] = not token.startswith(prefix) if prefix else token.startswith(space)
    return found


def count_token_frequencies(shards: Shards) -> Float[Tensor, " vocab"]:
    """How often each token comes in a split, as shares that add up to 1; float32."""
    counts = np.zeros(shards.vocab_size, np.int64)
    for shard in shards.files:
        for start in range(0, len(shard.tokens), TOKENS_AT_ONCE):
            counts += np.bincount(shard.tokens[start : start + TOKENS_AT_ONCE], minlength=shards.vocab_size)
    return torch.from_numpy(counts / max(1, counts.sum())).float()
