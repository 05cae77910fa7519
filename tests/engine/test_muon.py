"""Momentum made orthogonal: singular values become flat, directions stay, in both forms and both types of products."""

import pytest
import torch
from torch import Tensor

from electra.engine.muon import COEFFICIENTS, ITERATIONS, iterate_directly, iterate_on_short_side, orthogonalize


@pytest.mark.parametrize("shape", [(4, 16, 16), (2, 8, 32), (3, 32, 8)])
def test_orthogonalize_flattens_singular_values_and_keeps_directions(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(2)
    matrices = torch.randn(shape)
    result = orthogonalize(matrices)
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    inner = u.mT @ result @ v.mT
    off = inner - torch.diag_embed(inner.diagonal(dim1=1, dim2=2))
    assert off.abs().max() < 1e-3
    singular = torch.linalg.svdvals(result)
    assert singular.max() < 1.3 and singular.median() > 0.6


def spread(rows: int, columns: int) -> Tensor:
    """Matrices whose singular values go from 1 to 0.001."""
    torch.manual_seed(3)
    u, _, v = torch.linalg.svd(torch.randn(3, rows, columns, dtype=torch.float64), full_matrices=False)
    return u @ torch.diag_embed(torch.logspace(0, -3, min(rows, columns), dtype=torch.float64).expand(3, -1)) @ v


def iterated(matrices: Tensor) -> Tensor:
    """The same polynomial of each singular value, by itself; float64."""
    u, values, v = torch.linalg.svd(matrices, full_matrices=False)
    values = values / values.norm(dim=1, keepdim=True)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        values = a * values + b * values**3 + c * values**5
    return u @ torch.diag_embed(values) @ v


@pytest.mark.parametrize("products", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(48, 48), (40, 64), (32, 96), (160, 32)])
def test_it_is_the_polynomial_of_each_singular_value(shape: tuple[int, int], products: torch.dtype) -> None:
    matrices = spread(*shape)
    result, exact = orthogonalize(matrices.float(), products), iterated(matrices)
    assert result.dtype == torch.float32
    apart = (result - exact).norm(dim=(1, 2)) / exact.norm(dim=(1, 2))
    assert apart.max() < {torch.float32: 1e-3, torch.bfloat16: 0.2}[products]
    assert torch.linalg.svdvals(result).max() < 1.3


def test_both_forms_are_one_iteration() -> None:
    x = spread(24, 72)
    x = x / x.norm(dim=(1, 2), keepdim=True)
    torch.testing.assert_close(iterate_directly(x), iterate_on_short_side(x), rtol=1e-9, atol=1e-9)
