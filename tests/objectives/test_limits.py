"""At its limit each objective is its simpler relative; relatives differ in what they are about, and in nothing else."""

from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from compositions import FIRST, batch, build, gradients, loss, objective
from electra.errors import UserError
from electra.objectives.build import (
    OBJECTIVE_KINDS,
    AllTokensMlm,
    CocoLm,
    Electra,
    Electric,
    FastElectra,
    Mlm,
    Objective,
    ReplaceMlm,
)
from electra.objectives.copying import copy_losses
from electra.objectives.pretrainer import Pretrainer, derive_row_keys
from electra.objectives.view import ENCODER, Proposal, read_view

DIFFER = {
    ("electra-15", "electra"): {"detection_on"},
    ("adversarial", "electra"): {"generator_weight", "reward_weight"},
    ("two-stage", "electra"): {"generator_width", "generator_frozen", "embeddings", "first"},
    ("fast-electra", "two-stage"): {"generator_width", "temperature", "temperature_end", "first"},
    ("warmed-electra", "electra"): {"first", "first_flops"},
    ("deberta-v3", "electra"): {"generator_width", "generator_depth", "embeddings"},
    ("decoupled", "electra"): {"embeddings", "clip"},
    ("electric", "electra"): {"generator", "detection_on"},
    ("coco-lm", "electra"): {
        "generator_width", "generator_depth", "generator_dropout", "correction_weight", "contrast_weight",
    },
    ("all-tokens-mlm", "replace-mlm"): set(),  # in the term
    ("replace-mlm", "electra"): {"detection_on", "detection_weight"},  # in the head and the term
}  # fmt: skip


def fields_of(one: Objective) -> dict[str, Any]:
    return {field.name: getattr(one, field.name) for field in fields(one)}


@pytest.mark.parametrize("pair", DIFFER, ids="-".join)
def test_relatives_differ_in_what_they_are_about(pair: tuple[str, str]) -> None:
    one, other = (fields_of(OBJECTIVE_KINDS[kind]()) for kind in pair)
    nothing = object()
    different = {name for name in one | other if one.get(name, nothing) != other.get(name, nothing)}
    assert different == DIFFER[pair] | {"kind"}


# (what is at its limit, its relative): loss and gradients of all that both have are the same, what one adds gets none
REDUCED: dict[str, tuple[Objective, Objective]] = {
    "15 % of all": (objective("electra-15", "classic", detection_on="all"), Electra()),
    "no reward": (objective("adversarial", "classic", reward_weight=0.0, generator_weight=1.0), Electra()),
    "nothing for the generator": (
        objective("adversarial", "classic", reward_weight=0.0),
        Electra(generator_weight=0.0),
    ),
    "no stage": (objective("warmed-electra", "classic", first=0.0), Electra()),
    "nothing but detection": (
        CocoLm(correction_weight=0.0, contrast_weight=0.0, generator_dropout=True),
        Electra(generator_width=1.0, generator_depth=1 / 3),
    ),
    "hardly any contrast": (CocoLm(contrast_weight=1e-12), CocoLm(contrast_weight=0.0)),
    "a generator that learns at 1": (
        FastElectra(first=0.0, temperature=1.0, temperature_end=1.0, generator_frozen=False),
        Electra(embeddings="own"),
    ),
    "frozen, and as large": (
        FastElectra(first=0.0, temperature=1.0, temperature_end=0.0, generator_width=1.0),
        objective("two-stage", "classic", first=0.0),
    ),
    "nothing apart": (objective("decoupled", "classic", clip="together"), Electra(embeddings="own")),
    "a rate that stays": (Electra(mask_rate_end=0.15), Electra()),
    "a temperature that stays": (Electra(temperature=2.0, temperature_end=2.0), Electra(temperature=2.0)),
}


@pytest.mark.parametrize("name", REDUCED)
def test_at_its_limit_it_is_its_relative(name: str) -> None:
    limit, relative = (build(setting) for setting in REDUCED[name])
    progress = torch.tensor(0.5)
    total, limit_gradients, statistics = step(limit, progress)
    expected_total, expected, expected_statistics = step(relative, progress)
    torch.testing.assert_close(total, expected_total)
    for term in expected_statistics:
        assert statistics[term].tolist() == pytest.approx(expected_statistics[term].tolist(), rel=1e-6)
    assert len(expected) > 20 and expected.keys() <= limit_gradients.keys()
    for name, gradient in limit_gradients.items():
        torch.testing.assert_close(gradient, expected.get(name, torch.zeros_like(gradient)), rtol=1e-5, atol=1e-7)


def step(pretrainer: Pretrainer, progress: Tensor) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Loss, gradients and statistics of a step at a progress, dropout included."""
    rows = batch()
    divisors = {name: count.float() for name, count in pretrainer.counts(rows, progress).items()}
    total, figures = pretrainer(rows, divisors, True, progress)
    total.backward()
    return total, {name: p.grad for name, p in pretrainer.named_parameters() if p.grad is not None}, figures


@pytest.mark.parametrize("changed", [{"temperature": 2.0}, {"never_original": True}, {"mask_rate_end": 0.3}])
def test_off_its_limit_it_is_not(changed: dict) -> None:
    progress = torch.tensor(0.5)
    ours, theirs = (step(build(Electra(**setting)), progress)[2]["discriminator"] for setting in (changed, {}))
    assert not torch.equal(ours, theirs)


def test_without_detection_only_the_generator_learns_and_as_a_masked_language_model_does() -> None:
    both = build(Electra(detection_weight=0.0, embeddings="own"))
    alone = build(Mlm(width=0.25))
    alone.encoder.load_state_dict(both.corrupt.generator.tower.state_dict())
    ours, theirs = (gradients(pretrainer, batch(), dropout=False) for pretrainer in (both, alone))
    prefix = "corrupt.generator.tower."
    assert {name.removeprefix(prefix) for name in ours} == {name.removeprefix("encoder.") for name in theirs}
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[prefix + name.removeprefix("encoder.")], gradient)


def test_a_cold_generator_says_what_it_finds_likeliest_and_a_hot_one_anything() -> None:
    rows, cold, hot = batch(64), build(Electra(temperature=1e-6)), build(Electra(temperature=1e6))
    for pretrainer in (cold, hot):
        with torch.no_grad():
            pretrainer.corrupt.generator.tower.embeddings.tokens.weight.mul_(20)
    keys = derive_row_keys(1, rows)
    masked, _ = cold.corrupt.mask(rows, keys, False)
    likeliest = cold.corrupt.generator(masked).chosen.logits.argmax(1).view_as(masked.chosen)
    view, _ = cold.corrupt(rows, keys, False)
    assert torch.equal(view.ids.gather(1, view.chosen)[view.valid], likeliest[view.valid])
    view, _ = hot.corrupt(rows, keys, False)
    drawn = view.ids.gather(1, view.chosen)[view.valid]
    assert len(drawn) > 200 and drawn.bincount(minlength=120).max() < 0.05 * len(drawn)


def test_a_sample_that_is_never_the_original_is_always_to_be_found() -> None:
    pretrainer, rows = build(Electra(generator="uniform", never_original=True)), batch(64)
    view, _ = pretrainer.corrupt(rows, derive_row_keys(1, rows), False)
    assert (view.ids != view.original).sum() == view.valid.sum() > 200


def test_a_closed_gate_leaves_the_prediction_of_tokens_and_an_open_one_the_copy() -> None:
    losses, same = torch.tensor([0.1, 2.0, 5.0, 9.0]), torch.tensor([True, False, True, False])
    torch.testing.assert_close(copy_losses(losses, torch.full((4,), -50.0), same), losses)
    copied = copy_losses(losses, torch.full((4,), 50.0), same)
    torch.testing.assert_close(copied, torch.where(same, 0.0, losses + 50.0))
    half = copy_losses(losses, torch.zeros(4), same)
    torch.testing.assert_close(half, -(0.5 * same + 0.5 * torch.exp(-losses)).log())


def test_all_tokens_with_a_closed_gate_is_replace_mlm_of_every_token() -> None:
    gated, plain = build(AllTokensMlm()), build(ReplaceMlm())
    with torch.no_grad():
        gated.terms["encoder"].gate.weight.zero_()
        gated.terms["encoder"].gate.bias.fill_(-50.0)
    rows = batch()
    keys = derive_row_keys(1, rows)
    view, _ = plain.corrupt(rows, keys, False)
    every = torch.arange(32).expand(8, -1)
    everything = replace(view, chosen=every, valid=view.batch.documents > 0)
    expected = plain.terms["encoder"](plain.encoder, read_view(plain.encoder, view, ENCODER), everything).total
    loss_of_gated = gated.results(rows, keys, False)["encoder"].total
    torch.testing.assert_close(loss_of_gated, expected)
    loss_of_gated.backward()
    expected.backward()
    for ours, theirs in zip(gated.encoder.parameters(), plain.encoder.parameters(), strict=True):
        assert theirs.grad is not None and theirs.grad.any()
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5)


def test_with_an_even_mixture_and_certain_noise_electric_detects_what_was_resampled() -> None:
    pretrainer, rows = build(Electric(mask_rate=0.5)), batch(rows=64)  # of 960 samples some are the original
    view, _ = pretrainer.corrupt(rows, derive_row_keys(1, rows), False)
    view = replace(view, proposal=Proposal(torch.zeros(view.ids.shape), view.proposal.states))
    hidden = read_view(pretrainer.encoder, view, ENCODER)
    term, logits = pretrainer.terms["discriminator"], pretrainer.encoder.detection_logits(hidden)
    losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, term.labels(view), reduction="none")
    torch.testing.assert_close(
        term(pretrainer.encoder, hidden, view).total, (losses * (view.batch.documents > 0)).sum()
    )
    assert (term.labels(view) > 0).sum() == view.valid.sum() > (view.ids != view.original).sum()


def test_a_disentangled_table_that_adds_nothing_is_the_shared_one() -> None:
    apart, shared = build(objective("deberta-v3", "classic")), build(Electra(generator_width=1.0, generator_depth=0.5))
    apart.corrupt.load_state_dict(shared.corrupt.state_dict())
    values = shared.encoder.state_dict()
    apart.encoder.take(values)
    assert not apart.encoder.embeddings.tokens.delta.any()
    (ours, figures), (theirs, others) = (loss(pretrainer, batch()) for pretrainer in (apart, shared))
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(figures["discriminator"], others["discriminator"])


def test_with_all_layers_shared_the_towers_are_one() -> None:
    pretrainer = build(Electra(generator_width=1.0, shared_layers=2))
    rows = batch()
    generator, encoder = pretrainer.corrupt.generator.tower, pretrainer.encoder
    args = rows.ids, rows.positions, rows.segments, rows.documents, None
    assert torch.equal(generator.hidden(*args), encoder.hidden(*args))
    assert (rows.ids >= FIRST).any()


def test_the_adversary_needs_positions_that_are_drawn_once() -> None:
    asked = objective("adversarial", "classic", choose="with-replacement")
    with pytest.raises(UserError, match="adversarial rewards each sample, so every position is drawn once"):
        build(asked)
