"""A step recorded as a CUDA graph is the step."""

import dataclasses
import os
from dataclasses import replace
from typing import Any

import pytest
import torch

from compositions import VOCABULARY, batch, build, objective
from electra.engine.optim import AdamW, LinearDecay, collect_parameters
from electra.engine.parallel import Parallel
from electra.engine.passes import Passes, RecordedPasses, check_can_record
from electra.engine.process import make_deterministic
from electra.engine.scaling import StagePlan
from electra.engine.stages import Stage
from electra.engine.train import Engine, check_engine, train_stages
from electra.errors import UserError
from electra.interchange.encoders import TowerReader
from electra.tasks.finetuning.examples import Example, ExampleSource
from electra.tasks.finetuning.examples import ExampleBatch as Examples
from electra.tasks.finetuning.problem import FineTuned
from electra.workflows.bench.steps import RandomRows


@pytest.mark.parametrize("parallel", [Parallel(0, 1, torch.device("cpu")), Parallel(1, 2, torch.device("cuda"))])
def test_where_nothing_can_be_recorded_it_is_said(parallel: Parallel) -> None:
    with pytest.raises(UserError, match=r"engine\.cuda_graphs: only for one process on a GPU"):
        check_can_record(parallel, torch.nn.Identity())


GPU = Parallel(0, 1, torch.device("cuda"))


def test_what_no_recording_can_hold_is_said_before_the_run() -> None:
    """Another model class's dropout is seeded at each pass; PyTorch's attention cannot be computed again inside one."""
    ours, theirs = build(objective("electra", "classic")), torch.nn.Linear(1, 1)
    engine = Engine(cuda_graphs=True, compile="never")
    check_engine(engine, ours, GPU)
    with pytest.raises(UserError, match=r"engine\.cuda_graphs: only for encoders of electra"):
        check_engine(engine, theirs, GPU)
    with pytest.raises(UserError, match=r"cuda_graphs with engine\.activation_checkpointing: only compiled"):
        check_engine(replace(engine, activation_checkpointing=True), ours, GPU)
    with pytest.raises(UserError, match=r"engine\.activation_checkpointing: only for encoders of electra"):
        check_engine(Engine(activation_checkpointing=True), theirs, GPU)


def of_tuning() -> Examples:
    """Two labelled texts of one length."""
    examples = [Example([2, 5 + at, 6, 3], [0] * 4, at) for at in range(2)]
    source = ExampleSource(
        examples, lambda chosen, _: ({"label": torch.tensor([e.target for e in chosen])}, 2), 0, 2, 1
    )
    return source.batch(source.take(source.start, 2)[0])


@pytest.mark.parametrize("rows", [batch(), of_tuning()], ids=["pre-training", "fine-tuning"])
def test_a_batch_is_made_anew_of_other_tensors(rows: Any) -> None:
    """As a recording does it, which reads where it once read. All that a pass takes from a batch is among them."""
    copies = {name: value.clone() for name, value in rows.tensors().items()}
    copy = rows.replaced(copies)
    assert type(copy) is type(rows) and copy.tensors().keys() == copies.keys()
    assert all(copy.tensors()[name] is value for name, value in copies.items())
    assert not [field for field in dataclasses.fields(rows) if isinstance(getattr(rows, field.name), int | float)]


@pytest.mark.parametrize("deterministic", [False, True])
def test_products_that_repeat_have_cublas_told(deterministic: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        make_deterministic(deterministic, GPU.device)
        assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == (":4096:8" if deterministic else None)
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
        make_deterministic(deterministic, GPU.device)
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8", "it was set already"
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("kind", ["electra", "mlm", "coco-lm"])
def test_a_replay_gives_the_same_statistics_and_gradients(kind: str) -> None:
    """Of two micro-batches a step, two steps: gradients add up inside a step and begin anew with the next."""
    device = torch.device("cuda")
    pretrainer = build(objective(kind, "classic")).to(device)
    plain = Passes(pretrainer, "float32", Parallel(0, 1, device))
    steps = []
    for passes in (plain, RecordedPasses(plain, list(pretrainer.parameters()))):
        for step in range(2):
            rows = [batch(epoch=2 * step + at) for at in range(2)]
            divisors = {name: n.float().to(device) for name, n in pretrainer.counts(rows[0]).items()}
            sums = [passes(micro_batch.to(device), divisors, torch.tensor(0.5, device=device)) for micro_batch in rows]
            gradients = {name: p.grad for name, p in pretrainer.named_parameters() if p.grad is not None}
            steps.append(({name: value.clone() for name, value in gradients.items()}, sums))
            pretrainer.zero_grad(set_to_none=True)
    for one, other in zip(steps[:2], steps[2:], strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("recomputes", [False, True], ids=["kept", "recomputed"])
def test_steps_are_recorded_while_a_thread_uploads_rows(recomputes: bool) -> None:
    """The loop as a run has it, with the kernels: with and without a recording the weights become the same."""
    weights = []
    for graphs in (False, True):
        pretrainer = build(objective("electra", "classic"))
        source = RandomRows(VOCABULARY, 32)
        stage = Stage(pretrainer, collect_parameters(pretrainer, pretrainer.towers()), source, 8, 8, 256, 1)
        engine = Engine(cuda_graphs=graphs, activation_checkpointing=recomputes, micro_rows=4, precision="float32")
        train_stages(StagePlan.of([stage], LinearDecay(warmup=1)), AdamW(learning_rate=1e-3), engine, Parallel.alone())
        weights.append({name: value.detach().cpu() for name, value in pretrainer.named_parameters()})
    torch.testing.assert_close(*weights, rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_fine_tuning_is_recorded() -> None:
    """Each length is recorded anew; the counts of targets are those of the batch that is replayed."""
    device, steps = torch.device("cuda"), []
    for graphs in (False, True):
        tower = build(objective("electra", "classic")).encoder
        reader = TowerReader(tower)
        torch.manual_seed(0)
        net = FineTuned(reader, Plain(), 1).to(device)
        passes: Any = Passes(net, "float32", Parallel(0, 1, device))
        passes = RecordedPasses(passes, list(net.parameters())) if graphs else passes
        for _ in range(2):
            rows = of_tuning().to(device)
            sums = passes(rows, {"task": torch.full((), 2.0, device=device)}, torch.zeros((), device=device))
            gradients = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
            steps.append(gradients | dict(sums))
            net.zero_grad(set_to_none=True)
    for one, other in zip(steps[:2], steps[2:], strict=True):
        torch.testing.assert_close(one, other)


class Plain(torch.nn.Module):
    """A head without parameters."""

    def loss(self, states: Any, batch: Examples, keys: Any) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(states[-1][:, 0, :2].float(), batch.targets["label"], reduction="sum")
