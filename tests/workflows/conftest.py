"""What several tests of ``electra finetune`` need: small encoders with a tokenizer, and the files of a task."""

from pathlib import Path

import pytest
import torch
import transformers

from electra.tokenization.loading import load_tokenizer
from electra.tokenization.training import train_tokenizer
from finetuning import CLASSIC, MODERN, exported, sentences, write_csv


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer([text for text, _ in sentences(300, 0)], 120).save(folder)
    return folder


@pytest.fixture(scope="session")
def classic(tmp_path_factory: pytest.TempPathFactory, tokens: Path) -> Path:
    return exported(tmp_path_factory.mktemp("classic") / "discriminator", CLASSIC, tokens)


@pytest.fixture(scope="session")
def modern(tmp_path_factory: pytest.TempPathFactory, tokens: Path) -> Path:
    return exported(tmp_path_factory.mktemp("modern") / "discriminator", MODERN, tokens)


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory, tokens: Path) -> Path:
    """One of transformers' own."""
    folder = tmp_path_factory.mktemp("bert")
    config = transformers.BertConfig(
        vocab_size=120, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=48,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(folder)
    load_tokenizer(tokens).save(folder)
    return folder


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A task of one's own: train, dev, and a test without labels."""
    folder = tmp_path_factory.mktemp("own")
    split = {"train": sentences(240, 1), "dev": sentences(60, 2), "test": sentences(20, 3)}
    return {
        name: write_csv(
            folder / f"{name}.csv",
            [{"body": text, "topic": "yes" if there else "no"} for text, there in rows]
            if name != "test"
            else [{"body": text} for text, _ in rows],
        )
        for name, rows in split.items()
    }
