"""ELECTRA's checkpoints of the original code: every weight, every variable, and what the towers compute.

The expected weights come by way of the table in ``oracle.py``, which knows the original's names by itself.
"""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from checkpoints import (
    detection_head_shapes,
    draw_values,
    electra_shapes,
    embedding_shapes,
    encoder_shapes,
    token_head_shapes,
    write_checkpoint,
)
from electra.errors import UserError
from electra.interchange.tensorflow.bundle import open_checkpoint
from electra.interchange.tensorflow.towers import Towers, read_towers
from electra.model.config import ClassicConfig
from electra.objectives.build import CorpusFacts, Electra, Mlm
from oracle import MASK, load_variables

ENCODER = {**embedding_shapes("electra", 30, 8), **dict(encoder_shapes("electra", 16, 2, 8))}
CONFIG = ClassicConfig(
    vocab_size=30, hidden_size=16, layers=2, heads=2, intermediate_size=64, embedding_size=8, max_positions=32
)


def read(folder: Path, arrays, heads: int = 2, generator_heads: int = 0) -> Towers:
    return read_towers(open_checkpoint(write_checkpoint(folder / "model", arrays)), heads, generator_heads)


def assert_towers(found: Towers, pretrainer, arrays) -> None:
    """The towers are those of a pretrainer with these variables."""
    load_variables({f"var/{name}": value for name, value in arrays.items()}, "var/", pretrainer)
    assert found.towers.keys() == pretrainer.parts().keys()
    for name, part in pretrainer.parts().items():
        expected, values = part.values(), found.towers[name].values()
        assert values.keys() == expected.keys()
        for key, value in expected.items():
            assert torch.equal(values[key], value), key


@pytest.mark.parametrize(("width", "embedding", "generator"), [(16, 8, 4), (16, 8, 16), (16, 16, 16), (16, 16, 8)])
def test_an_electra(tmp_path: Path, width: int, embedding: int, generator: int):
    """Small's projection and Base's embeddings as wide as the layers; generators that are narrow and of full width."""
    shapes = electra_shapes(30, width, embedding, generator)
    found = read(tmp_path, draw_values(shapes, adam=True))
    objective = Electra(generator_width=generator / width)
    pretrainer = objective.build(replace(CONFIG, embedding_size=embedding), CorpusFacts(MASK), seed=1)
    assert_towers(found, pretrainer, draw_values(shapes))
    assert found.left_out == {"Adam's averages": 2 * len(shapes), "the step": 1}
    towers = found.towers
    assert towers["generator"].embeddings is towers["discriminator"].embeddings
    assert towers["discriminator"].config == replace(CONFIG, embedding_size=embedding)
    assert towers["generator"].config.heads == 1


def test_a_generator_with_embeddings_of_its_own(tmp_path: Path):
    """Which the original makes as wide as the generator."""
    shapes = ENCODER | embedding_shapes("generator", 30, 4) | dict(encoder_shapes("generator", 4, 2, 4))
    arrays = draw_values(shapes | token_head_shapes(30, 4, 4) | detection_head_shapes(16))
    found = read(tmp_path, arrays)
    config = found.towers["generator"].config
    assert (config.hidden_size, config.embedding_size) == (4, 4)
    table = found.towers["generator"].embeddings.tokens.weight
    assert np.array_equal(table.detach().numpy(), arrays["generator/embeddings/word_embeddings"])
    table = found.towers["discriminator"].embeddings.tokens.weight
    assert np.array_equal(table.detach().numpy(), arrays["electra/embeddings/word_embeddings"])


def test_a_generator_that_is_the_discriminator_with_another_head(tmp_path: Path):
    arrays = draw_values(ENCODER | token_head_shapes(30, 8, 16) | detection_head_shapes(16))
    towers = read(tmp_path, arrays).towers
    assert towers["generator"].config == towers["discriminator"].config
    assert torch.equal(*(towers[name].encoder.layers[1].down.weight for name in ("generator", "discriminator")))


def test_one_of_masked_language_modelling(tmp_path: Path):
    arrays = draw_values(ENCODER | token_head_shapes(30, 8, 16))
    pretrainer = Mlm().build(CONFIG, CorpusFacts(MASK), seed=1)
    assert_towers(read(tmp_path, arrays), pretrainer, arrays)


def test_what_else_the_original_code_makes(tmp_path: Path):
    """Tokens replaced uniformly, a two-tower generator, a temperature, a fine-tuned encoder."""
    uniform = read(tmp_path / "uniform", draw_values(ENCODER | detection_head_shapes(16)))
    assert uniform.towers.keys() == {"discriminator"} and not uniform.left_out
    twins = {f"{scope}/embeddings_project/kernel": (8, 4) for scope in ("generator_ltr", "generator_rtl")}
    more = twins | {"cloze_predictions/output_bias": (30,), "generator_predictions/temperature": ()}
    left_out = read(tmp_path / "twins", draw_values(ENCODER | detection_head_shapes(16) | more)).left_out
    assert sorted(left_out.values()) == [1, 3]
    shapes = ENCODER | {"task_specific/cola/dense/kernel": (16, 2), "task_specific/cola/dense/bias": (2,)}
    tuned = [read(tmp_path / name, draw_values(shapes, adam=True)) for name in ("first", "second")]
    assert tuned[0].left_out == {"Adam's averages": 2 * len(shapes), "the step": 1, "heads of fine-tuned tasks": 2}
    assert tuned[0].sources["discriminator"].head == ""
    values, again = (found.towers["discriminator"].values() for found in tuned)
    assert all(torch.equal(value, again[name]) for name, value in values.items())  # the fresh head too


def changed(arrays, **changes):
    """The arrays with some others (`__` for a slash), without those that are None."""
    named = {name.replace("__", "/"): value for name, value in changes.items()}
    return {name: value for name, value in (arrays | named).items() if value is not None}


ZEROS = np.zeros((16, 16), np.float32)
PROJECT, EMBEDDINGS = "electra__embeddings_project", "electra__embeddings"
REFUSED = [
    ({"electra__pooler__dense__kernel": ZEROS}, "unknown variables: electra/pooler/dense/kernel"),
    ({"x__adam_m": ZEROS}, "unknown variables: x/adam_m"),
    ({"electra__encoder__layer_1__output__dense__bias": None}, "missing variables: electra/encoder/layer_1/output/"),
    ({"generator_predictions__output_bias": None}, "missing variables: generator_predictions/output_bias"),
    ({"electra__encoder__layer_7__x": ZEROS}, "missing variables: electra/encoder/layer_2"),
    ({f"{EMBEDDINGS}__word_embeddings": None}, "no ELECTRA of the original code: without electra/embeddings/word"),
    ({f"{EMBEDDINGS}__word_embeddings": ZEROS[0]}, "word_embeddings: found float32 [16], expected a matrix"),
    ({f"{EMBEDDINGS}__position_embeddings": ZEROS[:0]}, "found float32 [0, 16], expected a matrix"),
    ({f"{PROJECT}__bias": ZEROS}, "project/bias: found float32 [16, 16], expected float32 [16]"),
    ({f"{PROJECT}__bias": np.zeros(16, np.int64)}, "found int64 [16], expected float32 [16]"),
    ({f"{PROJECT}__kernel": np.zeros((1, 4000), np.float32)}, "the shapes do not fit together"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_other_variables_are_refused_by_name(tmp_path: Path, changes, said: str):
    with pytest.raises(UserError, match=re.escape(said)) as error:
        read(tmp_path, changed(draw_values(electra_shapes()), **changes), heads=1)
    assert str(error.value).startswith(f"{tmp_path / 'model'}.index: ")


def test_another_model_is_refused_by_what_it_has(tmp_path: Path):
    with pytest.raises(UserError, match="no ELECTRA of the original code: .*, but with bert/x$"):
        read(tmp_path, {"bert/x": ZEROS})
    with pytest.raises(UserError, match="electra is 16 wide, which cannot be cut into 3 equal heads.* with --heads"):
        read(tmp_path, draw_values(electra_shapes()), heads=3)
    with pytest.raises(UserError, match="generator is 4 wide, .* 3 equal heads; say how many with --generator-heads"):
        read(tmp_path, draw_values(electra_shapes()), generator_heads=3)
    with pytest.raises(UserError, match="no generator with layers of its own, so leave out --generator-heads"):
        read(tmp_path, draw_values(ENCODER | detection_head_shapes(16)), generator_heads=2)
