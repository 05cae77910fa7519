"""Pre-training figures on text that was held out: the same rows, masks and random numbers every time."""

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from electra.dataset.batches import Rows
from electra.engine.parallel import Parallel, Precision, autocast
from electra.objectives.pretrainer import Pretrainer, derive_row_keys
from electra.tasks.metrics import roc_auc

PRIOR = 5.0  # sightings that a token begins with in the table of `identity_auc`
SEED = 0  # of the masks and samples of an evaluation, whatever a run's own seed


@torch.no_grad()
def evaluate_held_out(
    pretrainer: Pretrainer,
    rows: Rows,
    count: int,
    batch_rows: int,
    parallel: Parallel,
    precision: Precision = "float32",
) -> dict[str, float]:
    """The figures of at most ``count`` held-out rows, without dropout; every process evaluates its share."""
    pretrainer.to(parallel.device)
    refs = list(itertools.islice(rows.epoch_refs(0), count))
    own = refs[parallel.rank :: parallel.world]
    sums: dict[str, Tensor] = {}
    # Who has no row reads the first to know which sums there are, and adds nothing to them.
    for part in split_into_runs(own or refs[:1], batch_rows):
        batch = rows.batch(part).to(parallel.device)
        with autocast(precision, parallel.device):
            results = pretrainer.results(batch, derive_row_keys(SEED, batch), dropout=False)
        for name, result in results.items():
            counted = result.statistics.double() if own else torch.zeros_like(result.statistics, dtype=torch.float64)
            sums[name] = sums[name] + counted if name in sums else counted
    return pretrainer.figures(parallel.sum(sums))


def split_into_runs(refs: Sequence, size: int) -> list[Sequence]:
    """``refs`` in runs of ``size``, the last one shorter."""
    return [refs[start : start + size] for start in range(0, len(refs), size)]


@torch.no_grad()
def measure_identity_auc(
    pretrainer: Pretrainer, train_rows: Rows, rows: Rows, count: int, batch_rows: int, device: torch.device
) -> float:
    """The AUC on replaced tokens that knowing each token, but no context, reaches on the rows that
    ``evaluate_held_out`` reads.

    The better of two scores: how often the token was a replacement in four times as many rows of training text (a
    table, with the mean rate as its prior), and how rare it is there.
    """
    size = pretrainer.encoder.config.vocab_size
    replaced, seen = torch.zeros(size), torch.zeros(size)
    for ids, labels in corrupt_rows(pretrainer, train_rows, 4 * count, batch_rows, device):
        seen += ids.bincount(minlength=size)
        replaced += ids.bincount(labels, minlength=size)
    parts = list(corrupt_rows(pretrainer, rows, count, batch_rows, device))
    ids, labels = torch.cat([part for part, _ in parts]), torch.cat([part for _, part in parts])
    table = (replaced + PRIOR * replaced.sum() / seen.sum()) / (seen + PRIOR)
    return max(roc_auc(labels.numpy(), score[ids].numpy()) for score in (table, -seen))


def corrupt_rows(
    pretrainer: Pretrainer, rows: Rows, count: int, batch_rows: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Of each batch, in the CPU's memory: the ids that the discriminator reads, int64 [tokens], and 1.0 where they were
    replaced."""
    pretrainer.to(device)
    for part in split_into_runs(list(itertools.islice(rows.epoch_refs(0), count)), batch_rows):
        batch = rows.batch(part).to(device)
        view, _ = pretrainer.corrupt(batch, derive_row_keys(SEED, batch), False)
        text = batch.documents > 0
        yield view.ids[text].cpu(), (view.ids != view.original)[text].float().cpu()
