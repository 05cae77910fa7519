"""Which positions of a row are chosen, and what is written there.

A mask is a module called as ``mask(batch, keys, dropout, progress)``; it gives the ``View`` in which most of the chosen
tokens are [MASK].
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from electra.dataset.batches import Batch
from electra.kernels.random import COLUMNS, fold, uniform
from electra.objectives.view import CHOOSE, END, KEEP, View

Choice = tuple[Int[Tensor, "rows slots"], Bool[Tensor, "rows slots"]]  # positions, and which of the slots count
Counts = dict[str, Int[Tensor, ""]]  # by what a term may count, how many


def count_slots(length: int, rate: float) -> int:
    """The most positions that can be chosen in a row of ``length`` tokens, as the original counts."""
    return min(length, max(1, int((rate + 0.005) * length)))  # a rate of 1 asks for more than there are


def count_chosen(batch: Batch, rate: float | Float[Tensor, ""]) -> Int[Tensor, " rows"]:
    """How many positions are chosen in each row: max(1, min(room, round_half_even(rate · n))) of its n tokens, where
    the room is that of ``count_slots``.

    Never more than there are tokens that may be chosen, so a row of special tokens alone has none.
    """
    tokens = (batch.documents > 0).sum(1)
    room = (rate + 0.005) * batch.ids.shape[1] // 1
    wanted = torch.round(rate * tokens.double()).clamp(max=room).clamp(min=1).long()
    return torch.minimum(wanted, batch.choosable.sum(1))


class Mask(nn.Module):
    """Choose ``rate`` of a row's tokens, none twice; ``replace_rate`` of those become [MASK], the others stay.

    With a ``rate_end`` the rate goes there in a straight line from the beginning of the training to its end.
    """

    def __init__(self, mask_id: int, rate: float = 0.15, replace_rate: float = 0.85, rate_end: float = 0.0):
        super().__init__()
        self.mask_id, self.rate, self.replace_rate, self.rate_end = mask_id, rate, replace_rate, rate_end

    def slots(self, length: int) -> int:
        """The most positions that are chosen in a row."""
        return count_slots(length, max(self.rate, self.rate_end))

    def rate_at(self, progress: Float[Tensor, ""], device: torch.device) -> Float[Tensor, ""]:
        """The share of a row's tokens that is chosen at a progress, float64."""
        if not self.rate_end:
            return torch.full((), self.rate, dtype=torch.float64, device=device)
        done = progress.to(device, torch.float64)
        return self.rate * (1 - done) + self.rate_end * done

    def wanted(self, batch: Batch, progress: Float[Tensor, ""]) -> Int[Tensor, " rows"]:
        """How many positions are to be chosen in each row."""
        return count_chosen(batch, self.rate_at(progress, batch.ids.device))

    def choose(self, batch: Batch, keys: Int[Tensor, " rows"], progress: Float[Tensor, ""]) -> Choice:
        """The chosen positions, every set of as many equally likely."""
        length = batch.ids.shape[1]
        score = torch.where(batch.choosable, uniform(fold(keys, CHOOSE), length), -1.0)
        chosen = score.topk(self.slots(length), dim=1).indices
        order = torch.arange(chosen.shape[1], device=chosen.device)
        return chosen, order < self.wanted(batch, progress)[:, None]

    def names(self, chosen: Int[Tensor, "rows slots"]) -> Int[Tensor, "rows slots"]:
        """int32: what tells the random numbers of a row's slots apart."""
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
        """How many positions a term will count on the chosen ones, on all that are no padding or special token, and on
        all that are no padding; and how many rows. Known before anything is computed, and left on the batch's device:
        nobody waits for a GPU."""
        return {
            "chosen": self.wanted(batch, progress).sum(),
            "words": batch.choosable.sum(),
            "all": (batch.documents > 0).sum(),
            "rows": torch.full((), len(batch.ids), device=batch.ids.device),
        }

    def forward(
        self, batch: Batch, keys: Int[Tensor, " rows"], dropout: bool, progress: Float[Tensor, ""] = END
    ) -> tuple[View, dict]:
        chosen, valid = self.choose(batch, keys, progress)
        masked = valid & (uniform(fold(keys, KEEP), chosen.shape[1]) < self.replace_rate)
        ids = self.write(batch.ids, chosen, masked, torch.full_like(chosen, self.mask_id))
        rate = self.rate_at(progress, batch.ids.device)
        return View(ids, batch.ids, chosen, valid, rate, batch, keys, dropout), {}


class WholeWords(Mask):
    """Whole words are chosen, in a random order, as long as the next one fits into what is wanted.

    A first word that is too long is cut. ``begins`` bool [vocab]: the tokens that begin a word.
    """

    def __init__(self, begins: Bool[Tensor, " vocab"], mask_id: int, rate: float, replace_rate: float, rate_end: float):
        super().__init__(mask_id, rate, replace_rate, rate_end)
        self.begins: Tensor
        self.register_buffer("begins", begins, persistent=False)

    def choose(self, batch: Batch, keys: Int[Tensor, " rows"], progress: Float[Tensor, ""]) -> Choice:
        """See ``Mask``."""
        length = batch.ids.shape[1]
        word = (self.begins[batch.ids] | ~batch.choosable).long().cumsum(1).clamp(max=length - 1)
        score = torch.where(batch.choosable, uniform(fold(keys, CHOOSE), length).gather(1, word), -1.0)
        order = score.argsort(dim=1, descending=True, stable=True)  # the tokens of a word stay side by side
        at = torch.arange(length, device=order.device)
        sorted_words = word.gather(1, order)
        size = torch.zeros_like(word).scatter_add(1, word, batch.choosable.long()).gather(1, sorted_words)
        begins = sorted_words != sorted_words.roll(1, dims=1)
        before = torch.where(begins, at, 0).cummax(1).values  # the place of the word's first token in the order
        wanted = self.wanted(batch, progress)[:, None]
        fits = ((before + size <= wanted) | ((before == 0) & (at < wanted))) & batch.choosable.gather(1, order)
        room = self.slots(length)
        return order[:, :room], fits[:, :room]

    def counts(self, batch: Batch, keys: Int[Tensor, " rows"], progress: Float[Tensor, ""]) -> Counts:
        """See ``Mask``."""
        _, valid = self.choose(batch, keys, progress)
        return super().counts(batch, keys, progress) | {"chosen": valid.sum()}


class WithReplacement(Mask):
    """The original code's mask: positions may be drawn twice. Each draw is [MASK] or not by itself, each counts in the
    loss, and where two tokens are written the floor of their ids' mean comes to stand.
    """

    def __init__(self, mask_id: int, rate: float, replace_rate: float, rate_end: float = 0.0):
        super().__init__(mask_id, rate, replace_rate, rate_end)
        self.columns: Tensor
        # A buffer, for it must be read (see ``kernels.random``), and on the device where nothing waits for a copy.
        self.register_buffer("columns", COLUMNS, persistent=False)

    def choose(self, batch: Batch, keys: Int[Tensor, " rows"], progress: Float[Tensor, ""]) -> Choice:
        """See ``Mask``."""
        wanted, room = self.wanted(batch, progress), self.slots(batch.ids.shape[1])
        candidates = batch.choosable.sum(1, keepdim=True)
        which = (uniform(fold(keys, CHOOSE), room) * candidates).long() + 1  # the n-th that may be chosen
        chosen = torch.searchsorted(batch.choosable.long().cumsum(1), which).clamp(max=batch.ids.shape[1] - 1)
        return chosen, torch.arange(room, device=chosen.device) < wanted[:, None]

    def names(self, chosen: Int[Tensor, "rows slots"]) -> Int[Tensor, "rows slots"]:
        """See ``Mask``. A position that is drawn twice is sampled twice."""
        return self.columns[: chosen.shape[1]].expand_as(chosen)

    def write(
        self,
        ids: Int[Tensor, "rows length"],
        chosen: Int[Tensor, "rows slots"],
        where: Bool[Tensor, "rows slots"],
        tokens: Int[Tensor, "rows slots"],
    ) -> Int[Tensor, "rows length"]:
        """See ``Mask``."""
        times = torch.zeros_like(ids).scatter_add(1, chosen, where.long())
        sums = torch.zeros_like(ids).scatter_add(1, chosen, torch.where(where, tokens, 0))
        return torch.where(times > 0, sums // times.clamp(min=1), ids)
