"""An objective is a composition: a corruption, an encoder that reads its view, and terms of what is asked of it."""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from electra.kernels.random import fold, key
from electra.model.encoder import Tower
from electra.objectives.corrupt import ENCODER, Generate, Mask
from electra.objectives.terms import Detection, Recovery, Result
from electra.objectives.view import read
from electra.text.batches import Batch

Term = Recovery | Detection


class Pretrainer(nn.Module):
    """``corrupt`` makes a view of a batch, ``encoder`` reads it, each of ``terms`` asks something of what it read.

    Everything random is a function of ``seed`` and the address of a row, so the same batch gives the same numbers on
    any number of processes and in any micro-batches.
    """

    def __init__(self, corrupt: Mask | Generate, encoder: Tower, terms: Mapping[str, Term], seed: int):
        super().__init__()
        self.corrupt, self.encoder, self.seed = corrupt, encoder, seed
        self.terms = dict(terms)

    @property
    def all_terms(self) -> dict[str, Term]:
        """Every term by the name that its figures carry, the generator's own included."""
        inner = {"generator": self.corrupt.recovery} if isinstance(self.corrupt, Generate) else {}
        return inner | self.terms

    def parts(self) -> dict[str, Tower]:
        """The towers by name: a masked language model is the ``generator``, what detects is the ``discriminator``."""
        kept = "discriminator" if any(isinstance(term, Detection) for term in self.terms.values()) else "generator"
        return ({"generator": self.corrupt.generator} if isinstance(self.corrupt, Generate) else {}) | {
            kept: self.encoder
        }

    def towers(self) -> dict[str, str]:
        """Each parameter's tower: generator, discriminator, or shared where both read it."""
        readers: dict[int, list[str]] = {}
        for name, part in self.parts().items():
            for value in part.parameters():
                readers.setdefault(id(value), []).append(name)
        return {
            name: owners[0] if len(owners := readers[id(value)]) == 1 else "shared"
            for name, value in self.named_parameters()
        }

    def counts(self, batch: Batch) -> dict[str, int]:
        """For each term, how many positions of ``batch`` it will count: known before the forward pass."""
        counts = self.corrupt.counts(batch)
        return {name: counts[term.on] for name, term in self.all_terms.items()}

    def forward(
        self, batch: Batch, divisors: Mapping[str, Float[Tensor, ""]], dropout: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted loss of ``batch`` with each term divided by its divisor, and the statistics by term.

        ``divisors`` hold the counts of the whole step, so that the losses of its micro-batches and ranks add up.
        """
        results = self.results(batch, row_keys(self.seed, batch), dropout)
        terms = self.all_terms
        loss = torch.stack(
            [terms[name].weight * result.total / divisors[name] for name, result in results.items()]
        ).sum()
        return loss, {name: result.statistics for name, result in results.items()}

    def results(self, batch: Batch, keys: Int[Tensor, " rows"], dropout: bool) -> dict[str, Result]:
        """Each term's summed loss and statistics; ``keys`` are the rows' random ones."""
        view, results = self.corrupt(batch, keys, dropout)
        hidden = read(self.encoder, view, fold(keys, ENCODER) if dropout else None)
        return results | {name: term(self.encoder, hidden, view) for name, term in self.terms.items()}

    def figures(self, statistics: Mapping[str, Tensor]) -> dict[str, float]:
        """Summed statistics as named figures: ``generator/loss``, ``discriminator/auc`` and the like.

        A figure that is not defined is left out: there is no precision where nothing was taken for replaced.
        """
        known = {name: term for name, term in self.all_terms.items() if name in statistics}
        figures = {
            f"{name}/{figure}": value
            for name, term in known.items()
            for figure, value in term.figures(statistics[name]).items()
        }
        return {name: value for name, value in figures.items() if not math.isnan(value)}


def row_keys(seed: int, batch: Batch) -> Tensor:
    """int32 [rows]: the random key of each row, a hash of the seed and the row's address."""
    epoch, block, row = batch.address.unbind(1)
    return fold(fold(fold(torch.full_like(row, key(seed)), epoch), block), row)
