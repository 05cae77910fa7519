"""Floating-point operations: the published figures, and PyTorch's own count on real towers."""

from collections.abc import Iterator

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from compositions import EVERY, NAMES, batch, build, loss, objective
from electra import flops
from electra.model.config import ClassicConfig, EncoderConfig, ModernConfig, generator_config
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower
from electra.objectives.masking import count_slots

SMALL = ClassicConfig()
BASE = ClassicConfig(hidden_size=768, heads=12, intermediate_size=3072, embedding_size=768)
LARGE = ClassicConfig(hidden_size=1024, layers=24, heads=16, intermediate_size=4096, embedding_size=1024)
TINY = ClassicConfig(
    vocab_size=100, hidden_size=32, layers=3, heads=2, intermediate_size=48, embedding_size=16, max_positions=64
)
EQUAL = ClassicConfig(
    vocab_size=100, hidden_size=32, layers=2, heads=2, intermediate_size=64, embedding_size=32, max_positions=64
)
MODERN = ModernConfig(vocab_size=100, hidden_size=32, layers=3, heads=2, intermediate_size=48, max_positions=64)


@pytest.fixture(autouse=True)
def _attention_in_products() -> Iterator[None]:
    """PyTorch's count knows nothing of its own kernel for a CPU."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


@pytest.mark.parametrize(
    ("config", "width", "rows", "length", "steps", "paper"),
    [
        (SMALL, 1 / 4, 128, 128, 1_000_000, 1.29e18),
        (BASE, 1 / 3, 256, 512, 766_000, 6.42e19),
        (LARGE, 1 / 4, 2048, 512, 400_000, 7.1e20),
        (LARGE, 1 / 4, 2048, 512, 1_750_000, 3.1e21),
    ],
)
def test_the_papers_figures(
    config: ClassicConfig, width: float, rows: int, length: int, steps: int, paper: float
) -> None:
    counted = flops.published_flops(config, generator_config(config, width, 1.0), rows, length, steps)
    assert float(f"{counted:.2e}" if paper < 1e20 else f"{counted:.1e}") == paper


@pytest.mark.parametrize(
    ("config", "width", "rows", "length", "steps", "ours"),
    [(SMALL, 1 / 4, 128, 128, 1_000_000, 1.15e18), (BASE, 1 / 3, 256, 512, 766_000, 6.7e19)],
)
def test_our_figures_for_the_papers_runs(
    config: ClassicConfig, width: float, rows: int, length: int, steps: int, ours: float
) -> None:
    small, picked = generator_config(config, width, 1.0), count_slots(length, 0.15)
    row = flops.encoder_flops(config, length) + flops.detection_head_flops(config, length)
    row += flops.encoder_flops(small, length) + flops.token_head_flops(small, picked)
    assert 3 * row * rows * steps == pytest.approx(ours, rel=0.01)


@pytest.mark.parametrize("config", [TINY, EQUAL, MODERN], ids=["classic", "classic, equal widths", "modern"])
@pytest.mark.parametrize("head", ["token", "detection"])
def test_equals_pytorchs_count(config: EncoderConfig, head: str) -> None:
    rows, length, picked = 3, 24, 10
    embeddings = build_embeddings(config)
    tower = Tower.token(config, embeddings) if head == "token" else Tower.detection(config, embeddings)
    ids = torch.randint(100, (rows, length))
    positions, segments = torch.arange(length).expand(rows, -1), torch.zeros_like(ids)
    expected = rows * flops.encoder_flops(config, length)
    expected += (
        flops.token_head_flops(config, picked) if head == "token" else flops.detection_head_flops(config, rows * length)
    )
    counter = FlopCounterMode(display=False)
    with counter:
        hidden = tower.hidden(ids, positions, segments, torch.ones_like(ids))
        out = tower.token_logits(hidden.flatten(0, 1)[:picked]) if head == "token" else tower.detection_logits(hidden)
    assert counter.get_total_flops() == expected
    with counter:
        out.sum().backward()
    assert counter.get_total_flops() == 2 * expected


@pytest.mark.parametrize(("kind", "encoder"), EVERY, ids=NAMES)
def test_a_training_step_of_every_objective_is_counted(kind: str, encoder: str) -> None:
    """What ``electra compare`` takes to be equal. Products with a vector, of a gate or a baseline, are left out."""
    for _, stage in objective(kind, encoder).stages:
        pretrainer, rows = build(stage, encoder), batch()
        with FlopCounterMode(display=False) as counter:
            loss(pretrainer, rows)[0].backward()
        assert counter.get_total_flops() == pytest.approx(8 * pretrainer.flops(32), rel=0.01)
