"""What tests of sentences' scores share: sentences, small towers, and a folder like that of a finished run."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from electra.interchange import huggingface
from electra.model.config import ClassicConfig, ModernConfig
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower
from electra.tokenization.tokenizer import Tokenizer

SIZES = {"vocab_size": 160, "hidden_size": 32, "layers": 2, "heads": 2, "intermediate_size": 64, "max_positions": 40}
CONFIGS = [
    pytest.param(ClassicConfig(**SIZES, embedding_size=16), id="classic"),
    pytest.param(ModernConfig(**SIZES, global_every=2, local_window=4), id="modern"),
]
TEXTS = [
    "the cats annoy tim", "the cats annoys tim", "a dog that barked was running", "dogs and cats, cats and dogs",
    "running cats barked; annoying dogs ran",
]  # fmt: skip
SENTENCES = [
    "The cats annoy Tim.", "the cats annoys tim.", "cats", "cats cats cats cats", "The cats annoy Tim.",
    "a ☃ barked", "runningdogs unknowables annoyingly ran", "[MASK] dogs", "the cats annoy tim.",
    "dogs and cats and dogs and cats and dogs and cats ran",
]  # fmt: skip
LONG = "the runningdogs annoy dogs and a dog barked, " * 5
LINES = [*SENTENCES[:4], "", "  a ☃ barked\tloud ", LONG, "\u200b", *SENTENCES[5:]]


def tower(config: ClassicConfig | ModernConfig, kind: str = "token") -> Tower:
    """Random weights large enough that predictions differ."""
    torch.manual_seed(0)
    model = getattr(Tower, kind)(replace(config, init_std=0.3), build_embeddings(config))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def finished(folder: Path, config: ClassicConfig | ModernConfig, tokenizer: Tokenizer) -> Path:
    """A folder with both towers, as a run leaves them."""
    tokenizer.save(folder / "tokenizer")
    for name, kind in (("generator", "token"), ("discriminator", "detection")):
        huggingface.save_tower(folder / "final" / name, tower(config, kind), folder / "tokenizer", None, "electra")
    return folder
