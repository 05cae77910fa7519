"""Muon (Jordan, 2024): momentum made orthogonal. Its matrix products cost as much as a step of a few thousand tokens,
so they are batched over matrices of one shape, in the form that has fewer operations."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributed import ProcessGroup

ITERATIONS = 5
COEFFICIENTS = 3.4445, -4.7750, 2.0315  # make small singular values grow fastest; where they end is 0.7 to 1.2 (Jordan)
SHORT_SIDE_RATIO = 2  # long side / short side from which the iteration on the short side has fewer operations


class OrthogonalMomentum(torch.optim.Optimizer):
    """Muon for matrices: those of one shape are made orthogonal together, in one batched product per iteration.

    ``group``: processes that have the same gradients and share out the iterations. Each keeps the whole momentum.
    """

    # Not torch.optim.Muon (2.13): its products are always bfloat16, one matrix at a time, and its state has other
    # names. A step of modern-small's 64 matrices (one thread, no bfloat16 units, by turns) took it 4.2 times as long as
    # this class in float32; in bfloat16 both compute the same numbers, and torch's took 1.07 times as long.

    def __init__(self, groups: list[dict], momentum: float, products: torch.dtype, group: ProcessGroup | None = None):
        super().__init__(groups, {"momentum": momentum, "weight_decay": 0.0, "lr": 0.0})
        self.products, self.group = products, group

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for value in (p for p in group["params"] if p.grad is not None):
                by_shape.setdefault(value.shape, []).append(value)
            for shape, values in by_shape.items():
                updates = []
                for value in values:
                    state = self.state[value]
                    if not state:
                        state["momentum"] = torch.zeros_like(value)
                    state["momentum"].lerp_(value.grad, 1 - group["momentum"])
                    nesterov = value.grad.lerp(state["momentum"], group["momentum"])  # type: ignore[union-attr]
                    updates.append(nesterov)
                scale = max(1.0, shape[0] / shape[1]) ** 0.5
                stacked = torch.stack(updates)
                if self.group is None:
                    orthogonal = orthogonalize(stacked, self.products)
                else:
                    orthogonal = orthogonalize_together(stacked, self.products, self.group)
                for value, update in zip(values, orthogonal, strict=True):
                    value.mul_(1 - group["lr"] * group["weight_decay"])
                    value.add_(update, alpha=-group["lr"] * scale)


def orthogonalize_together(
    matrices: Float[Tensor, "many rows columns"], products: torch.dtype, group: ProcessGroup
) -> Float[Tensor, "many rows columns"]:
    """``orthogonalize`` for matrices that all processes of ``group`` have: each makes a part and gets the others'.

    The bits are those of a process that makes all parts, one after another. The parts travel in the type of the
    products, which is what the iteration gives.
    """
    share = -(-len(matrices) // group.size())
    own = matrices[group.rank() * share :][:share]
    part = torch.zeros(share, *matrices.shape[1:], dtype=products, device=matrices.device)
    if len(own):
        part[: len(own)] = orthogonalize(own, products)
    parts = part.new_empty(group.size() * share, *matrices.shape[1:])
    torch.distributed.all_gather(list(parts.split(share)), part, group)
    return parts[: len(matrices)].to(matrices.dtype)


def orthogonalize(
    matrices: Float[Tensor, "many rows columns"], products: torch.dtype = torch.float32
) -> Float[Tensor, "many rows columns"]:
    """Approximately U Vᵀ of each matrix, in its own dtype, by a quintic Newton–Schulz iteration:
    X ← (a + b G + c G²) X with G = X Xᵀ.

    ``products``: the number type of the products; the iteration forgives bfloat16 (Jordan, 2024).
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).to(products)
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    # On the short side alone an iteration loses what is small beside the largest, more than bfloat16 can spare.
    by_gram = products != torch.bfloat16 and x.shape[2] >= SHORT_SIDE_RATIO * x.shape[1]
    x = iterate_on_short_side(x) if by_gram else iterate_directly(x)
    return (x.mT if tall else x).to(matrices.dtype)


def iterate_directly(x: Float[Tensor, "many short long"]) -> Float[Tensor, "many short long"]:
    """The iteration as the formula is written."""
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def iterate_on_short_side(x: Float[Tensor, "many short long"]) -> Float[Tensor, "many short long"]:
    """The same iteration with X = Q X₀. Its factors P = a + b G + c G² commute with G, so that G ← P G P and Q ← P Q,
    and only the last product has the long side."""
    a, b, c = COEFFICIENTS
    gram = x @ x.mT
    identity = torch.eye(gram.shape[1], dtype=x.dtype, device=x.device)
    q = identity.expand_as(gram)
    for last in [False] * (ITERATIONS - 1) + [True]:
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c) + a * identity
        q = factor @ q
        gram = gram if last else factor @ gram @ factor
    return q @ x
