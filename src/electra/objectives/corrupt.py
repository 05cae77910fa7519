"""Corruptions: from a batch of text to the view of it that an encoder reads.

A corruption is a module called as ``corrupt(batch, keys, dropout)``. It gives a ``View`` (what is read, what stood
there, which positions were chosen), and the losses and statistics of making it: ``Mask`` has none, ``Generate`` trains
a generator.
"""

from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor, nn

from electra.kernels.random import fold, uniform
from electra.kernels.vocabulary import sample
from electra.model.encoder import Tower
from electra.objectives.terms import Recovery, Result
from electra.objectives.view import View, read
from electra.text.batches import Batch

# What a random number is for: no two purposes share a stream.
CHOOSE, KEEP, SAMPLE, GENERATOR, ENCODER = range(1, 6)


def slots(length: int, rate: float) -> int:
    """The most positions that can be chosen in a row of ``length`` tokens, as the original counts."""
    return max(1, int((rate + 0.005) * length))


def chosen_counts(batch: Batch, rate: float) -> Int[Tensor, " rows"]:
    """How many positions are chosen in each row: max(1, min(slots, round_half_even(rate · n))) of its n tokens.

    Never more than there are tokens that may be chosen, so a row of special tokens alone has none.
    """
    tokens = (batch.documents > 0).sum(1)
    wanted = torch.round(rate * tokens.double()).long().clamp(1, slots(batch.ids.shape[1], rate))
    return torch.minimum(wanted, batch.choosable.sum(1))


class Mask(nn.Module):
    """Choose ``rate`` of a row's tokens; ``replace_rate`` of those become [MASK], the others stay."""

    def __init__(self, mask_id: int, rate: float = 0.15, replace_rate: float = 0.85):
        super().__init__()
        self.mask_id, self.rate, self.replace_rate = mask_id, rate, replace_rate

    def slots(self, length: int) -> int:
        """The most positions that are chosen in a row."""
        return slots(length, self.rate)

    def counts(self, batch: Batch) -> dict[str, int]:
        """How many positions a term on the chosen ones will count, known before anything is computed."""
        return {"chosen": int(chosen_counts(batch, self.rate).sum()), "all": int((batch.documents > 0).sum())}

    def forward(self, batch: Batch, keys: Int[Tensor, " rows"], dropout: bool) -> tuple[View, dict[str, Result]]:
        length = batch.ids.shape[1]
        score = torch.where(batch.choosable, uniform(fold(keys, CHOOSE), length), -1.0)
        chosen = score.topk(self.slots(length), dim=1).indices
        order = torch.arange(chosen.shape[1], device=chosen.device)
        valid = order < chosen_counts(batch, self.rate)[:, None]
        masked = valid & (uniform(fold(keys, KEEP), chosen.shape[1]) < self.replace_rate)
        there = batch.ids.gather(1, chosen)
        ids = batch.ids.scatter(1, chosen, torch.where(masked, self.mask_id, there))
        return View(ids, batch.ids, chosen, valid, batch), {}


class Generate(nn.Module):
    """Fill the positions that ``mask`` chooses with samples of a generator, which learns to recover them (section 2).

    No gradient passes through the samples. A sample that equals the original leaves the token as it was.
    """

    def __init__(self, mask: Mask, generator: Tower, recovery: Recovery, temperature: float = 1.0):
        super().__init__()
        self.mask, self.generator, self.recovery, self.temperature = mask, generator, recovery, temperature

    def slots(self, length: int) -> int:
        return self.mask.slots(length)

    def counts(self, batch: Batch) -> dict[str, int]:
        return self.mask.counts(batch)

    def forward(self, batch: Batch, keys: Int[Tensor, " rows"], dropout: bool) -> tuple[View, dict[str, Result]]:
        masked, _ = self.mask(batch, keys, dropout)
        hidden = read(self.generator, masked, fold(keys, GENERATOR) if dropout else None)
        logits = self.recovery.logits(self.generator, hidden, masked)
        slot_keys = fold(fold(keys, SAMPLE)[:, None], masked.chosen.int())
        samples = sample(logits.detach(), slot_keys.flatten(), self.temperature).view_as(masked.chosen)
        result = self.recovery.result(logits, masked, samples)
        there = batch.ids.gather(1, masked.chosen)
        filled = batch.ids.scatter(1, masked.chosen, torch.where(masked.valid, samples, there))
        return replace(masked, ids=filled), {"generator": result}
