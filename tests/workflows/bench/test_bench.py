"""bench: figures are there, and what ours is held against computes the same."""

import json
import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from compositions import batch, build, objective
from electra import cli
from electra.dataset.layout import SHORTEST_PIECE
from electra.engine.parallel import Parallel
from electra.errors import UserError
from electra.objectives.masking import count_chosen
from electra.objectives.pretrainer import derive_row_keys
from electra.workflows.bench.bench import BenchConfig, bench, load_bench_recipe
from electra.workflows.bench.figures import OURS
from electra.workflows.bench.loop import build_bench_loop
from electra.workflows.bench.parts import split_step
from electra.workflows.bench.separate_process import SeparateProcess
from electra.workflows.bench.steps import CLS, FIRST_WORD, PAD, SEP, RandomRows, TransformersStep

SMALL = BenchConfig(preset="tiny", rows=2, length=16, steps=2, compile="never", precision="float32", threads=1)


def finite(figures: dict) -> bool:
    """Whether every number in it is finite and above zero."""
    numbers = [value for value in figures.values() if isinstance(value, int | float) and not isinstance(value, bool)]
    return bool(numbers) and all(math.isfinite(number) and number > 0 for number in numbers)


def test_figures_against_transformers(capsys):
    before = torch.get_num_threads()
    figures = bench(replace(SMALL, against="transformers"))
    assert finite(figures)
    assert [*figures["speeds"]] == [OURS, "transformers float32", "transformers bfloat16"]
    for speed in figures["speeds"].values():
        assert finite(speed)
        assert speed["steps"] == 2
        assert speed["fastest"] <= speed["seconds"] <= speed["slowest"]
        assert speed["tokens_per_second"] == pytest.approx(2 * 16 / speed["seconds"])
    best = max(figures["speeds"][name]["tokens_per_second"] for name in figures["speeds"] if name != OURS)
    assert figures["ratio"] == pytest.approx(figures["speeds"][OURS]["tokens_per_second"] / best)
    assert figures["environment"]["threads"] == 1
    assert torch.get_num_threads() == before
    said = capsys.readouterr()
    assert "float32, not compiled, peak memory" in said.out
    assert f"{figures['ratio']:.2f} times" in said.out
    assert "2 of 2 steps" in said.err
    names = (
        "data",
        "masking",
        "generator",
        "vocabulary",
        "sampling",
        "discriminator",
        "discriminator's loss",
        "optimizer",
    )
    assert tuple(figures["parts"]) == names
    assert finite(figures["parts"])
    assert all(f"{name}  " in said.out for name in names)


def test_rows_of_prepared_data_and_how_fast_they_are_read(prepared, capsys):
    figures = bench(replace(SMALL, data=str(prepared), steps=1, parts=False))
    assert figures["data_tokens_per_second"] > 1000
    assert figures["parts"] is None
    assert "data path alone, one thread" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["mlm", "electra", "replace-mlm", "adversarial", "electric", "coco-lm"])
def test_the_parts_of_a_step_are_done_and_move_nothing(kind):
    pretrainer, names = build(objective(kind, "classic")), []
    before = [value.detach().clone() for value in pretrainer.parameters()]
    for name, part in split_step(pretrainer, batch()):
        result = part()
        assert result.isfinite().all()
        if result.requires_grad:
            result.sum().backward()
        names.append(name)
    assert names[0] == "masking"
    assert pretrainer.kept in names
    assert len(names) == len(set(names)) >= 3
    assert all(torch.equal(one, other) for one, other in zip(before, pretrainer.parameters(), strict=True))


@pytest.mark.parametrize("preset", ["tiny", "modern-tiny"])
def test_the_command_prints_one_json_object(preset, capsys):
    flags = ["--rows", "2", "--length", "16", "--steps", "1", "--compile", "never", "--json"]
    assert cli.main(["bench", "--preset", preset, *flags]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["preset"] == preset
    assert finite(figures)
    assert [*figures["speeds"]] == [OURS]
    assert figures["ratio"] is None
    assert figures["compile_seconds"] is None


def test_theirs_is_the_same_work():
    """The same weights, rows, masked positions and samples give the same loss, and gradients, without dropout."""
    config = replace(SMALL, rows=16, length=32, against="transformers")
    recipe = load_bench_recipe(config)
    loop = build_bench_loop(recipe, config.rows, config.length)
    ours, stage = loop.module, loop.stages[0]
    theirs = TransformersStep(ours, recipe, stage, Parallel.alone().device).eval()
    batch = stage.source.batch(range(16)).to(Parallel.alone().device)
    assert (batch.documents == 0).any(), "no padding"

    keys = derive_row_keys(recipe.seed, batch)
    masked, _ = ours.corrupt.mask(batch, keys, False)
    filled, _ = ours.corrupt(batch, keys, False)
    divisors = {name: count.float() for name, count in ours.counts(batch).items()}
    wanted, _ = ours(batch, divisors, False)
    found = theirs.loss(masked, filled.ids.gather(1, masked.chosen))
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)

    wanted.backward()
    found.backward()
    tables = theirs.generator.electra.embeddings
    assert theirs.discriminator.electra.embeddings is tables
    assert theirs.generator.generator_lm_head.weight is tables.word_embeddings.weight
    sizes = {id(part): part.numel() for part in theirs.parameters()}
    assert sum(sizes.values()) == sum(part.numel() for part in ours.parameters())
    mine = ours.encoder.embeddings
    for one, other in ((mine.tokens, tables.word_embeddings), (mine.segments, tables.token_type_embeddings)):
        torch.testing.assert_close(one.weight.grad, other.weight.grad, rtol=1e-3, atol=1e-5)


def test_their_step_draws_samples_and_moves_the_weights():
    recipe = load_bench_recipe(SMALL)
    loop = build_bench_loop(recipe, SMALL.rows, SMALL.length)
    theirs = TransformersStep(loop.module, recipe, loop.stages[0], Parallel.alone().device)
    before = [part.detach().clone() for part in theirs.parameters()]
    for precision in ("float32", "bfloat16"):
        theirs.step(precision)
    assert theirs.place.row == 4
    moved = [not torch.equal(one, other) for one, other in zip(before, theirs.parameters(), strict=True)]
    assert sum(moved) / len(moved) > 0.9
    assert all(torch.isfinite(part).all() for part in theirs.parameters())


def test_random_rows_are_the_papers_layout():
    rows = RandomRows(100, 32)
    refs, place = rows.take(rows.start, 200)
    batch, again = rows.batch(refs), rows.batch(refs)
    assert refs == list(range(200))
    assert rows.take(place, 2)[0] == [200, 201]
    lengths = batch.documents.sum(1)
    assert lengths.min() >= SHORTEST_PIECE
    assert 0.02 < (lengths < 32).float().mean() < 0.2
    assert (batch.ids[:, 0] == CLS).all()
    assert ((batch.ids == SEP).sum(1) == 2).all()
    assert (batch.ids.gather(1, lengths[:, None] - 1) == SEP).all()
    assert ((batch.ids == PAD) == (batch.documents == 0)).all()
    assert (batch.choosable == (batch.ids >= FIRST_WORD)).all()
    assert batch.segments.sum(1).min() >= 2
    assert count_chosen(batch, 0.15).min() >= 1
    assert all(torch.equal(one, again.tensors()[name]) for name, one in batch.tensors().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preset": "smal"}, "--preset smal: there is none"),
        ({"rows": 0}, "rows: expected a whole number of at least 1, found 0"),
        ({"length": 7}, "length: expected a whole number of at least 8, found 7"),
        ({"length": 513}, "--length 513: tiny has 512 positions"),
        ({"steps": 0}, "steps: expected a whole number of at least 1, found 0"),
        ({"threads": -1}, "threads: expected a whole number of at least 0, found -1"),
        ({"preset": "modern-tiny", "against": "transformers"}, "--against transformers: .* modern-tiny"),
    ],
)
def test_mistakes(change, message):
    with pytest.raises(UserError, match=message):
        bench(replace(SMALL, **change))


def test_work_in_another_process_is_done_and_its_failure_is_told():
    apart = SeparateProcess(partial(partial, math.sqrt))
    apart.call(4.0)
    with pytest.raises(RuntimeError, match="beside this one ended"):
        apart.call(-1.0)
