"""What objectives need to know of a vocabulary: which tokens begin a word, and how frequent each token is."""

import json

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from electra.dataset.shards import Shards
from electra.tokenization.tokenizer import Tokenizer

SPACE_MARKS = {"ByteLevel": "Ġ", "Metaspace": "▁"}  # the first character of a token whose word has a space before it
TOKENS_AT_ONCE = 1 << 24  # that are counted together


def find_word_beginnings(tokenizer: Tokenizer) -> Bool[Tensor, " vocab"]:
    """Whether each token begins a word: of word pieces all but the ``##`` ones, else those with a space before them."""
    parts = json.loads(tokenizer.backend.to_str())
    prefix = parts["model"].get("continuing_subword_prefix")
    space = SPACE_MARKS.get((parts["pre_tokenizer"] or {}).get("type", ""), "")
    begins_word = torch.ones(tokenizer.size, dtype=torch.bool)
    for token, index in tokenizer.backend.get_vocab(with_added_tokens=True).items():
        begins_word[index] = not token.startswith(prefix) if prefix else token.startswith(space)
    return begins_word


def count_token_frequencies(shards: Shards) -> Float[Tensor, " vocab"]:
    """The share of each token among the tokens of a split, float32; the shares add up to 1."""
    counts = np.zeros(shards.vocab_size, np.int64)
    for shard in shards.files:
        for start in range(0, len(shard.tokens), TOKENS_AT_ONCE):
            counts += np.bincount(shard.tokens[start : start + TOKENS_AT_ONCE], minlength=shards.vocab_size)
    return torch.from_numpy(counts / max(1, counts.sum())).float()
