"""Prepared data, opened once and handed on: both splits, and the tokenizer that they were made with."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from electra.dataset.shards import Shards, Split
from electra.errors import UserError
from electra.tokenization import Tokenizer, load_tokenizer

VERIFIED_BYTES = 1 << 31  # a split up to this size is verified at every start of a run: a few seconds


@dataclass(frozen=True)
class Data:
    """The folder that ``electra prepare`` wrote."""

    folder: Path
    train: Shards
    held_out: Shards

    @classmethod
    def open(cls, folder: Path) -> "Data":
        """Open both splits. Raises ``UserError`` as ``Shards.open``."""
        return cls(folder, Shards.open(folder, "train"), Shards.open(folder, "held-out"))

    def split(self, name: Split) -> Shards:
        """The split of a name."""
        return self.train if name == "train" else self.held_out

    @property
    def fingerprint(self) -> str:
        """The fingerprint of what training reads: the train split and its tokenizer."""
        return self.train.fingerprint

    @property
    def vocab_size(self) -> int:
        """How many ids the tokenizer has."""
        return self.train.vocab_size

    @property
    def tokenizer_folder(self) -> Path:
        """Where the tokenizer lies."""
        return self.folder / "tokenizer"

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, loaded when it is first asked for. Raises ``UserError`` as ``load_tokenizer``."""
        return load_tokenizer(self.tokenizer_folder)

    def verify_small_splits(self) -> None:
        """Compare the checksums of each split that is read in seconds. Raises ``UserError`` for a damaged shard."""
        for shards in (self.train, self.held_out):
            if sum(shard.header.size for shard in shards.files) <= VERIFIED_BYTES:
                for path in shards.find_damaged_files():
                    raise UserError(f"{path}: damaged: its checksum is another now; prepare the data anew")
