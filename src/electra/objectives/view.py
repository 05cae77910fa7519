"""The view of a batch that an encoder reads, and how a tower reads it."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from electra.dataset.batches import Batch
from electra.kernels.random import derive_keys
from electra.model.config import EncoderConfig
from electra.model.embeddings import Embeddings
from electra.model.encoder import Tower

# What random numbers are for: each purpose has a stream of its own.
CHOOSE, KEEP, SAMPLE, GENERATOR, ENCODER, RIGHT, CROP, CROPPED = range(1, 9)
END = torch.tensor(1.0)  # the progress of a run that is over


@dataclass(frozen=True)
class Proposal:
    """How likely the tokens that the encoder reads were for the generator.

    ``log_q`` float32 [rows, length]: log-probability of the token that is read; 0 where the generator has no
    prediction. ``states`` [picked, hidden]: the generator's at the chosen slots. Both carry its gradient.
    """

    log_q: Float[Tensor, "rows length"]
    states: Float[Tensor, "picked hidden"]


@dataclass(frozen=True)
class View:
    """What an encoder reads, and what is known about it.

    ``ids`` int64 [rows, length]: what is read; ``original``: the tokens of the text. ``chosen`` int64 [rows, slots]:
    positions; a slot counts where ``valid`` [rows, slots] is true. ``rate`` float64 []: the share of the tokens that
    should be chosen. ``batch`` has the rest. ``keys`` int32 [rows]: the rows' random keys. ``dropout``: whether there
    is any. ``proposal``: None if no term needs it.
    """

    ids: Int[Tensor, "rows length"]
    original: Int[Tensor, "rows length"]
    chosen: Int[Tensor, "rows slots"]
    valid: Bool[Tensor, "rows slots"]
    rate: Float[Tensor, ""]
    batch: Batch
    keys: Int[Tensor, " rows"]
    dropout: bool
    proposal: Proposal | None = None

    def dropout_keys(self, config: EncoderConfig, embeddings: Embeddings, purpose: int) -> Int[Tensor, " rows"] | None:
        """Each row's key for the dropout of layers and embeddings that read for this purpose; None: no dropout. A
        generator without dropout may share embeddings that have some."""
        drops = self.dropout and any((config.dropout, config.attention_dropout, embeddings.dropout))
        return derive_keys(self.keys, purpose) if drops else None

    def targets(self) -> Int[Tensor, " picked"]:
        """The original tokens at the chosen slots, rows one after another."""
        return self.original.gather(1, self.chosen).flatten()

    def at_chosen(self, values: Tensor) -> Tensor:
        """Float32 [rows, length]: ``values`` [rows, slots] at the valid chosen positions, 0 elsewhere."""
        zeros = torch.zeros(self.ids.shape, device=self.ids.device)
        return zeros.scatter_add(1, self.chosen, torch.where(self.valid, values.float(), 0.0))


def read_view(tower: Tower, view: View, purpose: int) -> Tensor:
    """The tower's last hidden states [rows, length, hidden] after reading the view."""
    batch, keys = view.batch, view.dropout_keys(tower.config, tower.embeddings, purpose)
    return tower.hidden(view.ids, batch.positions, batch.segments, batch.documents, keys)


def gather_positions(
    hidden: Float[Tensor, "rows length dim"], positions: Int[Tensor, "rows slots"]
) -> Float[Tensor, "picked dim"]:
    """The hidden states at some positions of each row, rows one after another."""
    return hidden.gather(1, positions[:, :, None].expand(-1, -1, hidden.shape[2])).flatten(0, 1)
