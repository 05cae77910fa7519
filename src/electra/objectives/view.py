"""The view of a batch that an encoder reads, and how a tower reads it."""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from electra.model.encoder import Tower
from electra.text.batches import Batch


@dataclass(frozen=True)
class View:
    """What an encoder reads, and what is known about it.

    ``ids`` int64 [rows, length] are read; ``original`` int64 [rows, length] stood there. ``chosen`` int64 [rows, slots]
    are positions without repetition; a slot counts where ``valid`` [rows, slots] is true. ``batch`` has the rest.
    """

    ids: Int[Tensor, "rows length"]
    original: Int[Tensor, "rows length"]
    chosen: Int[Tensor, "rows slots"]
    valid: Bool[Tensor, "rows slots"]
    batch: Batch


def read(tower: Tower, view: View, keys: Int[Tensor, " rows"] | None) -> Tensor:
    """The tower's last hidden states [rows, length, hidden] of what the view shows."""
    batch = view.batch
    return tower.hidden(view.ids, batch.positions, batch.segments, batch.documents, keys)


def gather(hidden: Float[Tensor, "rows length dim"], at: Int[Tensor, "rows slots"]) -> Float[Tensor, "picked dim"]:
    """The hidden states at the given positions of each row, rows one after another."""
    return hidden.gather(1, at[:, :, None].expand(-1, -1, hidden.shape[2])).flatten(0, 1)
