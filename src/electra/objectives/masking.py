"""Which positions of a row are chosen, and what is written there.

A mask is a module that is called as ``mask(batch, keys, dropout, progress)`` and returns the ``View`` in which most of
the chosen tokens are [MASK].
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from electra.dataset.batches import Batch
from electra.kernels.random import COLUMNS, fold, skip_compiling_on_cpu, uniform
from electra.objectives.view import CHOOSE, END, KEEP, View

Choice = tuple[Int[Tensor, "rows slots"], Bool[Tensor, "rows slots"]]  # positions, and which of the slots count
Counts = dict[str, Int[Tensor, ""]]  # how many there are of what a term may count: ``terms.Counted``


def count_slots(length: int, rate: float) -> int:
    """The most positions that can be chosen in a row of ``length`` tokens, as in the original code."""
    return min(length, max(1, int((rate + 0.005) * length)))  # a rate of 1 asks for more than there are


def count_chosen(batch: Batch, rate: float | Float[Tensor, ""]) -> Int[Tensor, " rows"]:
    """How many positions are chosen in each row: max(1, min(slots, round_half_even(rate · n))) of its n tokens.

    Never more than there are tokens that may be chosen, so a row of only special tokens has none.
    """
    tokens = (batch.documents > 0).sum(1)
    slots = (rate + 0.005) * batch.ids.shape[1] // 1
    count = torch.round(rate * tokens.double()).clamp(max=slots).clamp(min=1).long()
    return torch.minimum(count, batch.choosable.sum(1))


class Mask(nn.Module):
    """Choose ``rate`` of a row's tokens, none twice; ``replace_rate`` of those become [MASK], the others stay.

    If ``rate_end`` is not 0, the rate goes to it linearly from the beginning of the training to its end.
    """

    def __init__(self, mask_id: int, rate: float = 0.15, replace_rate: float = 0.85, rate_end: float = 0.0):
        super().__init__()
        self.mask_id, self.rate, self.replace_rate, self.rate_end = mask_id, rate, replace_rate, rate_end

    def slots(self, length: int) -> int:
        """The most positions that are chosen in a row."""
        return count_slots(length, max(self.rate, self.rate_end))

    def rate_at(self, progress: Float[Tensor, ""], device: torch.device) -> Float[Tensor, ""]:
        """The share of a row's tokens that is chosen at this progress of the training, float64."""
        if not self.rate_end:
            return torch.full((), self.rate, dtype=torch.float64, device=device)
        done = progress.to(device, torch.float64)
        return self.rate * (1 - done) + self.rate_end * done

    def row_counts(self, batch: Batch, progress: Float[Tensor, ""]) -> Int[Tensor, " rows"]:
        """How many positions are chosen in each row at this progress."""
        return count_chosen(batch, self.rate_at(progress, batch.ids.device))

    def choose(self, batch: Batch, keys: Int[Tensor, " rows"], progress: Float[Tensor, ""]) -> Choice:
        """The chosen positions; every set of that many is equally likely."""
        length = batch.ids.shape[1]
        score = torch.where(batch.choosable, uniform(fold(keys, CHOOSE), length), -1.0)
        chosen = score.topk(self.slots(length), dim=1).indices
        order = torch.arange(chosen.shape[1], device=chosen.device)
        return chosen, order < self.row_counts(batch, progress)[:, None]

    def slot_names(self, chosen: Int[Tensor, "rows slots"]) -> Int[Tensor, "rows slots"]:
        """int32: a name for each slot of a row, by which its random number is addressed: the position."""
        return chosen.int()

    def write(
        self,
        ids: Int[Tensor, "rows length"],
        chosen: Int[Tensor, "rows slots"],
        where: Bool[Tensor, "rows slots"],
        tokens: Int[Tensor, "rows slots"],
    ) -> Int[Tensor, "rows length"]:
        """``ids`` with ``tokens`` at the chosen positions, ``where`` they count."""
        return ids.scatter(1, chosen, torch.where(where, tokens, ids.gather(1, chosen)))

    def counts(self, batch: Batch, keys: Int[Tensor, " rows"], progress: Float[Tensor, ""]) -> Counts:
        """How many positions are chosen, how many are neither padding nor special tokens, how many are not padding; and
        how many rows there are. Known before the forward pass, and left on the batch's device so that nothing waits for
        a GPU."""
        return {
            "chosen": self.row_counts(batch, progress).sum(),
            "words": batch.choosable.sum(),
            "all": (batch.documents > 0).sum(),
            "rows": torch.full((), len(batch.ids), device=batch.ids.device),
        }

    @skip_compiling_on_cpu
    def forward(
        self, batch: Batch, keys: Int[Tensor, " rows"], dropout: bool, progress: Float[Tensor, ""] = END
    ) -> tuple[View, dict]:
        chosen, valid = self.choose(batch, keys, progress)
        masked = valid & (uniform(fold(keys, KEEP), chosen.shape[1]) < self.replace_rate)
        ids = self.write(batch.ids, chosen, masked, torch.full_like(chosen, self.mask_id))
        rate = self.rate_at(progress, batch.ids.device)
        return View(ids, batch.ids, chosen, valid, rate, batch, keys, dropout), {}


class WholeWords(Mask):
    """Choose whole words, in a random order, as long as the next one fits into the row's count.

    If the first word is too long, only its first tokens are chosen. ``begins`` bool [vocab]: the tokens that begin a
    word.
    """

    def __init__(self, begins: Bool[Tensor, " vocab"], mask_id: int, rate: float, replace_rate: float, rate_end: float):
        super().__init__(mask_id, rate, replace_rate, rate_end)
        self.begins: Tensor
        self.register_buffer("begins", begins, persistent=False)

    def choose(self, batch: Batch, keys: Int[Tensor, " rows"], progress: Float[Tensor, ""]) -> Choice:
        """The positions of the chosen words."""
        length = batch.ids.shape[1]
        word = (self.begins[batch.ids] | ~batch.choosable).long().cumsum(1).clamp(max=length - 1)
        score = torch.where(batch.choosable, uniform(fold(keys, CHOOSE), length).gather(1, word), -1.0)
        order = score.argsort(dim=1, descending=True, stable=True)  # the tokens of a word stay side by side
        rank = torch.arange(length, device=order.device)
        sorted_words = word.gather(1, order)
        size = torch.zeros_like(word).scatter_add(1, word, batch.choosable.long()).gather(1, sorted_words)
        begins = sorted_words != sorted_words.roll(1, dims=1)
        before = torch.where(begins, rank, 0).cummax(1).values  # the rank of the word's first token
        count = self.row_counts(batch, progress)[:, None]
        fits = ((before + size <= count) | ((before == 0) & (rank < count))) & batch.choosable.gather(1, order)
        slots = self.slots(length)
        return order[:, :slots], fits[:, :slots]

    def counts(self, batch: Batch, keys: Int[Tensor, " rows"], progress: Float[Tensor, ""]) -> Counts:
        """The counts of ``Mask``, with the positions that whole words fill: they may be fewer than the row allows."""
        _, valid = self.choose(batch, keys, progress)
        return super().counts(batch, keys, progress) | {"chosen": valid.sum()}


class WithReplacement(Mask):
    """The original code's mask: a position may be drawn more than once. Each draw becomes [MASK] or not by itself, and
    each counts in the loss. If several tokens are written to one position, it gets the floor of the mean of their ids.
    """

    def __init__(self, mask_id: int, rate: float, replace_rate: float, rate_end: float = 0.0):
        super().__init__(mask_id, rate, replace_rate, rate_end)
        self.columns: Tensor
        # A buffer, for it must be read from memory (``kernels.random``), and moves to the device with the module.
        self.register_buffer("columns", COLUMNS, persistent=False)

    def choose(self, batch: Batch, keys: Int[Tensor, " rows"], progress: Float[Tensor, ""]) -> Choice:
        """Independent draws of the positions that may be chosen."""
        count, slots = self.row_counts(batch, progress), self.slots(batch.ids.shape[1])
        candidates = batch.choosable.sum(1, keepdim=True)
        nth = (uniform(fold(keys, CHOOSE), slots) * candidates).long() + 1  # the n-th that may be chosen
        chosen = torch.searchsorted(batch.choosable.long().cumsum(1), nth).clamp(max=batch.ids.shape[1] - 1)
        return chosen, torch.arange(slots, device=chosen.device) < count[:, None]

    def slot_names(self, chosen: Int[Tensor, "rows slots"]) -> Int[Tensor, "rows slots"]:
        """The slot's number: a position that is drawn twice is sampled twice."""
        return self.columns[: chosen.shape[1]].expand_as(chosen)

    def write(
        self,
        ids: Int[Tensor, "rows length"],
        chosen: Int[Tensor, "rows slots"],
        where: Bool[Tensor, "rows slots"],
        tokens: Int[Tensor, "rows slots"],
    ) -> Int[Tensor, "rows length"]:
        """``ids`` with the tokens written; several at one position become the floor of their ids' mean."""
        times = torch.zeros_like(ids).scatter_add(1, chosen, where.long())
        sums = torch.zeros_like(ids).scatter_add(1, chosen, torch.where(where, tokens, 0))
        return torch.where(times > 0, sums // times.clamp(min=1), ids)
