"""The fused head against its twin and float64. Without a GPU Triton's interpreter runs the kernels."""

import pytest
import torch

pytest.importorskip("triton", reason="Triton is for Linux")

from electra.kernels.random import fold
from electra.kernels.vocabulary import triton as fused
from electra.kernels.vocabulary.twin import Sampling, Score, WrittenLogits, sample_tokens

pytestmark = pytest.mark.compiled  # the hook that checks shapes would change the kernels' source

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SHAPES = [(5, 3, 7), (64, 32, 128), (67, 40, 129), (130, 100, 1003)]  # positions, states, vocabulary


def inputs(picked: int, dim: int, vocabulary: int, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """States, table, bias, targets."""
    random = torch.Generator().manual_seed(picked)
    states, table = (torch.randn(n, dim, generator=random).to(DEVICE, dtype) for n in (picked, vocabulary))
    bias = torch.randn(vocabulary, generator=random).to(DEVICE)
    return states, table / dim**0.25, bias, torch.randint(vocabulary, (picked,), generator=random).to(DEVICE)


def keys(count: int) -> torch.Tensor:
    return fold(torch.zeros(count, dtype=torch.int32), torch.arange(count, dtype=torch.int32)).to(DEVICE)


def exact(states: torch.Tensor, table: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """The logits in float64."""
    return states.double() @ table.double().mT + bias.double()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_losses_and_gradients_are_those_of_float64(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    *leaves, targets = inputs(*shape, dtype)
    ours, theirs = ([leaf.clone().requires_grad_() for leaf in leaves] for _ in range(2))
    weights = torch.rand(shape[0], device=DEVICE) - 0.3
    score = fused.FusedLogits(*ours).score(targets)
    logits = exact(*theirs)
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    torch.testing.assert_close(score.losses.double(), losses, rtol=1e-5, atol=1e-5)
    assert torch.equal(score.likeliest, logits.argmax(1))
    (score.losses * weights).sum().backward()
    (losses * weights).sum().backward()
    for one, other in zip(ours, theirs, strict=True):
        assert one.grad.dtype == one.dtype
        close = 1e-5 if one.dtype == torch.float32 and dtype == torch.float32 else 0.02
        torch.testing.assert_close(one.grad, other.grad, rtol=close, atol=close * float(other.grad.abs().max()))


def test_gradients_in_pieces_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    states, table, bias, targets = inputs(150, 24, 300, torch.float32)
    score = fused.FusedLogits(states, table, bias.requires_grad_()).score(targets)
    log_sums = score.losses.detach() + exact(states, table, bias.detach()).gather(1, targets[:, None])[:, 0].float()
    weights = torch.rand(150, device=DEVICE)
    whole = fused.vocabulary_gradients(states, table, bias.detach(), targets, log_sums, weights)
    monkeypatch.setattr(fused, "CHUNK_BYTES", 1)
    pieces = fused.vocabulary_gradients(states, table, bias.detach(), targets, log_sums, weights)
    for one, other in zip(whole, pieces, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("never_target", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.5, torch.tensor(2.0)])
@pytest.mark.parametrize("shape", SHAPES[::3])
def test_samples_are_those_of_the_twin(shape: tuple[int, int, int], temperature: float, never_target: bool) -> None:
    """The same numbers draw the same tokens."""
    states, table, bias, targets = inputs(*shape, torch.float32)
    draw = Sampling(keys(shape[0]), temperature, never_target)
    score = fused.FusedLogits(states, table, bias).score(targets, draw)
    logits = exact(states, table, bias).float()
    if never_target:
        logits = logits.scatter(1, targets[:, None], float("-inf"))
    expected = sample_tokens(logits, draw.keys, temperature)
    assert (score.samples != expected).sum() <= 1  # a number that falls on the border of two tokens, up to rounding
    assert not never_target or not (score.samples == targets).any()


def test_a_whole_tile_may_be_forbidden() -> None:
    """The target alone in the last tile: its tile has no mass, and nothing becomes NaN."""
    states, table, bias, _ = inputs(40, 16, fused.TILE + 1, torch.float32)
    targets = torch.full((40,), fused.TILE, device=DEVICE)
    score = fused.FusedLogits(states, table, bias).score(targets, Sampling(keys(40), never_target=True))
    assert score.losses.isfinite().all() and bool((score.samples < fused.TILE).all())


def test_compiled_and_eager_agree_and_trace_without_breaks() -> None:
    *leaves, targets = inputs(67, 40, 129, torch.float32)
    draw = keys(67)

    def step(states: torch.Tensor, table: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        score = fused.FusedLogits(states, table, bias).score(targets, Sampling(draw))
        return score.losses.sum(), score.samples

    results = []
    for way in (step, torch.compile(step, fullgraph=True)):
        leaves_of_way = [leaf.clone().requires_grad_() for leaf in leaves]
        loss, samples = way(*leaves_of_way)
        loss.backward()
        results.append((loss.detach(), samples, *(leaf.grad for leaf in leaves_of_way)))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_the_operations_are_what_pytorch_asks_of_one() -> None:
    states, table, bias, targets = inputs(20, 16, 140, torch.float32)
    leaves = [tensor.requires_grad_() for tensor in (states, table, bias)]
    torch.library.opcheck(fused.score_tiles, (*leaves, targets, torch.tensor(1.0, device=DEVICE), False, False))
    torch.library.opcheck(fused.tile_logits, (*(tensor.detach() for tensor in leaves), targets // fused.TILE))


def test_selected_positions_are_the_twin_s() -> None:
    states, table, bias, targets = inputs(30, 8, 50, torch.float32)
    positions = torch.tensor([3, 3, 17], device=DEVICE)
    one: Score = fused.FusedLogits(states, table, bias).select(positions).score(targets[positions])
    other = WrittenLogits(exact(states, table, bias).float()).select(positions).score(targets[positions])
    torch.testing.assert_close(one.losses, other.losses)


@pytest.mark.parametrize("temperature", [0.5, torch.tensor(3.0, device=DEVICE)])
def test_a_temperature_is_the_twin_s(temperature: float | torch.Tensor) -> None:
    states, table, bias, targets = inputs(30, 8, 150, torch.float32)
    one = fused.FusedLogits(states, table, bias).with_temperature(temperature).score(targets)
    other = WrittenLogits(exact(states, table, bias).float()).with_temperature(temperature).score(targets)
    torch.testing.assert_close(one.losses, other.losses)
