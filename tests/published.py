"""Folders as others publish them: transformers' classes with random weights, beside a tokenizer."""

from pathlib import Path

import torch
import transformers

from electra.tokenization.loading import load_tokenizer

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def publish_bert(folder: Path, tokenizer: Path) -> Path:
    """A BERT of two layers with all its heads; its table is padded to a multiple of 64."""
    tokens = load_tokenizer(tokenizer)
    config = transformers.BertConfig(**SIZES, vocab_size=-(-tokens.size // 64) * 64, max_position_embeddings=32)
    torch.manual_seed(0)
    transformers.BertForPreTraining(config).save_pretrained(folder)
    tokens.save(folder)
    return folder
