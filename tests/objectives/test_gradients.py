"""Which parameters each loss reaches, and the two gradients that are no plain derivative of what is shown."""

import math
from collections import defaultdict
from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor, nn

from compositions import ENCODERS, EVERY, FIRST, MASK, NAMES, VOCABULARY, batch, build, gradients, objective
from electra.dataset.batches import Batch
from electra.errors import UserError
from electra.kernels.vocabulary import twin as vocabulary
from electra.objectives.build import Adversarial, CorpusFacts, Electra, Electric
from electra.objectives.corrupt import Generate
from electra.objectives.pretrainer import Pretrainer, derive_row_keys
from electra.objectives.view import ENCODER, read_view

TABLES, LAYERS, HEAD = "embeddings", "layers", "head"
ENCODER_PARTS, GENERATOR_PARTS = {TABLES, LAYERS, HEAD}, {f"generator's {part}" for part in (TABLES, LAYERS, HEAD)}
# By kind: what each term's loss reaches, where nothing is shared. Sharing adds to it (``expected``).
REACH: dict[str, dict[str, set[str]]] = {
    "mlm": {"generator": ENCODER_PARTS},
    "electra": {"generator": GENERATOR_PARTS, "discriminator": ENCODER_PARTS},
    "replace-mlm": {"generator": GENERATOR_PARTS, "encoder": ENCODER_PARTS},
    "all-tokens-mlm": {"generator": GENERATOR_PARTS, "encoder": ENCODER_PARTS | {"encoder's own"}},
    "adversarial": {
        "generator": GENERATOR_PARTS,
        "discriminator": ENCODER_PARTS,
        "adversary": GENERATOR_PARTS | {"adversary's own"},  # and nothing of the discriminator
    },
    "two-stage": {"generator": set(), "discriminator": ENCODER_PARTS},  # frozen
    "coco-lm": {
        "generator": GENERATOR_PARTS,
        "discriminator": ENCODER_PARTS,
        "correction": {TABLES, LAYERS, "correction's own"},  # the head that detects is the gate, and stopped
        "contrast": {TABLES, LAYERS},
    },
}
LIKE = {
    "electra-15": "electra", "warmed-electra": "electra", "decoupled": "electra", "deberta-v3": "electra",
    "electric": "electra", "fast-electra": "two-stage",
}  # fmt: skip


def places(pretrainer: Pretrainer) -> dict[str, str]:
    """Where each parameter is; one that two towers read is in two places."""
    owners: dict[int, list[str]] = defaultdict(list)

    def owned(module: nn.Module, place: str) -> None:
        for p in {id(p): p for p in module.parameters()}.values():
            owners[id(p)].append(place)

    if isinstance(pretrainer.corrupt, Generate):
        generator = pretrainer.corrupt.generator
        tower = getattr(generator, "tower", generator)
        owned(tower.embeddings, f"generator's {TABLES}")
        owned(tower.head, f"generator's {HEAD}")
        for encoder in [tower.encoder] if hasattr(tower, "encoder") else [tower.left, tower.right]:
            owned(encoder, f"generator's {LAYERS}")
    for part, place in (("embeddings", TABLES), ("encoder", LAYERS), ("head", HEAD)):
        owned(getattr(pretrainer.encoder, part), place)
    for name, term in pretrainer.terms.items():
        owned(term, f"{name}'s own")
    places_by_name = {name: " and ".join(owners[id(p)]) for name, p in pretrainer.named_parameters()}
    assert all(places_by_name.values()), "a parameter that is nowhere"
    return places_by_name


def expected(all_places: set[str], reach: set[str]) -> set[str]:
    """The places of which a part is reached."""
    return {place for place in all_places if reach & set(place.split(" and "))}


@pytest.mark.parametrize(("kind", "encoder"), EVERY, ids=NAMES)
def test_each_loss_reaches_all_of_what_it_should_and_nothing_else(kind: str, encoder: str) -> None:
    pretrainer, rows = build(objective(kind, encoder), encoder), batch()
    where, expected_reach = places(pretrainer), REACH[LIKE.get(kind, kind)]
    results = pretrainer.results(rows, derive_row_keys(1, rows), True)
    assert results.keys() == expected_reach.keys() == pretrainer.all_terms.keys()
    for term, result in results.items():
        reach = expected(set(where.values()), expected_reach[term])
        assert result.total.requires_grad == bool(reach)
        pretrainer.zero_grad()
        if reach:
            result.total.backward(retain_graph=True)
        reached = {name for name, p in pretrainer.named_parameters() if p.grad is not None and p.grad.any()}
        assert reached == {name for name, place in where.items() if place in reach}, term


@pytest.mark.parametrize(("kind", "encoder"), EVERY, ids=NAMES)
def test_a_step_reaches_every_parameter_that_learns(kind: str, encoder: str) -> None:
    for _, stage in objective(kind, encoder).stages:
        pretrainer = build(stage, encoder)
        learning = {name for name, p in pretrainer.named_parameters() if p.requires_grad}
        assert gradients(pretrainer, batch()).keys() == learning


@pytest.mark.parametrize(("kind", "encoder"), EVERY, ids=NAMES)
def test_the_losses_of_micro_batches_add_up(kind: str, encoder: str) -> None:
    """All but the contrast of rows with one another, which docs/objectives.md excepts."""
    asked = objective(kind, encoder, **({"contrast_weight": 0.0} if kind == "coco-lm" else {}))
    rows, whole, parts = batch(), build(asked, encoder), build(asked, encoder)
    divisors = {name: count.float() for name, count in whole.counts(rows).items()}
    total, _ = whole(rows, divisors, True)
    total.backward()
    for first in range(0, 8, 2):
        loss, _ = parts(part(rows, slice(first, first + 2)), divisors, True)
        loss.backward()
        total = total - loss
    assert abs(float(total.detach())) < 1e-4
    for ours, theirs in zip(parts.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5)


def part(rows: Batch, which: slice) -> Batch:
    return Batch(*(getattr(rows, field.name)[which] for field in fields(Batch)))


SHARING = {
    "shared": ({}, {"embeddings"}),
    "own": ({"embeddings": "own"}, set()),
    "layers": ({"generator_width": 1.0, "shared_layers": 1}, {"embeddings", "layers"}),
    "everything": ({"generator_width": 1.0, "shared_layers": 2}, {"embeddings", "layers"}),
}


@pytest.mark.parametrize("name", SHARING)
def test_towers_share_what_they_are_said_to(name: str) -> None:
    settings, shared = SHARING[name]
    pretrainer = build(Electra(**settings))
    where = places(pretrainer)
    both = {name for name, place in where.items() if " and " in place}
    assert {part for part in (TABLES, LAYERS) if any(part in where[name] for name in both)} == shared
    of_layers = {name for name, place in where.items() if LAYERS in place and ".layers." in name}
    assert {"everything": of_layers <= both, "layers": 0 < len(of_layers & both) < len(of_layers)}.get(name, True)
    assert {name for name, tower in pretrainer.towers().items() if tower == "shared"} == both


def test_of_a_disentangled_table_the_generator_moves_the_base_and_the_discriminator_what_is_added() -> None:
    pretrainer, rows = build(objective("deberta-v3", "classic")), batch()
    base, delta = "corrupt.generator.tower.embeddings.tokens.weight", "encoder.embeddings.tokens.delta"
    for term, moved, still in (("generator", base, delta), ("discriminator", delta, base)):
        pretrainer.zero_grad()
        pretrainer.results(rows, derive_row_keys(1, rows), True)[term].total.backward()
        parameters = dict(pretrainer.named_parameters())
        assert parameters[moved].grad.any() and (parameters[still].grad is None or not parameters[still].grad.any())


def one_slot(objective: Adversarial) -> tuple[Pretrainer, Batch]:
    """A row of six tokens of which one is chosen, and weights large enough for opinions."""
    shape = replace(ENCODERS["classic"], vocab_size=20, hidden_size=16, dropout=0.0, attention_dropout=0.0)
    torch.manual_seed(0)
    pretrainer = objective.build(shape, CorpusFacts(MASK), seed=1)
    with torch.no_grad():
        for value in pretrainer.parameters():
            value.mul_(4) if value.dim() > 1 else value
    ids = torch.tensor([[2, 7, 12, 9, 17, 3]])
    one = torch.ones_like(ids)
    return pretrainer, Batch(ids, one.cumsum(1) - 1, 0 * ids, one, ids >= FIRST, torch.zeros(1, 3, dtype=torch.int32))


def test_rewards_move_the_generator_up_the_expected_loss_of_the_discriminator(monkeypatch: pytest.MonkeyPatch) -> None:
    """REINFORCE's expectation over every sample that can be drawn, beside −∇ Σ_v p(v) · R(v)."""
    pretrainer, rows = one_slot(Adversarial(generator_width=1.0))
    keys = derive_row_keys(1, rows)
    own = [p for name, p in pretrainer.named_parameters() if name.startswith("corrupt.") and "embeddings" not in name]
    masked, _ = pretrainer.corrupt.mask(rows, keys, False)
    log_p = pretrainer.corrupt.generator(masked).chosen.logits.log_softmax(1)[0]
    by_rewards, rewards = [torch.zeros_like(p) for p in own], []
    for token, p in enumerate(log_p.exp().tolist()):
        monkeypatch.setattr(vocabulary, "sample_tokens", lambda logits, keys, temperature, t=token: torch.tensor([t]))
        result = pretrainer.results(rows, keys, False)["adversary"]
        rewards.append(float(result.statistics[1]))
        for total, grad in zip(by_rewards, torch.autograd.grad(result.total, own), strict=True):
            total += p * grad
    exact = torch.autograd.grad(-(log_p.exp() * torch.tensor(rewards)).sum(), own)
    assert max(rewards) - min(rewards) > 0.5 and max(float(grad.abs().max()) for grad in exact) > 1e-3
    for ours, theirs in zip(by_rewards, exact, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_the_baseline_is_fitted_to_the_rewards() -> None:
    pretrainer, rows = one_slot(Adversarial(generator_width=1.0))
    result = pretrainer.results(rows, derive_row_keys(1, rows), False)["adversary"]
    bias = pretrainer.terms["adversary"].baseline.bias
    (slope,) = torch.autograd.grad(result.total, bias)
    reward, error = result.statistics[1:].tolist()
    assert float(slope) ** 2 == pytest.approx(4 * error, rel=1e-4), "of (b − R)², at one position"
    assert reward > 0


@pytest.mark.parametrize(("first", "last", "rate"), [(0.15, 0.0, 0.15), (0.25, 0.0, 0.25), (0.15, 0.55, 0.25)])
def test_electric_s_loss_is_its_formula(first: float, last: float, rate: float) -> None:
    """A quarter of the way from the first rate to the last, where there is one."""
    pretrainer, rows, now = build(Electric(mask_rate=first, mask_rate_end=last)), batch(), torch.tensor(0.25)
    keys = derive_row_keys(1, rows)
    view, _ = pretrainer.corrupt(rows, keys, False, now)
    energies = pretrainer.encoder.detection_logits(read_view(pretrainer.encoder, view, ENCODER))
    left_out, _ = pretrainer.corrupt.mask(rows, keys, False, now)
    odds = pretrainer.corrupt.generator(left_out).everywhere.logits.view(*view.ids.shape, VOCABULARY).log_softmax(2)
    total = torch.zeros(())
    for row, column in (view.batch.documents > 0).nonzero().tolist():
        log_q = odds[row, column, view.ids[row, column]].detach()
        resampled = torch.sigmoid(energies[row, column] + log_q + math.log(rate / (1 - rate)))
        is_chosen = ((view.chosen[row] == column) & view.valid[row]).any()
        total = total - torch.log(resampled if is_chosen else 1 - resampled)
    loss = pretrainer.results(rows, keys, False, now)["discriminator"].total
    torch.testing.assert_close(loss, total, rtol=1e-4, atol=1e-3)


DRAWN = [
    (Adversarial(), 1.0, False), (Adversarial(temperature=2.0), 2.0, False),
    (Adversarial(temperature=0.5, temperature_end=2.0, never_original=True), 1.0, True),
    (Adversarial(generator="two-tower", temperature=2.0, never_original=True), 2.0, True),
    (Electric(temperature=4.0, temperature_end=1.0), 2.0, False),
]  # fmt: skip


@pytest.mark.parametrize(("setting", "temperature", "never_target"), DRAWN)
def test_what_is_said_of_a_sample_is_how_likely_it_was_to_be_drawn(
    setting: Adversarial | Electric, temperature: float, never_target: bool
) -> None:
    """Half of the way to the last temperature, by equal factors."""
    pretrainer, rows, now = build(setting), batch(), torch.tensor(0.5)
    keys = derive_row_keys(1, rows)
    with torch.no_grad():
        pretrainer.encoder.embeddings.tokens.weight.mul_(20)  # the generator's too: so it has opinions
    view, _ = pretrainer.corrupt(rows, keys, False, now)
    masked, _ = pretrainer.corrupt.mask(rows, keys, False, now)
    logits = pretrainer.corrupt.generator(masked).chosen.logits / temperature
    if never_target:
        logits = logits.scatter(1, view.targets()[:, None], -torch.inf)
    drawn = view.ids.gather(1, view.chosen)
    expected = logits.log_softmax(1).gather(1, drawn.view(-1, 1)).view_as(drawn)
    log_q = view.proposal.log_q.gather(1, view.chosen)
    assert float(expected[view.valid].detach().std()) > 0.5
    torch.testing.assert_close(log_q[view.valid], expected[view.valid], rtol=1e-4, atol=1e-4)


def test_electric_s_noise_may_be_the_original() -> None:
    with pytest.raises(UserError, match="never_original"):
        build(Electric(never_original=True))


def test_what_a_two_tower_generator_says_of_a_token_knows_nothing_of_it() -> None:
    pretrainer, rows = build(Electric()), batch()
    generator = pretrainer.corrupt.generator
    masked, _ = pretrainer.corrupt.mask(rows, derive_row_keys(1, rows), False)
    position = 9
    changed_ids = masked.original.clone()
    changed_ids[:, position] = FIRST + (changed_ids[:, position] - FIRST + 1) % (VOCABULARY - FIRST)
    ours, theirs = (
        generator(replace(masked, original=ids)).everywhere.logits for ids in (masked.original, changed_ids)
    )
    same: Tensor = (ours.view(8, 32, -1) == theirs.view(8, 32, -1)).all(2)
    assert same[:, position].all() and not same[1:, position - 1].any() and not same[1:, position + 1].any()


def test_a_sample_carries_no_gradient_from_what_detects_it() -> None:
    pretrainer, rows = build(Electra(embeddings="own")), batch()
    pretrainer.results(rows, derive_row_keys(1, rows), True)["discriminator"].total.backward()
    assert all(p.grad is None for p in pretrainer.corrupt.parameters())
