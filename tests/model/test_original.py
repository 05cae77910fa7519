"""The classic forward pass and its initial weights against the original implementation's numbers.

The tolerance for logits, 3.4e-6, is the original's own spread between two back ends. Each part, given the original's
input of that part, stays within it. Through the whole tower it is taken of the largest value: the same computation in
float64 differs from the original's float32 by 4.2e-6 where logits reach 6.
"""

import json

import pytest

from electra.model.embeddings import Shared
from electra.model.encoder import ClassicConfig, Tower, generator_config
from oracle import Case, named_values

TOLERANCE = 3.4e-6
CASES = [("parity_small_ordered", "generator"), ("parity_small_ordered", "electra"), ("parity_mlm", "electra")]


@pytest.fixture(params=CASES, ids=lambda case: "-".join(case))
def read(request, shared):
    """A case, one of its towers, that tower's name in the file, and the arguments of its forward pass."""
    name, there = request.param
    case = Case(shared, name)
    detects = case.discriminator is not None and there == "electra"
    tower = case.discriminator if detects else case.generator
    return case, tower, there, case.rows("out/corrupted_input_ids" if detects else "out/masked_input_ids")


def logits(case, tower, hidden):
    """What the tower's head says, and what the original's did (0 at padding)."""
    if tower is case.discriminator:
        tokens = case.tensor("in/input_mask")
        return tower.detection_logits(hidden) * tokens, case.tensor("out/disc_logits") * tokens
    at = case.tensor("out/masked_lm_positions")
    picked = hidden.gather(1, at[:, :, None].expand(-1, -1, hidden.shape[2])).flatten(0, 1)
    return tower.token_logits(picked).view(*at.shape, -1), case.tensor("out/mlm_logits")


def distance(found, expected):
    return float((found - expected).detach().abs().max())


def test_each_part_computes_what_the_original_does(read):
    case, tower, there, (ids, positions, segments, documents) = read
    embedded = tower.encoder.project(tower.embeddings(ids, positions, segments, None))
    states = [case.tensor(f"out/reprs/{there}/embedding_output"), *case.tensor(f"out/reprs/{there}/all_layers")]
    assert distance(embedded, states[0]) < TOLERANCE
    for layer, before, after in zip(tower.encoder.layers, states[:-1], states[1:], strict=True):
        tokens = documents[:, :, None]
        assert distance(layer(before, documents, None) * tokens, after * tokens) < TOLERANCE
    assert distance(*logits(case, tower, states[-1])) < TOLERANCE


def test_the_tower_computes_what_the_original_does(read):
    case, tower, _, rows = read
    found, expected = logits(case, tower, tower.hidden(*rows))
    assert distance(found, expected) < TOLERANCE * max(1.0, float(expected.abs().max()))


def test_initial_weights_are_distributed_like_the_original_ones(shared):
    expected = json.loads((shared / "oracle" / "golden_init_stats_small.json").read_text())
    config = ClassicConfig()
    sharing = Shared(config)
    generator = Tower.token(generator_config(config, 0.25, 1.0), sharing.generator)
    discriminator = Tower.detection(config, sharing.discriminator)
    found = list(named_values(sharing.generator, generator, discriminator))
    assert {name for name, _ in found} == expected.keys()
    for name, value in found:
        check(name, value, expected[name])


def check(name, value, original):
    """One variable: constants exactly, drawn ones by their bounds, mean and spread."""
    assert list(value.shape[::-1] if name.endswith("kernel") else value.shape) == original["shape"], name
    if original["initializer"] in ("zeros", "ones"):
        assert (value == (original["initializer"] == "ones")).all(), name
        return
    normal = original["initializer"] == "truncated_normal"
    bound = 0.04 if normal else (6 / sum(value.shape)) ** 0.5
    spread = 0.02 * 0.8796 if normal else bound / 3**0.5  # 0.8796: what cutting at two deviations leaves
    rounding = 5 * spread / value.numel() ** 0.5
    assert float(value.abs().max()) <= bound + 1e-6, name
    for mean, std in ((float(value.mean()), float(value.std())), (original["mean"], original["std"])):
        assert abs(mean) < rounding, name
        assert abs(std - spread) < rounding, name
