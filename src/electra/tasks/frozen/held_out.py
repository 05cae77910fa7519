"""Pre-training figures on text that was held out: the same rows, masks and random numbers every time."""

import itertools
from collections.abc import Iterator, Sequence
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from electra.dataset.batches import Batch
from electra.dataset.rows import Rows
from electra.engine.parallel import Parallel, Precision, autocast
from electra.objectives.pretrainer import Pretrainer, derive_row_keys
from electra.tasks.metrics import roc_auc

PRIOR = 5.0  # sightings that a token begins with in the table of `measure_identity_auc`
SEED = 0  # of the masks and samples of an evaluation, whatever a run's own seed
ROWS_SEED = 1  # of its rows: those that a run of the default seed has always had

T = TypeVar("T")


@torch.no_grad()
def evaluate_held_out(
    pretrainer: Pretrainer,
    rows: Rows,
    count: int,
    batch_rows: int,
    parallel: Parallel,
    precision: Precision = "float32",
) -> dict[str, float]:
    """The objective's figures on at most ``count`` held-out rows, without dropout; each process evaluates its share."""
    pretrainer.to(parallel.device)
    refs = list(itertools.islice(rows.iterate_epoch(0), count))
    own_refs = refs[parallel.rank :: parallel.world]
    sums: dict[str, Tensor] = {}
    # A process without a row of its own reads the first row to know which sums there are, and adds zeros to them.
    for part in split_into_runs(own_refs or refs[:1], batch_rows):
        batch = rows.batch(part).to(parallel.device)
        with autocast(precision, parallel.device):
            results = pretrainer.results(batch, derive_row_keys(SEED, batch), dropout=False)
        for name, result in results.items():
            statistics = result.statistics.double()
            statistics = statistics if own_refs else torch.zeros_like(statistics)
            sums[name] = sums[name] + statistics if name in sums else statistics
    return pretrainer.figures(parallel.sum(sums))


@torch.no_grad()
def measure_identity_auc(
    pretrainer: Pretrainer, train_rows: Rows, rows: Rows, count: int, batch_rows: int, device: torch.device
) -> float:
    """The AUC on replaced tokens of a detector that knows each token but no context, on the rows that
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
) -> Iterator[tuple[Int[Tensor, " tokens"], Float[Tensor, " tokens"]]]:
    """Of each batch, on the CPU: the ids that the discriminator reads, and 1.0 for each that was replaced, else 0.0."""
    pretrainer.to(device)
    for batch in read_batches(rows, count, batch_rows, device):
        view, _ = pretrainer.corrupt(batch, derive_row_keys(SEED, batch), False)
        text = batch.documents > 0
        yield view.ids[text].cpu(), (view.ids != view.original)[text].float().cpu()


def read_batches(rows: Rows, count: int, batch_rows: int, device: torch.device) -> Iterator[Batch]:
    """At most ``count`` rows of the first epoch on a device, ``batch_rows`` at a time."""
    for part in split_into_runs(list(itertools.islice(rows.iterate_epoch(0), count)), batch_rows):
        yield rows.batch(part).to(device)


def split_into_runs(values: Sequence[T], size: int) -> list[Sequence[T]]:
    """The values in runs of ``size``, the last one shorter."""
    return [values[start : start + size] for start in range(0, len(values), size)]
