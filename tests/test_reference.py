"""The method as ``reference.py`` spells it out, and the real code: the same counts, places, losses, odds and steps."""

import ast
import math
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from electra import reference
from electra.dataset.batches import Batch
from electra.engine.optim import GoogleAdam, LinearDecay, Optimizer, Parameter
from electra.kernels.random import fold, uniform
from electra.kernels.vocabulary.twin import cross_entropy, sample_tokens
from electra.model.config import ClassicConfig
from electra.objectives import view as views
from electra.objectives.build import CorpusFacts, Electra
from electra.objectives.masking import Mask, count_chosen
from electra.objectives.metrics import detection_figures, detection_statistics
from electra.objectives.pretrainer import Pretrainer, derive_row_keys
from electra.objectives.view import CHOOSE, KEEP, SAMPLE, View, read_view

PAD, CLS, SEP, MASK, VOCABULARY, FIRST_WORD = 0, 2, 3, 4, 200, 5
ENCODER = ClassicConfig(
    vocab_size=VOCABULARY, hidden_size=64, layers=2, heads=2, intermediate_size=64, embedding_size=32, max_positions=128
)
UNLIKELY = 1e-4  # the p-value below which a distribution is another one; seeds are fixed, so it fails always or never


def make(lengths: list[int], width: int, epoch: int = 0) -> Batch:
    """Rows [CLS] word … word [SEP] of the given lengths; 1 is a [CLS] alone, 0 is padding alone."""
    rows, draw = len(lengths), np.random.default_rng(1000 * width + len(lengths))
    inside = np.arange(width) < np.array(lengths)[:, None]
    ids = np.where(inside, draw.integers(FIRST_WORD, VOCABULARY, (rows, width)), PAD)
    ids[inside.sum(1) > 0, 0] = CLS
    for row, length in enumerate(lengths):
        if length > 1:
            ids[row, length - 1] = SEP
    positions = np.where(inside, np.arange(width), 0)
    address = np.stack([np.full(rows, epoch), np.zeros(rows), np.arange(rows)], axis=1).astype(np.int32)
    arrays = (ids, positions, np.zeros_like(ids), inside.astype(np.int64), inside & (ids >= FIRST_WORD), address)
    return Batch(*map(torch.from_numpy, arrays))


def masks(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """``text`` and ``choosable`` as the reference wants them."""
    return (batch.documents > 0).numpy(), batch.choosable.numpy()


def where(view: View) -> np.ndarray:
    """bool [rows, length]: the chosen positions."""
    return torch.zeros_like(view.ids, dtype=torch.bool).scatter(1, view.chosen, view.valid).numpy()


def by_position(view: View, values: torch.Tensor) -> np.ndarray:
    """What belongs to a view's slots [rows, slots], at their positions [rows, length]."""
    return torch.zeros(view.ids.shape, dtype=values.dtype).scatter(1, view.chosen, values).numpy()


def pretrainer(seed: int = 7) -> Pretrainer:
    """A small ELECTRA with weights large enough for opinions."""
    torch.manual_seed(seed)
    built = Electra(generator_width=0.5).build(ENCODER, CorpusFacts(MASK), seed)
    with torch.no_grad():
        for value in built.parameters():
            if value.dim() > 1:
                value.mul_(5)
    return built


BATCH = make([64, 64, 50, 33, 20, 12, 3, 2, 1, 0], 64)


# Which positions, and what becomes of them


@pytest.mark.parametrize("width", [8, 33, 64, 128])
@pytest.mark.parametrize("rate", [0.02, 0.1, 0.15, 0.25, 0.5])
def test_as_many_are_chosen(rate: float, width: int) -> None:
    batch = make(list(range(width + 1)), width)
    expected = reference.how_many(*masks(batch), rate)
    assert np.array_equal(count_chosen(batch, rate).numpy(), expected)
    assert np.array_equal(reference_choice(batch, rate).sum(1), expected)


def test_counts_by_hand() -> None:
    """0.15 · 10 and 0.15 · 30 lie half way, and go to the even number; 128 tokens fill the room of 19."""
    batch = make([128, 100, 70, 50, 30, 10, 4, 3, 2, 1, 0], 128)
    assert count_chosen(batch, 0.15).tolist() == [19, 15, 10, 8, 4, 2, 1, 1, 0, 0, 0]


@pytest.mark.parametrize("rate", [0.15, 0.25])
def test_the_same_random_numbers_choose_and_mask_the_same(rate: float) -> None:
    keys, text_choosable = derive_row_keys(3, BATCH), masks(BATCH)
    view, nothing = Mask(MASK, rate)(BATCH, keys, True)
    chosen = reference.choose(uniform(fold(keys, CHOOSE), 64).numpy(), *text_choosable, rate)
    assert not nothing and np.array_equal(where(view), chosen)
    numbers = by_position(view, uniform(fold(keys, KEEP), view.chosen.shape[1]))
    masked = reference.mask(BATCH.ids.numpy(), chosen, numbers, MASK)
    assert np.array_equal(view.ids.numpy(), masked)
    assert (masked != BATCH.ids.numpy()).sum() < chosen.sum()  # some stay
    assert not (chosen & ~text_choosable[1]).any()


def real_choice(batch: Batch, rate: float) -> np.ndarray:
    return where(Mask(MASK, rate)(batch, derive_row_keys(5, batch), True)[0])


def reference_choice(batch: Batch, rate: float) -> np.ndarray:
    return reference.choose(np.random.default_rng(5).random(batch.ids.shape), *masks(batch), rate)


@pytest.mark.parametrize("choose", [real_choice, reference_choice])
def test_every_set_of_positions_is_equally_likely(choose) -> None:
    """Two of six words: fifteen sets."""
    chosen = choose(make([8] * 30_000, 8), 0.3)
    assert (chosen.sum(1) == 2).all() and not chosen[:, [0, 7]].any()
    sets = np.bincount(chosen @ (1 << np.arange(8)))
    assert (sets > 0).sum() == math.comb(6, 2)
    assert stats.chisquare(sets[sets > 0]).pvalue > UNLIKELY


@pytest.mark.parametrize("choose", [real_choice, reference_choice])
def test_every_position_is_equally_likely(choose) -> None:
    """k of m without replacement: the squares are smaller than a multinomial's by 1 − k / m, and sum up over m − 1."""
    rows, m = 20_000, 126
    chosen = choose(make([128] * rows, 128), 0.15)
    k = int(chosen[0].sum())
    expected = rows * k / m
    statistic = ((chosen[:, 1:127].sum(0) - expected) ** 2).sum() / expected * (m - 1) / (m - k)
    assert k == 19 and UNLIKELY < stats.chi2.sf(statistic, m - 1) < 1 - UNLIKELY


def test_15_percent_of_the_chosen_stay_each_for_itself() -> None:
    """How many of a row's 19 stay follows the binomial distribution; which of the 19 does not matter."""
    batch = make([128] * 20_000, 128)
    view, _ = Mask(MASK)(batch, derive_row_keys(11, batch), True)
    stays = (view.ids != MASK).gather(1, view.chosen).numpy()
    often = np.bincount(stays.sum(1), minlength=20)[:9]
    expected = stats.binom.pmf(np.arange(9), 19, 0.15)
    rest = len(stays) - often.sum()
    assert stats.chisquare([*often, rest], len(stays) * np.array([*expected, 1 - expected.sum()])).pvalue > UNLIKELY
    assert stats.chisquare(stays.sum(0)).pvalue > UNLIKELY
    counts = [int((~stays).sum()), int(stays.sum())]
    assert stats.chisquare(counts, stays.size * np.array([0.85, 0.15])).pvalue > UNLIKELY
    # … and neither does where it stands.
    by_place = by_position(view, torch.from_numpy(stays).long())[:, 1:127].sum(0)
    assert stats.chisquare(by_place, where(view)[:, 1:127].sum(0) * stays.mean()).pvalue > UNLIKELY


# What the generator writes there


def real_samples(row: torch.Tensor, draws: int, temperature: float) -> np.ndarray:
    keys = fold(torch.full((draws,), 9, dtype=torch.int32), torch.arange(draws, dtype=torch.int32))
    return torch.cat([sample_tokens(row.expand(len(part), -1), part, temperature) for part in keys.split(8192)]).numpy()


def reference_samples(row: torch.Tensor, draws: int, temperature: float) -> np.ndarray:
    numbers = np.random.default_rng(9).random(draws)
    parts = np.split(numbers, range(8192, draws, 8192))
    return np.concatenate([reference.sample(np.tile(row.numpy(), (len(p), 1)), p, temperature) for p in parts])


@pytest.mark.parametrize("draw", [real_samples, reference_samples])
@pytest.mark.parametrize("temperature", [1.0, 0.7, 2.0])
def test_samples_follow_the_softmax(draw, temperature: float) -> None:
    logits, draws = 1.5 * torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(2)), 100_000
    often = np.bincount(draw(logits, draws, temperature), minlength=VOCABULARY)
    expected = draws * np.exp(reference.log_softmax(logits.numpy().astype(np.float64) / temperature))
    rare = expected < 5
    often, expected = np.append(often[~rare], often[rare].sum()), np.append(expected[~rare], expected[rare].sum())
    present = expected > 0
    assert stats.chisquare(often[present], expected[present]).pvalue > UNLIKELY


def test_the_generator_fills_what_it_read_masked() -> None:
    """The real composition on one side; on the other the reference's, given the real samples."""
    real, keys = pretrainer(), derive_row_keys(7, BATCH)
    view, _ = real.corrupt(BATCH, keys, False)
    masked, _ = real.corrupt.mask(BATCH, keys, False)
    chosen = where(view)
    logits = real.corrupt.generator(masked).chosen.logits
    samples = sample_tokens(logits.detach(), fold(fold(keys, SAMPLE)[:, None], masked.chosen.int()).flatten())
    filled = by_position(view, samples.view_as(masked.chosen))
    assert np.array_equal(view.ids.numpy(), reference.fill(BATCH.ids.numpy(), chosen, filled[chosen]))
    replaced = reference.labels(view.ids.numpy(), BATCH.ids.numpy())
    assert not (replaced.astype(bool) & ~chosen).any() and replaced.sum() > 0
    # A position that was chosen but not masked gets a sample as well.
    stayed = chosen & (masked.ids == BATCH.ids).numpy()
    assert replaced[stayed].any()


def test_a_sample_that_is_right_is_an_original() -> None:
    ids, chosen = np.array([[CLS, 7, 8, SEP]]), np.array([[False, True, True, False]])
    corrupt = reference.fill(ids, chosen, np.array([7, 9]))
    assert corrupt.tolist() == [[CLS, 7, 9, SEP]]
    assert reference.labels(corrupt, ids).tolist() == [[0, 0, 1, 0]]


# The losses


def test_recovery_loss_is_a_sum_over_chosen_positions() -> None:
    logits = 3 * torch.randn(50, VOCABULARY, generator=torch.Generator().manual_seed(1))
    targets = torch.arange(50) * 3 % VOCABULARY
    loss = reference.recovery_loss(logits.numpy(), targets.numpy())
    assert float(cross_entropy(logits, targets).sum()) == pytest.approx(loss.total, rel=1e-6) and loss.positions == 50


def losses(real: Pretrainer, batch: Batch) -> tuple[reference.Loss, reference.Loss, float]:
    """The reference's losses of what the real towers say to a batch, and how many tokens were replaced."""
    keys, text = derive_row_keys(real.seed, batch), masks(batch)[0]
    view, _ = real.corrupt(batch, keys, False)
    masked, _ = real.corrupt.mask(batch, keys, False)
    logits = real.corrupt.generator(masked).chosen.logits.detach().view(*masked.chosen.shape, -1)
    there, valid = batch.ids.gather(1, view.chosen).numpy(), view.valid.numpy()
    scores = real.encoder.detection_logits(read_view(real.encoder, view, views.ENCODER)).detach().numpy()
    replaced = reference.labels(view.ids.numpy(), batch.ids.numpy())
    found = reference.recovery_loss(logits.numpy()[valid], there[valid])
    return found, reference.detection_loss(scores, replaced, text), float(replaced.sum())


def test_both_losses_their_counts_and_their_sum() -> None:
    real = pretrainer()
    generator, discriminator, replaced = losses(real, BATCH)
    results, counts = real.results(BATCH, derive_row_keys(real.seed, BATCH), False), real.counts(BATCH)
    for name, loss in (("generator", generator), ("discriminator", discriminator)):
        assert results[name].total.item() == pytest.approx(loss.total, rel=1e-5)
        assert counts[name] == loss.positions == results[name].statistics[1]
    loss, statistics = real(BATCH, {name: torch.tensor(float(count)) for name, count in counts.items()}, False)
    assert loss.item() == pytest.approx(reference.total_loss([generator], [discriminator]), rel=1e-5)
    figures, mean = real.figures(statistics), discriminator.total / discriminator.positions
    rate = replaced / discriminator.positions
    assert figures["discriminator/replaced_rate"] == pytest.approx(rate)
    assert figures["discriminator/skill"] == pytest.approx(reference.skill(mean, rate), rel=1e-4)


def test_a_step_divides_once_for_all_its_micro_batches() -> None:
    """Micro-batches of unequal counts: the mean of their means is another number."""
    real = pretrainer()
    parts = [Batch(**{k: v[a:b] for k, v in BATCH.tensors().items()}) for a, b in ((0, 2), (2, 7), (7, 10))]
    counts = [real.counts(part) for part in parts]
    divisors = {name: torch.tensor(float(sum(c[name] for c in counts))) for name in counts[0]}
    together = sum(real(part, divisors, False)[0].item() for part in parts)
    generator, discriminator, _ = zip(*(losses(real, part) for part in parts), strict=True)
    assert together == pytest.approx(reference.total_loss(generator, discriminator), rel=1e-5)
    whole = losses(real, BATCH)
    assert together == pytest.approx(reference.total_loss([whole[0]], [whole[1]]), rel=1e-5)
    means = np.mean([reference.mean_loss([loss]) for loss in discriminator])
    assert abs(means / reference.mean_loss(discriminator) - 1) > 0.01


def test_what_each_loss_moves() -> None:
    """The gradients go where the reference's first paragraph says, and through no sample."""
    real, batch = pretrainer(), make([64] * 8, 64)
    owners = real.towers()
    assert set(owners.values()) == {"generator", "discriminator", "shared"}
    for name, other in (("generator", "discriminator"), ("discriminator", "generator")):
        real.zero_grad(set_to_none=True)
        real.results(batch, derive_row_keys(real.seed, batch), False)[name].total.backward()
        moved = {owners[n] for n, value in real.named_parameters() if value.grad is not None and value.grad.any()}
        assert moved == {name, "shared"} and other not in moved


def test_how_many_positions_carry_signal() -> None:
    real, batch = pretrainer(), make([128] * 4, 128)
    few, every = reference.signal(masks(batch)[0], real_choice(batch, 0.15))
    assert {"generator": few, "discriminator": every} == real.counts(batch)
    assert (few, every) == (4 * 19, 4 * 128)


# What is measured


def test_auc_and_skill() -> None:
    """On the grid of the histograms the AUC is exact; off it, it is off by less than a bin's worth of ties."""
    draw = np.random.default_rng(3)
    replaced = (draw.random((20, 100)) < 0.15).astype(np.float32)
    text = (draw.random((20, 100)) < 0.8).astype(np.float32)
    logits = (draw.normal(size=(20, 100)) + 1.5 * replaced - 1.5).astype(np.float32)
    for scores, tolerance in ((np.round(logits * 511 / 32 + 255.5) * 32 / 511 - 16, 1e-6), (logits, 2e-3)):
        scores = scores.astype(np.float32)
        total, positions = reference.detection_loss(scores, replaced, text > 0)
        each = torch.nn.functional.binary_cross_entropy_with_logits(
            torch.from_numpy(scores), torch.from_numpy(replaced), reduction="none"
        )
        found = detection_figures(
            detection_statistics(each, *(torch.from_numpy(array) for array in (scores, replaced, text)))
        )
        inside, rate = text > 0, float(replaced[text > 0].mean())
        assert found["auc"] == pytest.approx(reference.auc(scores[inside], replaced[inside]), abs=tolerance)
        assert found["loss"] == pytest.approx(total / positions, rel=1e-5)
        assert found["replaced_rate"] == pytest.approx(rate)
        assert found["skill"] == pytest.approx(reference.skill(total / positions, rate), rel=1e-3)


def test_auc_by_hand() -> None:
    assert reference.auc(np.array([3.0, 1.0, 2.0, 1.0]), np.array([1, 1, 0, 0])) == (2 + 0.5) / 4
    assert math.isnan(reference.auc(np.zeros(3), np.zeros(3)))
    assert math.isnan(reference.skill(0.1, 0.0))


# A training step


def test_learning_rate_of_every_step() -> None:
    for warmup in (0, 1, 30, 200):
        schedule = LinearDecay(warmup=warmup)
        for step in range(100):
            expected = reference.learning_rate(step, 100, warmup, 5e-4)
            assert 5e-4 * schedule.factor(step, 100) == pytest.approx(expected, rel=1e-12)
    assert reference.learning_rate(10, 100, 20, 1.0) == 0.9 * 0.5  # both factors at once


def test_three_steps_of_the_original_adam() -> None:
    draw = np.random.default_rng(4)
    value = draw.normal(size=(5, 3))
    moved = torch.nn.Parameter(torch.from_numpy(value.copy()))
    optimizer = Optimizer(GoogleAdam(learning_rate=0.1), [Parameter("matrix", moved)])
    m = v = np.zeros_like(value)
    for step in range(1, 4):
        gradient = draw.normal(size=value.shape)
        factor = reference.learning_rate(step, 10, 2, 1.0)
        value, m, v = reference.adam(value, gradient, m, v, 0.1 * factor)
        moved.grad = torch.from_numpy(gradient.copy())
        optimizer.step(factor)
        np.testing.assert_allclose(moved.detach().numpy(), value, rtol=1e-10)


def likely(ids: np.ndarray, token: np.ndarray | int, by: float) -> np.ndarray:
    """Logits [rows, length, vocab] of a generator that prefers one token at a position, and no other."""
    return by * (np.arange(VOCABULARY) == np.broadcast_to(token, ids.shape)[..., None])


def test_a_step_of_the_reference_with_towers_that_know() -> None:
    parts = [make([64] * 12, 64), make([40, 20, 64], 64)]
    micro = [(part.ids.numpy(), *masks(part)) for part in parts]
    original = {part[0].shape: part[0] for part in micro}
    generator = partial(likely, token=0, by=0.0)  # any token, so that nearly all of the chosen are replaced
    step = partial(reference.step, micro, mask_id=MASK, draw=np.random.default_rng(1))

    loss, skill = step(generator, lambda corrupt: 40.0 * (corrupt != original[corrupt.shape]) - 20.0)
    assert skill == pytest.approx(1, abs=1e-6) and loss == pytest.approx(math.log(VOCABULARY), abs=1e-5)
    _, skill = step(generator, lambda corrupt: np.full(corrupt.shape, math.log(0.15 / 0.85)))
    assert skill == pytest.approx(0, abs=0.01)
    _, skill = step(lambda ids: likely(ids, original[ids.shape], 99.0), lambda corrupt: np.zeros(corrupt.shape))
    assert math.isnan(skill)  # a generator that is always right replaces nothing


def test_it_can_be_read_at_one_sitting() -> None:
    path = Path(reference.__file__)
    source = path.read_text()
    roots = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or "."])
    }
    assert len(source.splitlines()) <= 150 and roots - set(sys.stdlib_module_names) == {"numpy"}
    alone = "import sys, runpy; runpy.run_path(sys.argv[1]); assert not {'torch', 'electra'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", alone, path], check=True, timeout=120)
