"""A model with its kernels says what it says with their readable twins. Without a GPU, Triton interprets a GPU's."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="Triton is for Linux")

from compositions import ENCODERS, EVERY, LONG, NAMES, batch, build, loss, objective, packed
from electra.dataset.batches import Batch
from electra.engine.compiling import prepare_parts
from electra.kernels import Kernels
from electra.kernels.random import fold
from electra.kernels.vocabulary.twin import Sampling
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower
from electra.model.twins import KernelModule
from electra.objectives.pretrainer import Pretrainer

pytestmark = pytest.mark.compiled  # the hook that checks shapes would change the kernels' source


def step(pretrainer: Pretrainer, kernels: Kernels, rows: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The statistics of a batch with dropout, and the gradient of every parameter."""
    prepare_parts(pretrainer, kernels)
    pretrainer.zero_grad()
    total, statistics = loss(pretrainer, rows)
    total.backward()
    return dict(statistics), {n: p.grad.clone() for n, p in pretrainer.named_parameters() if p.grad is not None}


def hold(pretrainer: Pretrainer, kernels: Kernels, rows: Batch) -> None:
    """Samples too: were one token another, statistics and gradients were far apart."""
    readable, fused = step(pretrainer, "", rows), step(pretrainer, kernels, rows)
    for one, other in zip(readable, fused, strict=True):
        assert set(one) == set(other)
        for name, value in one.items():
            torch.testing.assert_close(
                value, other[name], rtol=1e-4, atol=2e-5, msg=lambda message, name=name: f"{name}: {message}"
            )


FUSED = list(itertools.product(["electra", "all-tokens-mlm", "coco-lm", "electric"], ENCODERS, ["cpu", "cuda"]))
SLOW = {  # Triton's interpreter takes ten seconds and more for each, so `make test` has half of its eight
    ("all-tokens-mlm", "classic", "cuda"), ("all-tokens-mlm", "modern", "cuda"),
    ("coco-lm", "modern", "cuda"), ("electric", "classic", "cuda"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "encoder", "kernels"),
    [pytest.param(*each, marks=pytest.mark.slow if each in SLOW else ()) for each in FUSED],
)
def test_fused_and_readable_are_one_model(kind: str, encoder: str, kernels: Kernels) -> None:
    pretrainer = build(objective(kind, encoder), encoder)
    assert sum(isinstance(part, KernelModule) for part in pretrainer.modules()) >= 3
    hold(pretrainer, kernels, batch())


@pytest.mark.parametrize("length", [128, 512, 700, 1024])
@pytest.mark.parametrize(("kind", "encoder"), EVERY, ids=NAMES)
def test_every_objective_is_the_same_by_a_cpu_s_kernels(kind: str, encoder: str, length: int) -> None:
    hold(build(objective(kind, encoder), encoder, shapes=LONG), "cpu", packed(length))


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_both_heads_say_the_same_of_every_token(dtype: torch.dtype, encoder: str) -> None:
    """In bfloat16 too: the same factors, and sums that neither rounds."""
    config = replace(ENCODERS[encoder], vocab_size=1003)
    torch.manual_seed(0)
    tower = Tower.token(config, build_embeddings(config))
    with torch.no_grad():
        tower.embeddings.tokens.weight.mul_(5)
    hidden, targets = torch.randn(150, 64), torch.randint(1003, (150,))
    draw = Sampling(fold(torch.zeros(150, dtype=torch.int32), torch.arange(150, dtype=torch.int32)))
    scores = []
    for kernels in ("", "cuda"):
        prepare_parts(tower, kernels)
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            scores.append(tower.predict(hidden).score(targets, draw))
    readable, fused = scores
    torch.testing.assert_close(readable.losses, fused.losses, rtol=1e-5, atol=1e-5)
    assert torch.equal(readable.likeliest, fused.likeliest)
    assert (readable.samples != fused.samples).sum() <= 1  # a number that falls on the border of two tokens


@pytest.mark.slow
def test_a_long_crop_is_the_same_by_a_gpu_s_kernels() -> None:
    """Of 700 tokens up to 70 are cut off before the crop: more than a block of the kernel's."""
    shape = replace(LONG["classic"], layers=1, heads=1, hidden_size=16, intermediate_size=16, embedding_size=16)
    hold(build(objective("coco-lm", "classic"), shapes={"classic": shape}), "cuda", packed(700))
