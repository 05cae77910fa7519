"""Where the tokens of a split are while rows are read: in their files, or all of them in the memory of a device."""

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from electra.dataset.layout import Spans
from electra.dataset.shards import Shards

SHARE = 0.25  # of a GPU's free memory, which tokens may take; while they are put there, they take it twice

Files = Int[np.ndarray, " pieces"]  # the file that each piece is from
Starts = Int[np.ndarray, " pieces"]  # where the tokens of each piece begin


class OnDisk:
    """In the files: what is asked for is copied out of them."""

    def __init__(self, shards: Shards):
        self.files = signed(shards)

    def read(self, files: Files, spans: Spans) -> tuple[Int[Tensor, " tokens"], Starts]:
        """Tokens, those of the pieces among them, and where these begin."""
        pieces = zip(files.tolist(), spans.tolist(), strict=True)
        found = [self.files[file][start:stop] for file, (start, stop) in pieces]
        sizes = spans[:, 1] - spans[:, 0]
        return torch.from_numpy(np.concatenate([NONE, *found])), np.cumsum(sizes) - sizes


class Resident:
    """All of them in the memory of a device, where batches are then made."""

    def __init__(self, shards: Shards, device: torch.device):
        files = signed(shards)
        self.first = np.cumsum([0, *map(len, files)])  # token of each file
        # Copies, since torch takes no memory that is only for reading.
        self.tokens = torch.cat([torch.from_numpy(file.copy()).to(device) for file in (NONE, *files)])

    def read(self, files: Files, spans: Spans) -> tuple[Int[Tensor, " tokens"], Starts]:
        """As ``OnDisk.read``, but nothing is copied."""
        return self.tokens, self.first[files] + spans[:, 0]


Tokens = OnDisk | Resident
NONE = np.empty(0, dtype=np.int16)


def signed(shards: Shards) -> list[Int[np.ndarray, "_"]]:
    """The tokens of each file as numbers with a sign, with which torch can do more; ``unsigned`` makes them ids."""
    return [shard.tokens.view(f"i{shard.tokens.itemsize}") for shard in shards.files]


def unsigned(tokens: Int[Tensor, " tokens"]) -> Int[Tensor, " tokens"]:
    """The ids that ``signed`` tokens stand for, int64."""
    return tokens.long().bitwise_and_((1 << 8 * tokens.itemsize) - 1)


def nearest(shards: Shards, device: torch.device) -> Tokens:
    """In a GPU's memory where they take no more than ``SHARE`` of what is free there; else where they are."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if sum(shard.tokens.nbytes for shard in shards.files) <= SHARE * free:
            return Resident(shards, device)
    return OnDisk(shards)
