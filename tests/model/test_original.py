"""The classic forward pass and its initial weights against the original implementation's numbers.

The tolerance for logits, 3.4e-6, is the original's own spread between two back ends. Each part, given the original's
input of that part, stays within it. Through the whole tower it is taken of the largest value: the same computation in
float64 differs from the original's float32 by 4.2e-6 where logits reach 6.
"""

import json

import pytest

from electra.model.encoder import ClassicConfig
from electra.objectives.build import CorpusFacts, Electra
from oracle import MASK, Case, encoders, named_values

TOLERANCE = 3.4e-6
TOWERS = {
    "parity_small_ordered": ["generator", "electra"],
    "parity_mlm": ["electra"],
    "parity_dup": ["generator", "electra"],
    "parity_untied_emb": ["generator", "electra"],
    "parity_uniform_gen": ["electra"],
    "parity_twotower": ["generator_ltr", "generator_rtl", "electra"],
    "parity_electric_dup": ["generator_ltr", "generator_rtl", "electra"],
}
CASES = [(name, tower_name) for name, towers in TOWERS.items() for tower_name in towers]
# The towers with a head each. Electric's logits are more than its head's: tests/objectives has them.
HEADED = pytest.mark.parametrize(
    "read",
    [
        (name, tower_name)
        for name, tower_name in CASES
        if tower_name in ("generator", "electra") and name != "parity_electric_dup"
    ],
    indirect=True,
    ids="-".join,
)


@pytest.fixture(params=CASES, ids="-".join)
def read(request, shared):
    """A case, the name of one of its towers, and the arguments of that tower's forward pass."""
    name, tower_name = request.param
    case = Case(shared, name)
    if tower_name in ("generator_ltr", "generator_rtl"):
        return case, tower_name, case.rows("in/input_ids")
    detects = tower_name == "electra" and "out/disc_logits" in case.npz
    return case, tower_name, case.rows("out/corrupted_input_ids" if detects else "out/masked_input_ids")


def states_of(case, tower_name):
    """The original's: what goes into the first layer, and what comes out of each."""
    return [case.tensor(f"out/reprs/{tower_name}/embedding_output"), *case.tensor(f"out/reprs/{tower_name}/all_layers")]


def tower_of(case, tower_name):
    return case.pretrainer.encoder if tower_name == "electra" else case.pretrainer.parts()[tower_name]


def logits(case, tower_name, hidden):
    """What the tower's head says, and what the original's did (0 at padding)."""
    tower = tower_of(case, tower_name)
    if tower_name == "electra" and "out/disc_logits" in case.npz:
        tokens = case.tensor("in/input_mask")
        return tower.detection_logits(hidden) * tokens, case.tensor("out/disc_logits") * tokens
    at = case.tensor("out/masked_lm_positions")
    picked = hidden.gather(1, at[:, :, None].expand(-1, -1, hidden.shape[2])).flatten(0, 1)
    return tower.token_logits(picked).view(*at.shape, -1), case.tensor("out/mlm_logits")


def distance(values, expected):
    return float((values - expected).detach().abs().max())


def test_each_part_computes_what_the_original_does(read):
    case, tower_name, (ids, positions, segments, documents) = read
    embeddings, encoder = encoders(case.pretrainer)[tower_name]
    states = states_of(case, tower_name)
    assert distance(encoder.project(embeddings(ids, positions, segments, None)), states[0]) < TOLERANCE
    for layer, before, after in zip(encoder.layers, states[:-1], states[1:], strict=True):
        tokens = documents[:, :, None]
        assert distance(layer(before, documents, None) * tokens, after * tokens) < TOLERANCE


@HEADED
def test_each_head_computes_what_the_original_does(read):
    case, tower_name, _ = read
    assert distance(*logits(case, tower_name, states_of(case, tower_name)[-1])) < TOLERANCE


@HEADED
def test_the_tower_computes_what_the_original_does(read):
    case, tower_name, rows = read
    values, expected = logits(case, tower_name, tower_of(case, tower_name).hidden(*rows))
    assert distance(values, expected) < TOLERANCE * max(1.0, float(expected.abs().max()))


def test_every_tower_of_the_files_is_compared(shared):
    for name, towers in TOWERS.items():
        assert {key.split("/")[2] for key in Case(shared, name).npz if key.startswith("out/reprs/")} == {*towers}


def test_initial_weights_are_distributed_like_the_original_ones(shared):
    expected = json.loads((shared / "oracle" / "golden_init_stats_small.json").read_text())
    values = list(named_values(Electra().build(ClassicConfig(), CorpusFacts(MASK), seed=1)))
    assert {name for name, _ in values} == expected.keys()
    for name, value in values:
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
