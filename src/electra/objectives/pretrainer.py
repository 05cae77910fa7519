"""An objective is a composition: a corruption, an encoder that reads its view, and the terms of the loss."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from electra import flops
from electra.dataset.batches import Batch
from electra.errors import UserError
from electra.kernels.random import derive_keys, make_key
from electra.model.encoder import Tower
from electra.objectives.corrupt import Generate
from electra.objectives.generators import MaskedGenerator
from electra.objectives.masking import Counts, Mask
from electra.objectives.terms import Term, TermResult
from electra.objectives.view import ENCODER, END, read_view


class Pretrainer(nn.Module):
    """``corrupt`` makes a view of a batch, ``encoder`` reads it, and each of ``terms`` computes a loss from its states.

    Everything random is a function of ``seed`` and a row's address, so the same batch gives the same numbers on any
    number of processes and in any micro-batches. ``progress`` is how far the training is, from 0 to 1. ``rates``: by
    tower, what its learning rate is multiplied with; ``apart``: each tower's gradients are clipped by their own norm.
    """

    def __init__(
        self,
        corrupt: Mask | Generate,
        encoder: Tower,
        terms: Mapping[str, Term],
        seed: int,
        rates: Mapping[str, float] | None = None,
        apart: bool = False,
    ):
        super().__init__()
        self.corrupt, self.encoder, self.seed = corrupt, encoder, seed
        self.terms: Any = nn.ModuleDict(terms)  # Any: it is typed as if it held plain modules
        self.rates, self.apart = dict(rates or {}), apart

    @property
    def all_terms(self) -> dict[str, Term]:
        """Every term by the name that its figures have, the generator's own included."""
        if isinstance(self.corrupt, Generate):
            return {"generator": self.corrupt.generator.term, **self.terms}
        return dict(self.terms)

    @property
    def kept(self) -> str:
        """The name of the encoder that is kept: ``discriminator`` if it detects, else ``encoder``; ``generator`` if
        there is no other."""
        if any(term.detects for term in self.terms.values()):
            return "discriminator"
        return "encoder" if isinstance(self.corrupt, Generate) else "generator"

    def parts(self) -> dict[str, Tower]:
        """The towers that are exported, by name."""
        generator = self.corrupt.generator if isinstance(self.corrupt, Generate) else None
        small = {"generator": generator.tower} if isinstance(generator, MaskedGenerator) else {}
        return small | {self.kept: self.encoder}

    def towers(self) -> dict[str, str]:
        """Each parameter's tower, by the parameter's name: generator, the encoder's name, or shared if both read it."""
        readers: dict[int, set[str]] = {}
        for name, module in (("generator", self.corrupt), (self.kept, self.encoder), (self.kept, self.terms)):
            for value in module.parameters():
                readers.setdefault(id(value), set()).add(name)
        return {
            name: next(iter(owners)) if len(owners := readers[id(value)]) == 1 else "shared"
            for name, value in self.named_parameters()
        }

    @property
    def untrained(self) -> bool:
        """Whether there is a frozen generator, which needs weights that were trained before."""
        return isinstance(self.corrupt, Generate) and self.corrupt.frozen and "generator" in self.parts()

    def rest(self) -> dict[str, Tensor]:
        """The parameters outside the exported towers: those of terms, and of a generator that is not exported."""
        inside = {id(value) for part in self.parts().values() for value in part.parameters()}
        return {name: value.detach() for name, value in self.named_parameters() if id(value) not in inside}

    @torch.no_grad()
    def begin_from(self, before: "Pretrainer") -> None:
        """Copy the weights of another pre-trainer: the generator's from its generator, the kept encoder's from its kept
        encoder, if the shapes are equal; heads only if they are of one kind. Everything else stays as it is.

        Raises:
            UserError: there are no weights for a frozen generator.
        """
        sources = before.parts() | {self.kept: before.encoder}
        for name, tower in self.parts().items():
            source = sources.get(name)
            if source is not None and have_same_shape(source, tower):
                heads = type(source.head) is type(tower.head)
                values = source.values().items()
                tower.take({key: value for key, value in values if heads or not key.startswith("head.")})
            elif isinstance(self.corrupt, Generate) and self.corrupt.frozen and tower is not self.encoder:
                raise UserError("a frozen generator of another shape than the one that was trained before it")

    def flops(self, length: int) -> int:
        """Floating-point operations of the forward and backward passes of one row."""
        config, slots = self.encoder.config, self.corrupt.slots(length)
        of_terms = sum(term.flops(config, length, slots) for term in self.terms.values())
        of_corruption = self.corrupt.flops(length) if isinstance(self.corrupt, Generate) else 0
        return of_corruption + 3 * (flops.encoder_flops(config, length) + of_terms)

    def counts(self, batch: Batch, progress: Float[Tensor, ""] = END) -> Counts:
        """For each term, how many positions of ``batch`` it will count: known before the forward pass."""
        counts = self.corrupt.counts(batch, derive_row_keys(self.seed, batch), progress)
        return {name: counts[term.on] for name, term in self.all_terms.items()}

    def forward(
        self,
        batch: Batch,
        divisors: Mapping[str, Float[Tensor, ""]],
        dropout: bool,
        progress: Float[Tensor, ""] = END,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted loss of ``batch`` with each term divided by its divisor, and the statistics by term.

        ``divisors`` are the counts of the whole step, so that the losses of its micro-batches and ranks add up.
        """
        results = self.results(batch, derive_row_keys(self.seed, batch), dropout, progress)
        terms = self.all_terms
        loss = torch.stack(
            [terms[name].weight * result.total / divisors[name] for name, result in results.items()]
        ).sum()
        return loss, {name: result.statistics for name, result in results.items()}

    def results(
        self, batch: Batch, keys: Int[Tensor, " rows"], dropout: bool, progress: Float[Tensor, ""] = END
    ) -> dict[str, TermResult]:
        """Each term's summed loss and statistics; ``keys`` are the rows' random keys."""
        view, results = self.corrupt(batch, keys, dropout, progress)
        hidden = read_view(self.encoder, view, ENCODER)
        return results | {name: term(self.encoder, hidden, view) for name, term in self.terms.items()}

    def figures(self, statistics: Mapping[str, Tensor]) -> dict[str, float]:
        """Named figures from summed statistics: ``generator/loss``, ``discriminator/auc`` and the like.

        A figure that is not defined is left out: there is no precision if nothing was predicted as replaced.
        """
        known = {name: term for name, term in self.all_terms.items() if name in statistics}
        figures = {
            f"{name}/{figure}": value
            for name, term in known.items()
            for figure, value in term.figures(statistics[name]).items()
        }
        return {name: value for name, value in figures.items() if not math.isnan(value)}


def have_same_shape(one: Tower, other: Tower) -> bool:
    """Whether two towers' configs are equal, except for dropout."""
    first, second = (replace(tower.config, dropout=0.0, attention_dropout=0.0) for tower in (one, other))
    return first == second


def derive_row_keys(seed: int, batch: Batch) -> Tensor:
    """int32 [rows]: the random key of each row, a hash of the seed and the row's address."""
    epoch, block, row = batch.address.unbind(1)
    return derive_keys(torch.full_like(row, make_key(seed)), epoch, block, row)
