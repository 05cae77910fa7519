"""Fine-tuning: it learns what can be learned, leaves the tower as it was, and repeats itself."""

import random
import signal
from dataclasses import replace

import pytest
import torch

from electra.engine.optim import AdamW
from electra.engine.train import Loop
from electra.model.config import ClassicConfig, ModernConfig
from electra.model.embeddings import build_embeddings
from electra.model.encoder import EncoderConfig, Tower
from electra.stopping import Stopped
from electra.tasks.finetuning.classify import classify_texts
from electra.tasks.finetuning.problem import FineTuning
from electra.tokenization.tokenizer import Tokenizer
from electra.tokenization.training import train_tokenizer

CLASSIC = ClassicConfig(
    vocab_size=200, hidden_size=32, layers=2, heads=2, intermediate_size=64, embedding_size=16, max_positions=32
)
MODERN = ModernConfig(vocab_size=200, hidden_size=32, layers=2, heads=2, intermediate_size=48, max_positions=32)


def texts(count: int, seed: int) -> tuple[list[str], list[int]]:
    """Class 1 has "alpha" before "omega", class 0 after: a bag of words cannot tell them apart."""
    draw = random.Random(seed)
    drawn, labels = [], []
    for _ in range(count):
        words = draw.choices([f"w{n}" for n in range(20)], k=8)
        first, second = sorted(draw.sample(range(8), 2))
        label = draw.randrange(2)
        words[first], words[second] = ("alpha", "omega") if label else ("omega", "alpha")
        drawn.append(" ".join(words))
        labels.append(label)
    return drawn, labels


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(texts(400, 0)[0], 200)


def tower(config: EncoderConfig) -> Tower:
    torch.manual_seed(0)
    return Tower.detection(config, build_embeddings(config))


@pytest.mark.parametrize("config", [CLASSIC, MODERN], ids=["classic", "modern"])
@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_order_is_learned(tokenizer: Tokenizer, config: EncoderConfig, pooling: str) -> None:
    train, labels = texts(400, 1)
    test, truth = texts(100, 2)
    tuning = FineTuning(
        epochs=12, rows=16, length=32, dropout=0.0, pooling=pooling, layer_decay=1.0,
        optimizer=AdamW(learning_rate=5e-3, weight_decay=0.0),
    )  # fmt: skip
    start = tower(config)
    before = {name: value.clone() for name, value in start.state_dict().items()}
    predicted = classify_texts(start, tokenizer, train, labels, test, tuning, seed=1)
    assert sum(a == b for a, b in zip(predicted, truth, strict=True)) > 75, "half of them are right by chance"
    assert all(torch.equal(value, before[name]) for name, value in start.state_dict().items())


def test_the_same_seed_gives_the_same_answers(tokenizer: Tokenizer) -> None:
    train, labels = texts(60, 1)
    test, _ = texts(50, 2)
    short = FineTuning(epochs=2, length=32)
    dropping = tower(replace(CLASSIC, dropout=0.2))
    one, two = (classify_texts(dropping, tokenizer, train, labels, test, short, seed=1) for _ in range(2))
    assert one == two


@pytest.mark.compiled
def test_kernels_say_what_their_twins_say(tokenizer: Tokenizer) -> None:
    train, labels = texts(60, 1)
    test, _ = texts(50, 2)
    short = FineTuning(epochs=2, length=32)
    twins = classify_texts(tower(MODERN), tokenizer, train, labels, test, short, 1)
    kernels = classify_texts(tower(MODERN), tokenizer, train, labels, test, short, 1, "kernels")
    assert twins == kernels and len(set(twins)) == 2


def test_a_signal_ends_it_without_an_answer(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that was tuned for a part of its steps would have answers too, and nobody could tell."""
    step = Loop.step

    def step_and_signal(loop: Loop, stop: bool = False) -> None:
        if not loop.state.step:
            signal.raise_signal(signal.SIGTERM)
        step(loop, stop)

    monkeypatch.setattr(Loop, "step", step_and_signal)
    train, labels = texts(32, seed=0)
    with pytest.raises(Stopped):
        classify_texts(
            tower(CLASSIC), tokenizer, train, labels, train, FineTuning(epochs=2.0, rows=8, length=16), seed=0
        )
