"""Pre-training figures on text that was held out: the same rows, masks and random numbers every time."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from electra.engine.parallel import Parallel, Precision, autocast
from electra.objectives.pretrainer import Pretrainer
from electra.text.batches import Rows

SEED = 0  # of the masks and samples of an evaluation, whatever a run's own seed


@torch.no_grad()
def held_out(
    pretrainer: Pretrainer,
    rows: Rows,
    count: int,
    batch_rows: int,
    parallel: Parallel,
    precision: Precision = "float32",
) -> dict[str, float]:
    """The figures of at most ``count`` held-out rows, without dropout; every process evaluates its share."""
    seed, pretrainer.seed = pretrainer.seed, SEED
    refs = list(itertools.islice(rows.epoch_refs(0), count))[parallel.rank :: parallel.world]
    sums: dict[str, Tensor] = {}
    try:
        for part in batches(refs, batch_rows):
            with autocast(precision, parallel.device):
                results = pretrainer.results(rows.batch(part).to(parallel.device), dropout=False)
            for name, result in results.items():
                sums[name] = sums.get(name, 0) + result.statistics.double()
    finally:
        pretrainer.seed = seed
    return pretrainer.figures(parallel.sum(sums))


def batches(refs: Sequence, size: int) -> list[Sequence]:
    """``refs`` in runs of ``size``, the last one shorter."""
    return [refs[start : start + size] for start in range(0, len(refs), size)]
