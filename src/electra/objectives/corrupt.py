"""Corruption by a generator: from a batch of text to the view of it that an encoder reads."""

import contextlib
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from electra.dataset.batches import Batch
from electra.kernels.random import fold
from electra.kernels.vocabulary.twin import Sampling
from electra.objectives.generators import Generator, GeneratorOutput
from electra.objectives.masking import Counts, Mask
from electra.objectives.terms import TermResult
from electra.objectives.view import END, SAMPLE, Proposal, View

CERTAIN = 1e-6  # −log q(original) of a generator that leaves nothing for the other tokens, in float32


class Generate(nn.Module):
    """Fill the positions that ``mask`` chooses with samples of a generator, which learns by its own term (section 2).

    No gradient passes through the samples. A sample that equals the original leaves the token as it was, unless
    ``never_original`` forbids it. The temperature goes from ``temperature`` to ``temperature_end``, if that is given,
    by equal factors. A ``frozen`` generator learns nothing and drops nothing. ``scored``: the view carries a
    ``Proposal``.
    """

    def __init__(
        self,
        mask: Mask,
        generator: Generator,
        temperature: float = 1.0,
        temperature_end: float = 0.0,
        never_original: bool = False,
        frozen: bool = False,
        scored: bool = False,
    ):
        super().__init__()
        self.mask, self.generator = mask, generator.requires_grad_(not frozen)
        self.temperature, self.temperature_end = temperature, temperature_end
        self.never_original, self.frozen, self.scored = never_original, frozen, scored

    def slots(self, length: int) -> int:
        """The most positions that are chosen in a row."""
        return self.mask.slots(length)

    def counts(self, batch: Batch, keys: Int[Tensor, " rows"], progress: Float[Tensor, ""]) -> Counts:
        """See ``Mask``."""
        return self.mask.counts(batch, keys, progress)

    def flops(self, length: int) -> int:
        """Operations of a row in training: forward and backward, or forward alone."""
        return (1 if self.frozen else 3) * self.generator.flops(length, self.slots(length))

    def forward(
        self, batch: Batch, keys: Int[Tensor, " rows"], dropout: bool, progress: Float[Tensor, ""] = END
    ) -> tuple[View, dict[str, TermResult]]:
        masked, _ = self.mask(batch, keys, dropout and not self.frozen, progress)
        with torch.no_grad() if self.frozen else contextlib.nullcontext():
            guess = self.generator(masked)
            draw = self.draw(masked, progress)
            score = guess.chosen.score(masked.targets(), draw)
            assert score.samples is not None
            result = self.generator.result(guess, masked, score)
            ids = self.mask.write(batch.ids, masked.chosen, masked.valid, score.samples.view_as(masked.chosen))
            view = replace(masked, ids=ids, dropout=dropout)
            if self.scored:
                view = replace(view, proposal=Proposal(proposal_log_q(guess, view, draw), guess.states))
        return view, {"generator": result}

    def draw(self, masked: View, progress: Float[Tensor, ""]) -> Sampling:
        """How a token is drawn for each chosen slot."""
        temperature: float | Tensor = self.temperature
        if self.temperature_end:
            temperature = self.temperature * (self.temperature_end / self.temperature) ** progress
        slot_keys = fold(fold(masked.keys, SAMPLE)[:, None], self.mask.names(masked.chosen))
        return Sampling(slot_keys.flatten(), temperature, self.never_original)


def proposal_log_q(guess: GeneratorOutput, view: View, draw: Sampling) -> Float[Tensor, "rows length"]:
    """What ``Proposal`` says of it: of every position where the generator speaks of all, else of the chosen ones.

    It is the logarithm of what was drawn from: at the draw's temperature, and where the original is never drawn, of the
    others alone, at the chosen positions: log q(token) − log(1 − q(original)).
    """
    if guess.everywhere is not None and not draw.never:
        return -guess.everywhere.cooled(draw.temperature).score(view.ids.flatten()).losses.view_as(view.ids)
    cooled, drawn = guess.chosen.cooled(draw.temperature), view.ids.gather(1, view.chosen)
    found = -cooled.score(drawn.flatten()).losses
    if draw.never:
        found = found - torch.log(-torch.expm1(-cooled.score(view.targets()).losses.clamp(min=CERTAIN)))
    return view.at_chosen(found.view_as(drawn))
