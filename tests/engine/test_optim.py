"""Optimizers and schedules: arithmetic, coverage, and state by name."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from electra.engine.optim import (
    AdamW,
    GoogleAdam,
    LinearDecay,
    Muon,
    Optimizer,
    Parameter,
    WarmupStableDecay,
)
from electra.engine.train import check_coverage
from electra.errors import UserError


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 3))


def parameters(module: nn.Module, tower: str = "encoder") -> list[Parameter]:
    return [Parameter(n, v, tower, decays=v.dim() > 1, matrix=v.dim() > 1) for n, v in module.named_parameters()]


def backward(module: nn.Module) -> None:
    torch.manual_seed(1)
    module(torch.randn(5, 6)).square().sum().backward()


def test_google_adam_is_its_formula() -> None:
    module = model()
    config = GoogleAdam(learning_rate=0.1, weight_decay=0.3)
    moved = Optimizer(config, parameters(module))
    backward(module)
    before, grad = module[0].weight.detach().clone(), module[0].weight.grad.clone()
    moved.step(0.5)
    update = 0.1 * grad / ((0.001 * grad**2).sqrt() + 1e-6) + 0.3 * before
    torch.testing.assert_close(module[0].weight.detach(), before - 0.05 * update)


def test_vectors_do_not_decay() -> None:
    module = model()
    moved = Optimizer(AdamW(learning_rate=0.1, weight_decay=0.5), parameters(module))
    decay = {id(v): g["weight_decay"] for o in moved.optimizers for g in o.param_groups for v in g["params"]}
    assert {name: decay[id(v)] for name, v in module.named_parameters()} == {
        name: 0.5 if v.dim() > 1 else 0.0 for name, v in module.named_parameters()
    }


def test_clipping_bounds_the_norm_of_all_gradients() -> None:
    module = model()
    moved = Optimizer(AdamW(), parameters(module))
    backward(module)
    norm = torch.cat([p.grad.flatten() for p in module.parameters()]).norm()
    torch.testing.assert_close(moved.measure_gradients().norms["total"], norm)
    moved.clip(0.25, moved.measure_gradients().norms)
    torch.testing.assert_close(moved.measure_gradients().norms["total"], torch.tensor(0.25))
    before = module[0].weight.grad.clone()
    moved.clip(10.0, moved.measure_gradients().norms)
    assert torch.equal(before, module[0].weight.grad)


def test_towers_apart_are_clipped_each_by_its_own_norm() -> None:
    module = model()
    apart = [replace(p, tower=p.name[0], apart=True, scale=0.5) for p in parameters(module)]
    moved = Optimizer(AdamW(learning_rate=0.2), apart)
    backward(module)
    towers = sorted({p.tower for p in apart})
    assert len(towers) > 1
    before = moved.measure_gradients().norms
    limit = float(before[towers[0]]) / 2
    moved.clip(limit, before)
    after = moved.measure_gradients().norms
    for name in towers:
        assert float(after[name]) == pytest.approx(min(limit, float(before[name])), rel=1e-5)
    moved.step(1.0)
    assert set(moved.rates().values()) == {0.1}


@pytest.mark.parametrize("config", [AdamW(), GoogleAdam(), Muon()])
def test_state_goes_round_by_name(config: AdamW | GoogleAdam | Muon) -> None:
    first, second = model(), model()
    one = Optimizer(config, parameters(first))
    for _ in range(2):
        backward(first)
        one.step(1.0)
    second.load_state_dict(first.state_dict())
    two = Optimizer(config, parameters(second))
    two.load_state({name: value.clone() for name, value in one.state().items()})
    for module, optimizer in ((first, one), (second, two)):
        backward(module)
        optimizer.step(1.0)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    with pytest.raises(UserError, match="no parameter"):
        two.load_state({"other.weight/momentum": torch.zeros(1)})


def test_every_parameter_is_in_one_group() -> None:
    module = model()
    whole = parameters(module)
    check_coverage(module, whole)
    with pytest.raises(UserError, match="missing"):
        check_coverage(module, whole[1:])
    with pytest.raises(UserError, match="two optimizer groups"):
        check_coverage(module, [*whole, whole[0]])


def test_schedules() -> None:
    linear = LinearDecay(warmup=10)
    assert [linear.factor(step, 100) for step in (0, 5, 50, 100)] == pytest.approx([0.0, 0.95 * 0.5, 0.5, 0.0])
    level = WarmupStableDecay(warmup=4, decay=0.5)
    assert [level.factor(step, 20) for step in (0, 3, 10, 15, 19)] == pytest.approx([0.25, 1.0, 1.0, 0.5, 0.1])
