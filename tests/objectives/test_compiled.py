"""A compiled step computes what an eager one does: the same positions, the same samples, the same losses and gradients.

It can fail silently: Inductor once made one key of all rows' addresses, so that every row was masked at the same places
and the discriminator learned the places.
"""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from compositions import EVERY, NAMES, batch, build, objective
from electra.dataset.batches import Batch
from electra.dataset.layout import Layout, Packed, Paper
from electra.dataset.rows import Rows
from electra.dataset.shards import Shards
from electra.engine import compiling
from electra.model.config import ClassicConfig, ModernConfig
from electra.objectives.build import CorpusFacts, Electra, Mlm
from electra.objectives.pretrainer import derive_row_keys

CLASSIC = ClassicConfig(
    vocab_size=1000, hidden_size=64, layers=2, heads=2, intermediate_size=128, embedding_size=32, max_positions=64
)
MODERN = ModernConfig(
    vocab_size=1000, hidden_size=64, layers=3, heads=2, intermediate_size=96, max_positions=64, local_window=16,
    dropout=0.1,
)  # fmt: skip
CASES = {
    "classic": (CLASSIC, Electra(), Paper()),
    "modern": (MODERN, Electra(generator_width=1.0, generator_depth=0.34), Packed()),
    "mlm": (CLASSIC, Mlm(), Paper()),
}


def rows_of(prepared: Path, layout: Layout) -> tuple[Shards, Rows]:
    shards = Shards.open(prepared, "train")
    return shards, Rows(shards, layout, 64, seed=1)


@pytest.mark.compiled
@torch.no_grad()
def test_the_compiled_corruption_is_the_eager_one(prepared: Path) -> None:
    torch.manual_seed(0)
    shards, rows = rows_of(prepared, Packed())  # full rows: in short ones few choices are possible
    pretrainer = Electra(generator_depth=0.5).build(CLASSIC, CorpusFacts(shards.mask_id), seed=1)

    def corrupted(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        view, results = pretrainer.corrupt(batch, derive_row_keys(pretrainer.seed, batch), True)
        return view.ids, view.chosen, results["generator"].statistics

    compiling.prepare_parts(pretrainer, "", compiled=True)
    compiled = compiling.compile_if_possible(corrupted, "auto", torch.device("cpu"))
    refs, _ = rows.take(rows.start, 32)
    for part in (refs[:16], refs[16:]):
        ids, chosen, sums = corrupted(rows.batch(part))
        assert len(chosen.sort(1).values.unique(dim=0)) == 16, "every row is masked at places of its own"
        for one, two in zip((ids, chosen, sums), compiled(rows.batch(part)), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-5, atol=0)


@pytest.mark.slow
@pytest.mark.compiled
@pytest.mark.parametrize("case", CASES)
def test_a_compiled_step_is_the_eager_one(prepared: Path, case: str) -> None:
    encoder, objective, layout = CASES[case]
    torch.manual_seed(0)
    shards, rows = rows_of(prepared, layout)
    pretrainer = objective.build(encoder, CorpusFacts(shards.mask_id), seed=1)
    readable = copy.deepcopy(pretrainer)
    compiled = compiling.prepare_module(pretrainer, "auto", False, "float32", torch.device("cpu"))
    refs, _ = rows.take(rows.start, 32)
    divisors = {name: torch.tensor(100.0) for name in ("generator", "discriminator")}
    for part in (refs[:16], refs[16:]):
        batch, steps = rows.batch(part), []
        for module, owner in ((readable, readable), (compiled, pretrainer)):
            owner.zero_grad()
            loss, statistics = module(batch, divisors, True)
            loss.backward()
            steps.append((loss.detach(), statistics, {n: p.grad.clone() for n, p in owner.named_parameters()}))
        (one, sums, gradients), (two, same_sums, same_gradients) = steps
        torch.testing.assert_close(one, two, rtol=1e-5, atol=0)
        for name, value in sums.items():
            torch.testing.assert_close(value[1], same_sums[name][1], rtol=0, atol=0)  # positions that count
            torch.testing.assert_close(value[:5], same_sums[name][:5], rtol=1e-4, atol=1.0)
        for name, value in gradients.items():
            torch.testing.assert_close(value, same_gradients[name], rtol=1e-3, atol=1e-3 * float(value.abs().max()))


@pytest.mark.slow
@pytest.mark.compiled
@pytest.mark.parametrize(("kind", "encoder"), EVERY, ids=NAMES)
def test_the_compiled_step_of_every_objective_is_the_eager_one(kind: str, encoder: str) -> None:
    torch._dynamo.reset()
    pretrainer, rows = build(objective(kind, encoder), encoder), batch()
    divisors = {name: count.float() for name, count in pretrainer.counts(rows).items()}
    readable, steps = copy.deepcopy(pretrainer), []
    compiled = compiling.prepare_module(pretrainer, "auto", False, "float32", torch.device("cpu"))
    for module, owner in ((readable, readable), (compiled, pretrainer)):
        loss, _ = module(rows, divisors, True, torch.tensor(0.3))
        loss.backward()
        steps.append((loss.detach(), {n: p.grad for n, p in owner.named_parameters() if p.grad is not None}))
    (one, gradients), (two, same) = steps
    torch.testing.assert_close(one, two, rtol=1e-5, atol=0)
    assert gradients.keys() == same.keys()
    for name, value in gradients.items():
        torch.testing.assert_close(value, same[name], rtol=1e-3, atol=1e-3 * float(value.abs().max()))
