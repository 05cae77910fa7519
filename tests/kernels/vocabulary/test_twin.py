"""The loss of the right token, and samples that follow the softmax exactly."""

import pytest
import torch
from scipy import stats
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from electra.kernels.random import fold, uniform
from electra.kernels.vocabulary.twin import _invert_distribution, cross_entropy, sample_tokens

DRAWS = 200_000


def keys(count: int, purpose: int = 1) -> torch.Tensor:
    return fold(fold(torch.zeros(count, dtype=torch.int32), purpose), torch.arange(count, dtype=torch.int32))


def draw(row: torch.Tensor, temperature: float = 1.0, draws: int = DRAWS) -> torch.Tensor:
    """How often each token came."""
    parts = keys(draws).split(4096)
    samples = torch.cat([sample_tokens(row.expand(len(part), -1), part, temperature) for part in parts])
    assert samples.dtype == torch.int64
    return torch.bincount(samples, minlength=len(row))


def assert_follows(counts: torch.Tensor, probabilities: torch.Tensor) -> None:
    """Chi-square; tokens too rare to be expected five times are counted together."""
    expected = probabilities.double() * counts.sum()
    rare = expected < 5
    observed = torch.cat([counts[~rare].double(), counts[rare].sum()[None].double()])
    expected = torch.cat([expected[~rare], expected[rare].sum()[None]])
    observed, expected = observed[expected > 0], expected[expected > 0]
    assert stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue > 1e-4


@pytest.mark.parametrize("vocabulary", [2, 7, 100, 1000, 1024])
def test_samples_follow_the_softmax(vocabulary: int) -> None:
    logits = 2 * torch.randn(vocabulary, generator=torch.Generator().manual_seed(vocabulary))
    assert_follows(draw(logits), logits.double().softmax(0))


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_divides_the_logits(temperature: float) -> None:
    logits = torch.randn(300, generator=torch.Generator().manual_seed(1))
    assert_follows(draw(logits, temperature), (logits.double() / temperature).softmax(0))


def test_peaked_distribution_and_its_tail() -> None:
    """One token holds nearly all; 500 others hold 1e-4 and less between them, and come as often as they should."""
    logits = torch.full((500,), -15.0)
    logits[137], logits[138], logits[499] = 0.0, -9.2, -9.2  # 1e-4 each
    counts = draw(logits, draws=400_000)
    probabilities = logits.double().softmax(0)
    assert_follows(counts, probabilities)
    for token in (138, 499):
        expected = float(probabilities[token]) * 4e5
        assert abs(int(counts[token]) - expected) < 5 * expected**0.5


def test_a_vocabulary_of_one() -> None:
    assert sample_tokens(torch.zeros(5, 1), keys(5)).tolist() == [0] * 5


def test_large_vocabulary() -> None:
    logits = 3 * torch.randn(30522, generator=torch.Generator().manual_seed(3))
    assert_follows(draw(logits, draws=20_000), logits.double().softmax(0))


def test_impossible_tokens_never_come() -> None:
    logits = torch.zeros(100)
    logits[:90] = float("-inf")
    counts = draw(logits, draws=20_000)
    assert counts[:90].sum() == 0
    assert_follows(counts, logits.double().softmax(0))


def test_large_logits_do_not_overflow() -> None:
    logits = torch.randn(50, generator=torch.Generator().manual_seed(2)) + 1000
    assert_follows(draw(logits, draws=20_000), logits.double().softmax(0))


def test_a_sample_depends_on_its_key_alone() -> None:
    logits = torch.randn(40, 77)
    assert torch.equal(
        sample_tokens(logits, keys(40)),
        torch.cat([sample_tokens(logits[i : i + 8], keys(40)[i : i + 8]) for i in range(0, 40, 8)]),
    )


def test_neighbouring_positions_draw_independently() -> None:
    samples = sample_tokens(torch.zeros(40_000, 8), keys(40_000))
    pairs = torch.bincount(samples[:-1] * 8 + samples[1:], minlength=64)
    assert_follows(pairs, torch.full((64,), 1 / 64))


class Running(TorchDispatchMode):
    """Lists the types of number of which running sums are made."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: list[torch.dtype] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket is torch.ops.aten.cumsum:
            self.dtypes.append(args[0].dtype)
        return function(*args, **(kwargs or {}))


def test_running_sums_are_of_whole_numbers() -> None:
    """A GPU's running sums of floats depend on the order in which its threads come, and are refused where a run is to
    repeat bit for bit."""
    with Running() as running:
        sample_tokens(torch.randn(20, 1003), keys(20))
    assert running.dtypes == [torch.int64, torch.int64]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_draws_the_same_again_and_what_a_cpu_draws() -> None:
    logits = 3 * torch.randn(2000, 30522, generator=torch.Generator().manual_seed(5))
    torch.use_deterministic_algorithms(True)
    try:
        samples = sample_tokens(logits.cuda(), keys(2000).cuda()).cpu()
    finally:
        torch.use_deterministic_algorithms(False)
    assert (samples != sample_tokens(logits, keys(2000))).sum() <= 2  # a number that falls on the border of two tokens


def test_samples_are_those_of_running_sums_of_floats() -> None:
    weights = torch.randn(5000, 239, dtype=torch.float64, generator=torch.Generator().manual_seed(4)).mul(3).exp()
    weights[:, ::7] = 0.0
    numbers = uniform(keys(5000), 1)[:, 0].double()
    sums = weights.cumsum(1)
    choices = _invert_distribution(weights, numbers)
    assert torch.equal(choices, (sums <= numbers[:, None] * sums[:, -1:]).sum(1))
    assert weights.gather(1, choices[:, None]).all()


def test_of_what_are_no_numbers_a_token_of_the_vocabulary_is_drawn() -> None:
    """The gradient says what is wrong; an index beyond the table would stop a GPU without a word of where."""
    logits = torch.randn(6, 300)
    logits[0], logits[1, 290], logits[2], logits[3, 4] = torch.nan, torch.nan, -torch.inf, torch.inf
    samples = sample_tokens(logits, keys(6))
    assert bool(((samples >= 0) & (samples < 300)).all())


def test_rounded_logits_are_refused() -> None:
    with pytest.raises(ValueError, match="float32"):
        sample_tokens(torch.zeros(2, 5, dtype=torch.bfloat16), keys(2))


def test_cross_entropy_equals_pytorch_values_and_gradients() -> None:
    torch.manual_seed(0)
    logits, targets, weights = torch.randn(30, 1003) * 5, torch.randint(1003, (30,)), torch.rand(30)
    one, two = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    ours, theirs = cross_entropy(one, targets), F.cross_entropy(two, targets, reduction="none")
    torch.testing.assert_close(ours, theirs)
    (ours * weights).sum().backward()
    (theirs * weights).sum().backward()
    torch.testing.assert_close(one.grad, two.grad, rtol=1e-5, atol=1e-7)


@pytest.mark.compiled
def test_compiled_and_eager_agree() -> None:
    logits, targets = torch.randn(20, 1003, requires_grad=True), torch.randint(1003, (20,))

    def both(logits: torch.Tensor, keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return cross_entropy(logits, targets), sample_tokens(logits.detach(), keys)

    loss, samples = torch.compile(both)(logits, keys(20))
    expected, expected_samples = both(logits, keys(20))
    torch.testing.assert_close(loss, expected)
    assert torch.equal(samples, expected_samples)
    gradient, expected_gradient = (torch.autograd.grad(x.sum(), logits)[0] for x in (loss, expected))
    torch.testing.assert_close(gradient, expected_gradient)
