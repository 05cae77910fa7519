"""Counted vectors: the pairs that a plain loop finds, and a factorization that multiplies back to what it came from."""

from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from electra.dataset import neighbours
from electra.dataset.neighbours import WINDOW, count_neighbours, factorize_neighbours
from electra.dataset.shards import Shards


def test_counts_are_those_of_a_plain_loop(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In blocks that do not end where documents do, of the held-out split, which is short."""
    shards = Shards.open(prepared, "held-out")
    expected = np.zeros((shards.vocab_size, shards.vocab_size))
    for shard in shards.files:
        for block in range(shard.blocks):
            for edges in shard.block_edges(block):
                ids = shard.tokens[edges[0] : edges[-1]].tolist()
                for at, token in enumerate(ids):
                    for distance, other in enumerate(ids[at + 1 : at + 1 + WINDOW], 1):
                        expected[token, other] += 1 / distance
                        expected[other, token] += 1 / distance
    assert expected.sum() > 1000
    np.testing.assert_allclose(count_neighbours(shards).toarray(), expected)
    monkeypatch.setattr(neighbours, "BLOCKS_AT_ONCE", 1)
    np.testing.assert_allclose(count_neighbours(shards).toarray(), expected)


def test_of_much_data_a_part_is_counted(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Evenly spaced blocks, the first and the last among them."""
    shards = Shards.open(prepared, "train")
    assert shards.blocks > 2
    whole = count_neighbours(shards)
    monkeypatch.setattr(neighbours, "MOST_BLOCKS", 2)
    asked: list[int] = []
    monkeypatch.setattr(
        neighbours, "read_blocks", lambda shards, blocks, read=neighbours.read_blocks: (
            asked.extend(blocks), read(shards, blocks))[1],
    )  # fmt: skip
    part = count_neighbours(shards)
    assert asked == [0, shards.blocks - 1] and 0 < part.sum() < whole.sum()


def test_the_vectors_multiply_back_to_the_information() -> None:
    """With all singular values U √S (U √S)ᵀ = U S Uᵀ, whose square is M Mᵀ, however the vectors are turned."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(1.0, (40, 40)).astype(float)
    counts = np.triu(counts) + np.triu(counts, 1).T
    counts[:, 7] = counts[7] = 0  # a token without neighbours
    with np.errstate(divide="ignore", invalid="ignore"):
        frequencies = counts.sum(1)
        ratios = counts * (frequencies**0.75).sum() / np.outer(frequencies, frequencies**0.75)
        information = np.nan_to_num(np.maximum(np.log(ratios), 0), neginf=0)
    vectors = factorize_neighbours(csr_array(counts), 48, seed=3)
    assert vectors.shape == (40, 48) and vectors.dtype == np.float32
    products = vectors.astype(float) @ vectors.T.astype(float)
    np.testing.assert_allclose(products @ products, information @ information.T, atol=2e-4)
    assert not vectors[7].any() and np.abs(vectors).max(0).min() > 0  # turned: no number is empty
    assert np.array_equal(vectors, factorize_neighbours(csr_array(counts), 48, seed=3))
    assert not np.allclose(vectors, factorize_neighbours(csr_array(counts), 48, seed=4))


def test_text_without_pairs_has_vectors_of_zeros() -> None:
    assert not factorize_neighbours(csr_array((6, 6)), 4, seed=0).any()


def test_tokens_that_stand_in_the_same_places_have_similar_vectors() -> None:
    """Tokens 0 and 1 have the same neighbours, 2 and 3 others."""
    counts = np.zeros((8, 8))
    counts[[0, 1], 4] = counts[[0, 1], 5] = counts[[2, 3], 6] = counts[[2, 3], 7] = 5.0
    vectors = factorize_neighbours(csr_array(counts + counts.T), 8, seed=0)
    cosines = vectors @ vectors.T / np.outer(*[np.linalg.norm(vectors, axis=1)] * 2)
    assert cosines[0, 1] > 0.99 and cosines[2, 3] > 0.99 and abs(cosines[0, 2]) < 0.01
