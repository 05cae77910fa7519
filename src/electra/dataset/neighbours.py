"""Vectors of tokens without training: counted from which tokens stand near each other, then factorized."""

import numpy as np
from jaxtyping import Float32, Int64
from scipy.sparse import coo_array, csr_array
from sklearn.utils.extmath import randomized_svd

from electra.dataset.shards import Shards

WINDOW = 4  # tokens on each side that are near
MOST_BLOCKS = 256  # that are read, 16.8M tokens; of more data as many, evenly spaced
BLOCKS_AT_ONCE = 16  # whose pairs are summed together
SMOOTHING = 0.75  # exponent of how frequent a neighbour is: of rare ones the information says too much
POWER_ITERATIONS = 4  # of the factorization


def count_neighbours(shards: Shards) -> csr_array:
    """How often each pair of tokens stands near each other within a document: float64 [vocab, vocab], symmetric.

    A pair that is d tokens apart counts 1/d, up to ``WINDOW``.

    Raises:
        UserError: a shard is damaged.
    """
    counts = csr_array((shards.vocab_size, shards.vocab_size), dtype=np.float64)
    blocks = np.unique(np.linspace(0, shards.blocks - 1, min(shards.blocks, MOST_BLOCKS), dtype=np.int64))
    for first in range(0, len(blocks), BLOCKS_AT_ONCE):
        ids, documents = read_blocks(shards, blocks[first : first + BLOCKS_AT_ONCE].tolist())
        for distance in range(1, WINDOW + 1):
            near = documents[:-distance] == documents[distance:]
            pairs = ids[:-distance][near], ids[distance:][near]
            counts += coo_array((np.full(near.sum(), 1 / distance), pairs), counts.shape).tocsr()
    return counts + counts.T


def read_blocks(shards: Shards, blocks: list[int]) -> tuple[Int64[np.ndarray, " tokens"], Int64[np.ndarray, " tokens"]]:
    """The tokens of some blocks, and the number of each one's document. Raises ``UserError`` if a shard is damaged."""
    stretches = [np.zeros(0, np.int64)]
    for block in blocks:
        file, inside = shards.locate_block(block)
        shard = shards.read_file(file)
        stretches += [shard.tokens[edges[0] : edges[-1]].astype(np.int64) for edges in shard.block_edges(inside)]
    return np.concatenate(stretches), np.repeat(np.arange(len(stretches)), [len(stretch) for stretch in stretches])


def factorize_neighbours(counts: csr_array, size: int, seed: int) -> Float32[np.ndarray, "vocab size"]:
    """A vector for each token, such that products of two are large where the tokens have the same neighbours: U √S of
    the truncated singular value decomposition U S Vᵀ of the positive pointwise mutual information

        max(0, log(#(a, b) · Σ_c #(c)^0.75 / (#(a) · #(b)^0.75))),   #(a) = Σ_b #(a, b),

    which is about what word2vec's skip-gram factorizes (Levy and Goldberg, 2014; the exponents: Levy, Goldberg and
    Dagan, 2015). The vectors are turned at random, so that no number is more important than another. Those of tokens
    without neighbours are 0, and so are numbers beyond the rank of ``counts``.
    """
    frequencies = counts.sum(axis=1)
    smoothed = frequencies**SMOOTHING
    pairs = counts.tocoo()
    a, b = pairs.coords
    information = np.log(pairs.data * smoothed.sum() / (frequencies[a] * smoothed[b]))
    positive = information > 0
    matrix = csr_array((information[positive], (a[positive], b[positive])), counts.shape)
    vectors = np.zeros((len(frequencies), size))
    if matrix.nnz:
        rank = min(size, *counts.shape)
        left, values, _ = randomized_svd(matrix, rank, n_iter=POWER_ITERATIONS, random_state=seed)
        alone = np.diff(matrix.indptr) == 0  # rows that are 0 but for rounding
        vectors[:, :rank] = np.where(alone[:, None], 0, left * np.sqrt(values))
    turn, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))
    return (vectors @ turn).astype(np.float32)
