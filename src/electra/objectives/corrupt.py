"""Corruption by a generator: turns a batch of text into the view that an encoder reads."""

import contextlib
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from electra.dataset.batches import Batch
from electra.kernels.random import derive_keys
from electra.kernels.vocabulary.twin import Sampling
from electra.objectives.generators import Generator, GeneratorOutput
from electra.objectives.masking import Counts, Mask
from electra.objectives.terms import TermResult
from electra.objectives.view import END, SAMPLE, Proposal, View

CERTAIN = 1e-6  # the least −log q(original): in float32, less would leave nothing for the other tokens


class Generate(nn.Module):
    """Fill the positions that ``mask`` chooses with samples of a generator, which learns from its own term (ELECTRA,
    section 2).

    No gradient passes through the samples. A sample may equal the original, unless ``never_original`` forbids it. The
    temperature goes from ``temperature`` to ``temperature_end``, if that is not 0, by equal factors. A ``frozen``
    generator learns nothing and has no dropout. ``scored``: the view carries a ``Proposal``.
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
        """How many positions each kind of term will count: those of the mask."""
        return self.mask.counts(batch, keys, progress)

    def flops(self, length: int) -> int:
        """Floating-point operations of the generator for a row: forward and backward, or only forward if frozen."""
        return (1 if self.frozen else 3) * self.generator.flops(length, self.slots(length))

    def forward(
        self, batch: Batch, keys: Int[Tensor, " rows"], dropout: bool, progress: Float[Tensor, ""] = END
    ) -> tuple[View, dict[str, TermResult]]:
        masked, _ = self.mask(batch, keys, dropout and not self.frozen, progress)
        with torch.no_grad() if self.frozen else contextlib.nullcontext():
            output = self.generator(masked)
            sampling = self.sampling(masked, progress)
            score = output.chosen.score(masked.targets(), sampling)
            assert score.samples is not None
            result = self.generator.result(output, masked, score)
            ids = self.mask.write(batch.ids, masked.chosen, masked.valid, score.samples.view_as(masked.chosen))
            view = replace(masked, ids=ids, dropout=dropout)
            if self.scored:
                view = replace(view, proposal=Proposal(proposal_log_q(output, view, sampling), output.states))
        return view, {"generator": result}

    def sampling(self, masked: View, progress: Float[Tensor, ""]) -> Sampling:
        """How a token is drawn for each chosen slot."""
        temperature: float | Tensor = self.temperature
        if self.temperature_end:
            temperature = self.temperature * (self.temperature_end / self.temperature) ** progress
        slot_keys = derive_keys(derive_keys(masked.keys, SAMPLE)[:, None], self.mask.slot_names(masked.chosen))
        return Sampling(slot_keys.flatten(), temperature, self.never_original)


def proposal_log_q(output: GeneratorOutput, view: View, sampling: Sampling) -> Float[Tensor, "rows length"]:
    """``Proposal.log_q``: at every position if the generator predicts them all, else at the chosen ones.

    It is of the distribution that was drawn from: at the sampling's temperature, and, if the original is never drawn,
    of the other tokens only, at the chosen positions: log q(token) − log(1 − q(original)).
    """
    if output.everywhere is not None and not sampling.never_target:
        everywhere = output.everywhere.with_temperature(sampling.temperature)
        return -everywhere.score(view.ids.flatten()).losses.view_as(view.ids)
    chosen, drawn = output.chosen.with_temperature(sampling.temperature), view.ids.gather(1, view.chosen)
    log_q = -chosen.score(drawn.flatten()).losses
    if sampling.never_target:
        log_q = log_q - torch.log(-torch.expm1(-chosen.score(view.targets()).losses.clamp(min=CERTAIN)))
    return view.at_chosen(log_q.view_as(drawn))
