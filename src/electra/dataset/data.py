"""Prepared data, opened once and handed on: both splits, and the tokenizer that they were made with."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from electra.dataset.shards import MANIFEST, Shards, Split
from electra.errors import UserError, convert_errors
from electra.fingerprints import hash_folder, hash_values
from electra.tokenization.loading import load_tokenizer
from electra.tokenization.tokenizer import Tokenizer

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
        with convert_errors(str(folder), OSError):
            return cls(folder, Shards.open(folder, "train"), Shards.open(folder, "held-out"))

    def split(self, name: Split) -> Shards:
        """The split of a name."""
        return self.train if name == "train" else self.held_out

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all that a run reads: both splits, the special ids, the vocabulary's size, the tokenizer's files.

        Raises:
            UserError: the tokenizer's files cannot be read.
        """
        with convert_errors(str(self.tokenizer_folder), OSError):
            tokenizer = hash_folder(self.tokenizer_folder, ["[!.]*"])  # without hidden files, which others put there
        splits = [self.train.fingerprint, self.held_out.fingerprint]
        return hash_values([splits, self.train.special, self.vocab_size, tokenizer])

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

    def verify_at_start(self, number: int = 0, processes: int = 1) -> None:
        """Compare what a run reads with what was written, as far as that takes seconds: the tokenizer, and the
        checksums of each split that is small. Of a larger one a shard is compared when it is first read, by one of the
        ``processes`` that read the same rows; this is the one of that ``number``.

        Raises:
            UserError: a shard or the tokenizer is damaged.
        """
        self.verify_tokenizer()
        for shards in (self.train, self.held_out):
            if sum(shard.header.size for shard in shards.files) <= VERIFIED_BYTES:
                shards.verify_later()
                for file in range(len(shards.files)):
                    shards.read_file(file)
            else:
                shards.verify_later(number, processes)

    def verify_tokenizer(self) -> None:
        """Raises ``UserError`` if the tokenizer is damaged, or not the one that the manifest speaks of."""
        if self.tokenizer.fingerprint != self.train.tokenizer:
            raise UserError(
                f"{self.tokenizer_folder}: damaged, or not the tokenizer that the data was prepared with; "
                "prepare the data anew"
            )
        if self.tokenizer.ids != self.train.special or self.tokenizer.size != self.vocab_size:
            raise UserError(
                f"{self.folder / MANIFEST}: damaged: its special ids or its vocabulary's size are not those of "
                f"{self.tokenizer_folder}; prepare the data anew"
            )
