"""Where tokens are read from: the files of a split, or the memory of a device that holds all of them."""

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from electra.dataset.layout import Spans
from electra.dataset.shards import Shard, Shards

GPU_MEMORY_SHARE = 0.25  # of a GPU's free memory that tokens may take; while they are moved there they take twice that

PieceFiles = Int[np.ndarray, " pieces"]  # the file that each piece is from
PieceStarts = Int[np.ndarray, " pieces"]  # where the tokens of each piece begin


class TokensOnDisk:
    """Tokens in the files, from which those that are asked for are copied."""

    def __init__(self, shards: Shards):
        self.files = shards.files

    def read(self, files: PieceFiles, spans: Spans) -> tuple[Int[Tensor, " tokens"], PieceStarts]:
        """The tokens of the pieces, signed, one piece after another, and where each piece begins among them.

        ``files``: the file of each piece. ``spans``: (start, stop) of each in its file.
        """
        pieces = zip(files.tolist(), spans.tolist(), strict=True)
        tokens = [view_as_signed(self.files[file])[start:stop] for file, (start, stop) in pieces]
        sizes = spans[:, 1] - spans[:, 0]
        return torch.from_numpy(np.concatenate([NO_TOKENS, *tokens])), np.cumsum(sizes) - sizes


class ResidentTokens:
    """All tokens of a split in the memory of a device, where batches are then made."""

    def __init__(self, shards: Shards, device: torch.device):
        files = map(view_as_signed, shards.files)
        self.first_tokens = np.cumsum([0, *(shard.header.tokens for shard in shards.files)])  # of the files
        # Copies, since torch does not take memory that is read-only.
        self.tokens = torch.cat([torch.from_numpy(file.copy()).to(device) for file in (NO_TOKENS, *files)])

    def read(self, files: PieceFiles, spans: Spans) -> tuple[Int[Tensor, " tokens"], PieceStarts]:
        """All tokens, signed, and where each piece begins among them. Nothing is copied."""
        return self.tokens, self.first_tokens[files] + spans[:, 0]


TokenStore = TokensOnDisk | ResidentTokens
NO_TOKENS = np.empty(0, dtype=np.int16)


def view_as_signed(shard: Shard) -> Int[np.ndarray, " tokens"]:
    """A file's tokens as signed numbers, for which torch has more functions; ``convert_to_ids`` undoes it."""
    return shard.tokens.view(f"i{shard.tokens.itemsize}")


def convert_to_ids(tokens: Int[Tensor, " tokens"]) -> Int[Tensor, " tokens"]:
    """The ids, int64, of signed tokens."""
    return tokens.long().bitwise_and_((1 << 8 * tokens.itemsize) - 1)


def choose_token_store(shards: Shards, device: torch.device) -> TokenStore:
    """Tokens in a GPU's memory if they take at most ``GPU_MEMORY_SHARE`` of what is free there, else on the disk."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if sum(shard.tokens.nbytes for shard in shards.files) <= GPU_MEMORY_SHARE * free:
            return ResidentTokens(shards, device)
    return TokensOnDisk(shards)
