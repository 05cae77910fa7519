"""The probe of words' tags: what a layer can tell is told, what it cannot is not, and dev is not looked at."""

import random
from dataclasses import replace

import pytest
import torch

from electra.errors import UserError
from electra.interchange.encoders import TowerReader
from electra.model.config import ClassicConfig, ModernConfig
from electra.model.embeddings import build_embeddings
from electra.model.encoder import EncoderConfig, Tower
from electra.tasks.datasets.samples import Sentence
from electra.tasks.finetuning.tagging import Tagging
from electra.tasks.frozen.tag_probe import probe_problem, probe_tags
from electra.tokenization.tokenizer import Tokenizer
from electra.tokenization.training import train_tokenizer

CLASSIC = ClassicConfig(
    vocab_size=200, hidden_size=32, layers=2, heads=2, intermediate_size=64, embedding_size=32, max_positions=32
)
MODERN = ModernConfig(vocab_size=200, hidden_size=32, layers=2, heads=2, intermediate_size=48, max_positions=32)
WORDS = [f"w{n}" for n in range(12)]
CPU = torch.device("cpu")


def sentences(count: int, seed: int) -> list[Sentence]:
    """A word with an even number begins a span, one with an odd number goes on with it."""
    draw = random.Random(seed)
    words = [tuple(draw.choices(WORDS, k=draw.randint(3, 30))) for _ in range(count)]
    return [Sentence(each, tuple("IB"[int(word[1:]) % 2 == 0] + "-X" for word in each)) for each in words]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([" ".join(each.words) for each in sentences(200, 0)], 200)


def reader(config: EncoderConfig) -> TowerReader:
    torch.manual_seed(0)
    return TowerReader(Tower.detection(config, build_embeddings(config)))


@pytest.mark.parametrize("config", [CLASSIC, MODERN], ids=["classic", "modern"])
def test_tags_of_words_are_told_from_their_embeddings(config: EncoderConfig, tokenizer: Tokenizer) -> None:
    problem = Tagging("spans", {"train": sentences(50, 1), "dev": sentences(30, 2)})
    figures = probe_tags(reader(config), tokenizer, problem, 24, CPU)  # some sentences are read in windows
    assert figures["layer 0"] == figures["best"] == 1.0 and figures["best_layer"] == 0
    assert figures["all layers"] > 0.95 and 0.2 < figures["majority"] < 0.7
    assert set(figures) == {f"layer {n}" for n in range(3)} | {"best", "best_layer", "all layers", "majority"}
    assert probe_problem(reader(config), tokenizer, problem, 24, CPU) == figures


def test_tags_at_random_are_not_told(tokenizer: Tokenizer) -> None:
    draw = random.Random(0)
    noise = {
        split: [replace(each, tags=tuple(draw.choices("AB", k=len(each.words)))) for each in sentences(count, seed)]
        for split, count, seed in (("train", 80, 1), ("dev", 80, 2))
    }
    figures = probe_tags(reader(MODERN), tokenizer, Tagging("noise", noise), 24, CPU)
    assert 0.4 < figures["all layers"] < 0.6 and 0.4 < figures["majority"] < 0.6


def test_what_is_fitted_does_not_know_dev(tokenizer: Tokenizer) -> None:
    train, dev = sentences(50, 1), sentences(30, 2)
    other = [replace(each, tags=tuple({"B-X": "I-X", "I-X": "B-X"}[tag] for tag in each.tags or ())) for each in dev]
    as_words = [Tagging("tags", {"train": named(train), "dev": named(part)}) for part in (dev, other)]
    right, wrong = (probe_tags(reader(MODERN), tokenizer, problem, 24, CPU)["layer 0"] for problem in as_words)
    assert right == 1.0 and wrong == 0.0


def named(part: list[Sentence]) -> list[Sentence]:
    """The same with tags that mark no spans."""
    return [replace(each, tags=tuple(tag[0] for tag in each.tags or ())) for each in part]


def test_only_so_many_sentences_are_read_and_too_few_are_refused(tokenizer: Tokenizer) -> None:
    problem = Tagging("spans", {"train": sentences(50, 1), "dev": sentences(30, 2)})
    assert probe_tags(reader(MODERN), tokenizer, problem, 24, CPU, most=20)["layer 0"] == 1.0
    with pytest.raises(UserError, match="spans: 9 sentences to fit a probe to; 10 are needed"):
        probe_tags(reader(MODERN), tokenizer, problem, 24, CPU, most=9)
