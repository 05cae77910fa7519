"""Where the tokens of a split are while rows are read: in their files, or all of them in the memory of a device."""

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from electra.dataset.layout import Spans
from electra.dataset.shards import Shards

GPU_MEMORY_SHARE = 0.25  # of a GPU's free memory, which tokens may take; while they are put there, they take it twice

PieceFiles = Int[np.ndarray, " pieces"]  # the file that each piece is from
PieceStarts = Int[np.ndarray, " pieces"]  # where the tokens of each piece begin


class TokensOnDisk:
    """In the files: what is asked for is copied out of them."""

    def __init__(self, shards: Shards):
        self.files = view_as_signed(shards)

    def read(self, files: PieceFiles, spans: Spans) -> tuple[Int[Tensor, " tokens"], PieceStarts]:
        """Tokens, those of the pieces among them, and where these begin."""
        pieces = zip(files.tolist(), spans.tolist(), strict=True)
        found = [self.files[file][start:stop] for file, (start, stop) in pieces]
        sizes = spans[:, 1] - spans[:, 0]
        return torch.from_numpy(np.concatenate([NO_TOKENS, *found])), np.cumsum(sizes) - sizes


class ResidentTokens:
    """All of them in the memory of a device, where batches are then made."""

    def __init__(self, shards: Shards, device: torch.device):
        files = view_as_signed(shards)
        self.first = np.cumsum([0, *map(len, files)])  # token of each file
        # Copies, since torch takes no memory that is only for reading.
        self.tokens = torch.cat([torch.from_numpy(file.copy()).to(device) for file in (NO_TOKENS, *files)])

    def read(self, files: PieceFiles, spans: Spans) -> tuple[Int[Tensor, " tokens"], PieceStarts]:
        """As ``OnDisk.read``, but nothing is copied."""
        return self.tokens, self.first[files] + spans[:, 0]


TokenStore = TokensOnDisk | ResidentTokens
NO_TOKENS = np.empty(0, dtype=np.int16)


def view_as_signed(shards: Shards) -> list[Int[np.ndarray, "_"]]:
    """The tokens of each file as numbers with a sign, with which torch can do more; ``convert_to_ids`` makes them
    ids."""
    return [shard.tokens.view(f"i{shard.tokens.itemsize}") for shard in shards.files]


def convert_to_ids(tokens: Int[Tensor, " tokens"]) -> Int[Tensor, " tokens"]:
    """The ids that ``view_as_signed`` tokens stand for, int64."""
    return tokens.long().bitwise_and_((1 << 8 * tokens.itemsize) - 1)


def choose_token_store(shards: Shards, device: torch.device) -> TokenStore:
    """In a GPU's memory where they take no more than ``GPU_MEMORY_SHARE`` of what is free there; else where they
    are."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if sum(shard.tokens.nbytes for shard in shards.files) <= GPU_MEMORY_SHARE * free:
            return ResidentTokens(shards, device)
    return TokensOnDisk(shards)
