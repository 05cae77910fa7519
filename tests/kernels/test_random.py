"""Addressed random numbers: equal to their NumPy twin bit by bit, well distributed, and independent of history."""

import numpy as np
import pytest
import torch

from electra.kernels import random
from electra.kernels.random import dropout, fold, make_key, uniform

ROWS, COUNT = 64, 4096


def mixed(bits: np.ndarray) -> np.ndarray:
    """lowbias32 on uint32."""
    bits = bits ^ (bits >> np.uint32(16))
    bits = bits * np.uint32(0x7FEB352D)
    bits = bits ^ (bits >> np.uint32(15))
    bits = bits * np.uint32(0x846CA68B)
    return bits ^ (bits >> np.uint32(16))


def twin_fold(keys: np.ndarray, word: np.ndarray) -> np.ndarray:
    return mixed(keys ^ mixed((word.astype(np.uint32) + np.uint32(1)) * np.uint32(0x9E3779B9)))


def twin_stream(keys: np.ndarray, count: int) -> np.ndarray:
    bits = np.arange(count, dtype=np.uint32) + keys[:, None]
    bits = (bits ^ (bits >> np.uint32(16))) * np.uint32(0x7FEB352D) + mixed(keys ^ np.uint32(0x5851F42D))[:, None]
    bits = (bits ^ (bits >> np.uint32(15))) * np.uint32(0x846CA68B)
    return bits ^ (bits >> np.uint32(16))


def row_keys(rows: int = ROWS) -> torch.Tensor:
    return fold(torch.full((rows,), make_key(7), dtype=torch.int32), torch.arange(rows, dtype=torch.int32))


def test_equals_its_numpy_twin_bit_by_bit() -> None:
    keys = row_keys()
    twin = twin_fold(np.full(ROWS, make_key(7), np.int32).view(np.uint32), np.arange(ROWS))
    assert np.array_equal(keys.numpy().view(np.uint32), twin)
    expected = ((twin_stream(twin, COUNT) >> np.uint32(9)).astype(np.float32) + np.float32(0.5)) / np.float32(2**23)
    assert np.array_equal(uniform(keys, COUNT).numpy(), expected)

    x = torch.ones(ROWS, 4, 8, 16)
    kept = twin_stream(twin_fold(twin, np.array([3])), 4 * 8 * 16).view(np.int32) >= round(0.25 * 2**32) - 2**31
    assert np.array_equal(dropout(x, keys, 3, 0.25).numpy() > 0, kept.reshape(x.shape))


def test_key_is_fold_of_integers() -> None:
    words = (0, 5, -1, 2**31 - 1, -(2**31))
    keys = torch.zeros(1, dtype=torch.int32)
    for word in words:
        keys = fold(keys, word)
    assert keys.item() == make_key(*words)
    assert fold(torch.zeros(1, dtype=torch.int32), torch.tensor([9], dtype=torch.int32)).item() == make_key(9)
    assert len({make_key(1, 2), make_key(2, 1), make_key(1), make_key(1, 2, 0), make_key()}) == 5
    assert -(2**31) <= make_key(2**40) < 2**31


@pytest.mark.compiled
def test_compiled_and_eager_agree() -> None:
    keys, x = row_keys(8), torch.randn(8, 4, 20)
    compiled = torch.compile(lambda x, keys: (dropout(x, keys, 1, 0.1), uniform(keys, 50)))
    for one, two in zip(compiled(x, keys), (dropout(x, keys, 1, 0.1), uniform(keys, 50)), strict=True):
        assert torch.equal(one, two)


def test_a_number_depends_on_its_address_alone() -> None:
    keys, x = row_keys(), torch.ones(ROWS, 10, 16)
    whole = dropout(x, keys, 2, 0.3)
    parts = torch.cat([dropout(x[part], keys[part], 2, 0.3) for part in (slice(0, 5), slice(5, 64))])
    assert torch.equal(whole, parts)
    assert torch.equal(uniform(keys, 100)[:, :40], uniform(keys, 40))
    assert not torch.equal(whole, dropout(x, keys, 3, 0.3))


def test_rows_longer_than_the_table_of_counters() -> None:
    keys, count = row_keys(2), len(random.COLUMNS) + 5
    assert torch.equal(uniform(keys, count)[:, : count - 5], uniform(keys, count - 5))


def test_uniform_is_flat_and_inside_the_open_interval() -> None:
    numbers = uniform(row_keys(), COUNT).double()
    assert numbers.min() > 0 and numbers.max() < 1
    total = numbers.numel()
    assert abs(numbers.mean() - 0.5) < 5 * (1 / 12 / total) ** 0.5
    assert abs(numbers.var() - 1 / 12) < 5 * (1 / 180 / total) ** 0.5
    bins = torch.bincount((numbers * 256).long().flatten(), minlength=256).double()
    assert chi_square_z(bins, torch.full((256,), total / 256)) < 5
    # Ten low bits of the 23 as well as the high ones.
    low = torch.bincount((numbers * 2**23).long().flatten() % 1024, minlength=1024).double()
    assert chi_square_z(low, torch.full((1024,), total / 1024)) < 5


@pytest.mark.parametrize("neighbour", ["counter", "key", "site", "epoch"])
def test_neighbours_are_unrelated(neighbour: str) -> None:
    """Pairs of numbers at neighbouring addresses fill the square evenly: no correlation, no lattice."""
    one = uniform(row_keys(), COUNT)
    if neighbour == "counter":
        one, two = one[:, :-1], one[:, 1:]
    elif neighbour == "key":
        one, two = one[:-1], one[1:]
    elif neighbour == "site":
        one, two = uniform(fold(row_keys(), 1), COUNT), uniform(fold(row_keys(), 2), COUNT)
    else:
        two = uniform(
            fold(torch.full((ROWS,), make_key(8), dtype=torch.int32), torch.arange(ROWS, dtype=torch.int32)), COUNT
        )
    assert abs(float(torch.corrcoef(torch.stack([one.flatten(), two.flatten()]))[0, 1])) < 5 / one.numel() ** 0.5
    cells = ((one * 16).long() * 16 + (two * 16).long()).flatten()
    counts = torch.bincount(cells, minlength=256).double()
    assert chi_square_z(counts, torch.full((256,), one.numel() / 256)) < 5


def test_raw_neighbouring_keys_are_unrelated_too() -> None:
    numbers = uniform(torch.arange(ROWS, dtype=torch.int32), COUNT)
    correlation = torch.corrcoef(numbers) - torch.eye(ROWS)
    assert correlation.abs().max() < 5.5 / COUNT**0.5
    for lag in range(1, 64):  # no stream is another one, moved
        moved = (numbers[1:, :-lag] - 0.5) * (numbers[:-1, lag:] - 0.5)
        assert abs(moved.mean()) < 5 / 12 / moved.numel() ** 0.5


@pytest.mark.parametrize("p", [0.1, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_keeps_one_minus_p_and_the_mean(p: float, dtype: torch.dtype) -> None:
    x = torch.ones(ROWS, 64, 64, dtype=dtype)
    dropped = dropout(x, row_keys(), 5, p)
    assert dropped.dtype == dtype
    kept = (dropped != 0).double()
    assert abs(kept.mean() - (1 - p)) < 5 * (p * (1 - p) / x.numel()) ** 0.5
    assert torch.equal(dropped[dropped != 0].unique(), torch.tensor([1 / (1 - p)], dtype=dtype))
    rows = kept.mean(dim=(1, 2))
    assert (rows - (1 - p)).abs().max() < 5 * (p * (1 - p) / 4096) ** 0.5


def test_dropout_gradient_is_its_mask() -> None:
    x = torch.randn(4, 6, 8, requires_grad=True)
    dropped = dropout(x, row_keys(4), 5, 0.2)
    dropped.sum().backward()
    assert torch.equal(x.grad, torch.where(dropped == 0, 0.0, 1 / 0.8))


def test_no_keys_or_no_p_is_identity() -> None:
    x = torch.randn(3, 5)
    assert dropout(x, None, 1, 0.5) is x
    assert dropout(x, row_keys(3), 1, 0.0) is x


def chi_square_z(counts: torch.Tensor, expected: torch.Tensor) -> float:
    """How many standard deviations the chi-square statistic lies above its mean."""
    freedom = len(counts) - 1
    return float((((counts - expected) ** 2 / expected).sum() - freedom) / (2 * freedom) ** 0.5)


def test_on_a_cpu_the_compiler_leaves_keys_to_python() -> None:
    graphs = []

    def keep_graph(graph: torch.fx.GraphModule, _: object) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    def compute(keys: torch.Tensor) -> torch.Tensor:
        return random.derive_keys(keys + 1, 3, 4) * 2

    keys = row_keys()
    assert torch.equal(torch.compile(compute, backend=keep_graph)(keys), fold(fold(keys + 1, 3), 4) * 2)
    operations = [node.target for graph in graphs for node in graph.graph.nodes if node.op == "call_function"]
    assert len(operations) == 2, "the sum and the product, no hash"
