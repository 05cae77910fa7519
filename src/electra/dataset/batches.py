"""Pieces of text in rows → a batch, made on the device that the tokens are on."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from electra.dataset.layout import count_positions
from electra.dataset.tokens import convert_to_ids

NEVER_CHOSEN = ("pad", "cls", "sep", "mask")

Fields = TypeVar("Fields", bound="Tensors")


@dataclass(frozen=True)
class Tensors:
    """The base of dataclasses whose fields are all tensors."""

    def tensors(self) -> dict[str, Tensor]:
        """The fields by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def to(self: Fields, device: torch.device) -> Fields:
        """A copy with its tensors on ``device``."""
        return self.replaced({name: move_tensor(value, device) for name, value in self.tensors().items()})

    def replaced(self: Fields, tensors: Mapping[str, Tensor]) -> Fields:
        """A copy with other tensors, by the names that ``tensors`` gives."""
        return type(self)(**tensors)


@dataclass(frozen=True)
class Batch(Tensors):
    """``rows`` rows of ``length`` tokens.

    ``documents``: 0 is padding; 1, 2 … number the texts of a row, and attention stays inside one. ``choosable``:
    neither special token nor padding. ``address``, int32: (pass, block, row), which is a row's own; random numbers are
    a function of it. The others are int64.
    """

    ids: Int[Tensor, "rows length"]
    positions: Int[Tensor, "rows length"]
    segments: Int[Tensor, "rows length"]
    documents: Int[Tensor, "rows length"]
    choosable: Bool[Tensor, "rows length"]
    address: Int[Tensor, "rows 3"]


def place_pieces(
    pieces: Int[np.ndarray, "pieces 3"],
    starts: Int[np.ndarray, " pieces"],
    counts: Int[np.ndarray, " rows"],
    length: int,
) -> Int[np.ndarray, "6 pieces"]:
    """Where pieces go in rows that are written one after the other as ``rows * length`` positions.

    ``pieces``: (start, middle, stop). ``starts``: where the tokens of each begin. ``counts``: how many pieces each row
    has. Returns for each piece the position of its [CLS]; of the [SEP] after A; of its last [SEP]; the number of
    positions up to the next piece, padding included; its number in its row, from 1; its ``starts``.
    """
    start, middle, _ = pieces.T
    sizes, row = count_positions(pieces), np.repeat(np.arange(len(counts)), counts)
    first_piece = np.repeat(np.cumsum(counts) - counts, counts)  # of the row
    before = np.cumsum(sizes) - sizes  # positions of all earlier pieces, as if no row had padding
    left = row * length + before - before[first_piece]
    room = np.diff(left, append=len(counts) * length)
    number = np.arange(len(pieces)) - first_piece + 1
    return np.stack([left, left + middle - start + 1, left + sizes - 1, room, number, starts])


def assemble_batch(
    pieces: Int[Tensor, "6 pieces"],
    tokens: Int[Tensor, " tokens"],
    address: Int[Tensor, "rows 3"],
    length: int,
    special: Mapping[str, int],
) -> Batch:
    """The batch of rows with ``pieces``, as ``place_pieces`` gives them, made of ``tokens`` on their device.

    ``tokens`` are as ``TokenStore.read`` gives them. ``special``: pad, cls, sep and mask → id.
    """
    total = len(address) * length
    left, cut, last, room, number, start = pieces
    piece = torch.repeat_interleave(room, output_size=total)  # of each position
    index = torch.arange(total, device=pieces.device)
    position = index - left.index_select(0, piece)
    segment = (index > cut.index_select(0, piece)).long()
    document = number.index_select(0, piece)
    token = start.index_select(0, piece) + position - segment - 1
    # Where a special token belongs, any other is read first, hence the clamp.
    ids = convert_to_ids(tokens.index_select(0, token.clamp_(0, len(tokens) - 1)))
    padding = index > last.index_select(0, piece)
    for values, value in ((ids, special["pad"]), (position, 0), (segment, 0), (document, 0)):
        values.masked_fill_(padding, value)
    for positions, name in ((left, "cls"), (cut, "sep"), (last, "sep")):
        ids.index_fill_(0, positions, special[name])
    choosable = torch.ones_like(padding)
    for name in NEVER_CHOSEN:
        choosable &= ids != special[name]
    ids, position, segment, document, choosable = (
        values.view(-1, length) for values in (ids, position, segment, document, choosable)
    )
    return Batch(ids, position, segment, document, choosable, address)


def move_tensor(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on ``device``. It is copied to a GPU from pinned memory, so that Python need not wait."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.contiguous().pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
