"""Optimizers and schedules: what moves the parameters, at which rate.

Every parameter is in exactly one group. A group names its tower (for norms), its scale of the learning rate (for
layer-wise decay), whether it decays, and whether Muon moves it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup

from electra.config_types import ByKind
from electra.engine.muon import OrthogonalMomentum
from electra.errors import UserError
from electra.ranges import CountOrZero, Fraction, FractionBelowOne, NotNegative, Positive


@dataclass(frozen=True)
class AdamW:
    """Adam with bias correction and decoupled weight decay (Loshchilov and Hutter, 2019)."""

    kind: Literal["adamw"] = "adamw"
    learning_rate: NotNegative = 5e-4  # ELECTRA-Small, table 6
    beta1: FractionBelowOne = 0.9
    beta2: FractionBelowOne = 0.999
    epsilon: Positive = 1e-6
    weight_decay: NotNegative = 0.01


@dataclass(frozen=True)
class GoogleAdam:
    """The original code's Adam: no bias correction, epsilon outside the root, decay inside the update."""

    kind: Literal["google-adam"] = "google-adam"
    learning_rate: NotNegative = 5e-4
    beta1: FractionBelowOne = 0.9
    beta2: FractionBelowOne = 0.999
    epsilon: Positive = 1e-6
    weight_decay: NotNegative = 0.01


@dataclass(frozen=True)
class Muon:
    """Momentum made orthogonal for the layers' matrices (Jordan, 2024); AdamW, ``rest``, for everything else."""

    kind: Literal["muon"] = "muon"
    learning_rate: NotNegative = 0.02
    momentum: FractionBelowOne = 0.95
    weight_decay: NotNegative = 0.01
    rest: AdamW = field(default_factory=lambda: AdamW(learning_rate=2e-3, beta2=0.98))


OptimizerConfig = Annotated[AdamW | GoogleAdam | Muon, ByKind()]


@dataclass(frozen=True)
class LinearDecay:
    """Up from zero over ``warmup`` steps, down to zero at the last: both factors at once, as in the original code."""

    kind: Literal["linear"] = "linear"
    warmup: CountOrZero = 10_000

    def factor(self, step: int, steps: int) -> float:
        """What the learning rate is multiplied with at ``step`` (from 0) of ``steps``."""
        return (1 - step / steps) * min(1.0, step / self.warmup if self.warmup else 1.0)


@dataclass(frozen=True)
class WarmupStableDecay:
    """Up over ``warmup`` steps, level, then linearly to zero over the last ``decay`` share of the steps."""

    kind: Literal["warmup-stable-decay"] = "warmup-stable-decay"
    warmup: CountOrZero = 1_000
    decay: Fraction = 0.2

    def factor(self, step: int, steps: int) -> float:
        """What the learning rate is multiplied with at ``step`` (from 0) of ``steps``."""
        rise = (step + 1) / self.warmup if self.warmup else 1.0
        fall = (steps - step) / (self.decay * steps) if self.decay else 1.0
        return min(1.0, rise, fall)


Schedule = Annotated[LinearDecay | WarmupStableDecay, ByKind()]


@dataclass(frozen=True)
class Parameter:
    """One parameter with what the optimizer must know of it.

    ``matrix``: a layer's matrix, which Muon may move. ``apart``: its tower's gradients are clipped by their own norm.
    """

    name: str
    value: nn.Parameter
    tower: str = "encoder"
    decays: bool = True
    matrix: bool = False
    scale: float = 1.0
    apart: bool = False


def collect_parameters(
    module: nn.Module, towers: Mapping[str, str], rates: Mapping[str, float] | None = None, apart: bool = False
) -> list[Parameter]:
    """Every parameter of a module. ``towers``: each parameter's tower, by the parameter's name; ``rates``: by tower,
    what its learning rate is multiplied with (1 if it is not there).

    Vectors (biases, norms) do not decay. Muon may move the matrices of ``layers``.
    """
    return [
        Parameter(
            name,
            value,
            towers[name],
            decays=value.dim() > 1,
            matrix=value.dim() == 2 and ".layers." in name,
            scale=(rates or {}).get(towers[name], 1.0),
            apart=apart,
        )
        for name, value in module.named_parameters()
    ]


class OriginalAdam(torch.optim.Optimizer):
    """The original code's Adam: update = m / (sqrt(v) + epsilon) + decay · p; p -= rate · update."""

    def __init__(self, groups: list[dict], beta1: float, beta2: float, epsilon: float):
        super().__init__(groups, {"beta1": beta1, "beta2": beta2, "epsilon": epsilon, "weight_decay": 0.0, "lr": 0.0})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for value in (p for p in group["params"] if p.grad is not None):
                state = self.state[value]
                if not state:
                    state |= {"adam_m": torch.zeros_like(value), "adam_v": torch.zeros_like(value)}
                m, v = state["adam_m"], state["adam_v"]
                m.mul_(group["beta1"]).add_(value.grad, alpha=1 - group["beta1"])
                v.mul_(group["beta2"]).addcmul_(value.grad, value.grad, value=1 - group["beta2"])
                update = m / (v.sqrt() + group["epsilon"]) + group["weight_decay"] * value
                value.sub_(update, alpha=group["lr"])


class GradientSummary(NamedTuple):
    """``norms``: float32 [], by tower, and of all gradients together as ``total``. ``unreached``: int64 [], by tower,
    how many tensors no loss reaches: their gradients are absent or 0.
    """

    norms: dict[str, Tensor]
    unreached: dict[str, Tensor]


class Optimizer:
    """All optimizers of a run as one: learning rates, clipping, and state by parameter name.

    ``products``: the number type of Muon's matrix products. ``group``: the processes that share those out, if any.
    """

    def __init__(
        self,
        config: OptimizerConfig,
        parameters: Iterable[Parameter],
        products: torch.dtype = torch.float32,
        group: ProcessGroup | None = None,
    ):
        self.parameters = {p.name: p for p in parameters}
        everything = list(self.parameters.values())
        if not isinstance(config, Muon):
            self.optimizers = [build_adam(config, everything)]
        else:
            matrices, rest = [p for p in everything if p.matrix], [p for p in everything if not p.matrix]
            groups = group_parameters(matrices, config.learning_rate, config.weight_decay)
            self.optimizers = [OrthogonalMomentum(groups, config.momentum, products, group)] if matrices else []
            self.optimizers += [build_adam(config.rest, rest)]

    def rates(self) -> dict[str, float]:
        """The current learning rate of each group, by the group's name."""
        return {group["name"]: group["lr"] for optimizer in self.optimizers for group in optimizer.param_groups}

    def measure_gradients(self) -> GradientSummary:
        """Norms, and tensors without a gradient; to be called before clipping."""
        gradients = {name: p.value.grad for name, p in self.parameters.items() if p.value.grad is not None}
        norms = dict(zip(gradients, torch._foreach_norm(list(gradients.values())), strict=True))
        zero = torch.zeros_like(next(iter(norms.values())))
        by_tower: dict[str, list[Tensor]] = {}
        for p in self.parameters.values():
            if p.value.requires_grad:
                by_tower.setdefault(p.tower, []).append(norms.get(p.name, zero))
        stacked = {tower: torch.stack(tower_norms) for tower, tower_norms in by_tower.items()}
        of_towers = {tower: tower_norms.norm() for tower, tower_norms in stacked.items()}
        unreached = {tower: (tower_norms == 0).sum() for tower, tower_norms in stacked.items()}
        return GradientSummary(of_towers | {"total": torch.stack([*of_towers.values()]).norm()}, unreached)

    def clip(self, limit: float, norms: Mapping[str, Tensor]) -> None:
        """Scale gradients so that the norm of all together is at most ``limit``; of parameters that are ``apart``, the
        norm of each tower. 0 never scales. ``norms``: those of ``measure_gradients``.
        """
        clipped: dict[str, list[Tensor]] = {}
        for p in self.parameters.values():
            if p.value.grad is not None:
                clipped.setdefault(p.tower if p.apart else "total", []).append(p.value.grad)
        for name, gradients in clipped.items() if limit else ():
            torch._foreach_mul_(gradients, (limit / norms[name]).clamp(max=1.0))

    def step(self, factor: float) -> None:
        """Move every parameter with its peak learning rate times ``factor``, and delete the gradients."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """All state tensors, by ``parameter name/state's key``."""
        return {
            f"{name}/{key}": value
            for name, p in self.parameters.items()
            for optimizer in self.optimizers
            for key, value in optimizer.state.get(p.value, {}).items()
        }

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Load tensors as ``state`` returns them.

        Raises:
            UserError: a name is no parameter's, or a parameter has not all of its optimizer's tensors, each of its own
                shape (but for counts of steps) and in float32.
        """
        owners = {
            id(value): optimizer
            for optimizer in self.optimizers
            for group in optimizer.param_groups
            for value in group["params"]
        }
        by_name: dict[str, dict[str, Tensor]] = {}
        for path, tensor in tensors.items():
            name, _, key = path.rpartition("/")
            if name not in self.parameters:
                raise UserError(f"optimizer state for {name!r}, which is no parameter of this model")
            by_name.setdefault(name, {})[key] = tensor
        for name, state in by_name.items():
            value = self.parameters[name].value
            optimizer = owners[id(value)]
            expected = {key: () if key == STEP else tuple(value.shape) for key in STATE_KEYS[type(optimizer)]}
            if expected != {key: tuple(tensor.shape) for key, tensor in state.items()}:
                raise UserError(f"optimizer state of {name} does not fit: not {', '.join(expected)} of its shape")
            if any(tensor.dtype != torch.float32 for tensor in state.values()):
                raise UserError(f"optimizer state of {name} is not float32")
            # Counts of steps too: AdamW is fused.
            optimizer.state[value].update({key: tensor.to(value.device) for key, tensor in state.items()})


STEP = "step"  # of AdamW's state: how many steps a parameter was moved
STATE_KEYS: dict[type[torch.optim.Optimizer], tuple[str, ...]] = {  # the tensors that each keeps of a parameter
    torch.optim.AdamW: (STEP, "exp_avg", "exp_avg_sq"),
    OriginalAdam: ("adam_m", "adam_v"),
    OrthogonalMomentum: ("momentum",),
}


def build_adam(config: AdamW | GoogleAdam, parameters: list[Parameter]) -> torch.optim.Optimizer:
    """torch's AdamW or the original code's Adam, at learning rate 0 until ``Optimizer.step`` sets it."""
    groups = group_parameters(parameters, config.learning_rate, config.weight_decay)
    if isinstance(config, GoogleAdam):
        return OriginalAdam(groups, config.beta1, config.beta2, config.epsilon)
    return torch.optim.AdamW(groups, lr=0.0, betas=(config.beta1, config.beta2), eps=config.epsilon, fused=True)


def group_parameters(parameters: list[Parameter], rate: float, decay: float) -> list[dict]:
    """Torch's parameter groups: parameters of the same tower, scale and decay together."""
    groups: dict[str, dict] = {}
    for p in parameters:
        name = "/".join(
            [p.tower, "matrices" if p.matrix else "rest"]
            + ["no-decay"] * (not p.decays)
            + [f"{p.scale:g}"] * (p.scale != 1)
        )
        fresh = {
            "name": name,
            "params": [],
            "peak": rate * p.scale,
            "lr": 0.0,
            "weight_decay": decay if p.decays else 0.0,
        }
        groups.setdefault(name, fresh)["params"].append(p.value)
    return list(groups.values())
