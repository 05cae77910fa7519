"""``electra data``: what is in prepared data, whether it is undamaged, how it reads."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Int

from electra import files
from electra.config import check_ranges
from electra.corpus.figures import print_data_overview
from electra.corpus.preview import print_first_rows
from electra.dataset.data import Data
from electra.dataset.layout import Layout, Packed, Paper, RowLength
from electra.dataset.shards import MANIFEST, REMEDY, Shards, Split
from electra.errors import UserError, convert_errors, escape_controls, require_plain_name
from electra.progress import Progress
from electra.ranges import CountOrZero
from electra.report import lengths
from electra.tokenization.tokenizer import Tokenizer

LAYOUTS: dict[str, Layout] = {"paper": Paper(), "packed": Packed()}
LENGTH_EDGES = 2.0 ** np.arange(-1, 31, 0.25) + 0.5  # between two lengths in tokens: of 128 and of 129, for one


@dataclass(frozen=True)
class DataConfig:
    """Tell what is in prepared data, and show some of it."""

    data: str = ""
    """Folder that `electra prepare` wrote."""
    verify: bool = False
    """Read all of it and compare the checksums; without it up to 2 GB of each split."""
    samples: CountOrZero = 2
    """Documents to print, decoded back to text."""
    rows: CountOrZero = 2
    """Rows to print as a model sees them."""
    layout: Literal["paper", "packed"] = "paper"
    """… laid out like this."""
    length: RowLength = 128
    """… and of so many tokens."""
    histogram: str = "lengths.png"
    """File for the picture of the documents' lengths, within the folder; empty: none."""


def data(config: DataConfig) -> dict[str, Any]:
    """Print what the config asks for, and return the manifest.

    Raises:
        UserError: data that is missing, incomplete or damaged, or a picture that cannot be written.
    """
    check_ranges(config)
    if not config.data:
        raise UserError("which data? electra data FOLDER, as `electra prepare` wrote it")
    folder = Path(config.data)
    opened = Data.open(folder)
    train, splits = opened.train, {split: opened.split(split) for split in get_args(Split)}
    if config.histogram:
        require_plain_name(config.histogram, "--histogram")
        files.refuse_foreign_file(folder / config.histogram, lengths.SIGN)
    with convert_errors(f"{folder / MANIFEST}: damaged; {REMEDY}: no count", KeyError):
        print_data_overview(config.data, train.manifest)
    for shards in splits.values():
        size = sum(shard.header.size for shard in shards.files)
        print(f"{shards.split}: {len(shards.files)} shards, {size / 1e6:,.1f} MB, fingerprint {shards.fingerprint}")
    if config.verify:
        opened.verify_tokenizer()
        print(f"{opened.tokenizer_folder}: the tokenizer that the data was prepared with")
        for shards in splits.values():
            verify_checksums(shards)
    else:
        opened.verify_at_start()
    counts = {split: count_document_lengths(shards) for split, shards in splits.items()}
    print_length_shares(counts["train"])
    if config.histogram:
        try:
            with files.write_whole(folder / config.histogram) as file:
                lengths.draw_lengths(counts, LENGTH_EDGES, file)
        except OSError as error:
            raise UserError(f"{folder / config.histogram}: {error.strerror}; --histogram '' draws none") from error
        print(f"{folder / config.histogram}: how long documents are")
    tokenizer = opened.tokenizer
    for text in itertools.islice(decode_documents(train, tokenizer), config.samples):
        print(f"\na document, decoded:\n  {text}")
    if config.rows:
        print(f"\nrows of {config.length}, {config.layout}:")
        print_first_rows(train, LAYOUTS[config.layout], config.length, config.rows, tokenizer)
    return dict(train.manifest)


def verify_checksums(shards: Shards) -> None:
    """Read a split and compare its checksums. Raises ``UserError`` naming the files whose checksums do not hold."""
    size = sum(shard.header.size for shard in shards.files)
    with Progress(f"verifying {shards.split}", size / 1e6, "MB") as progress:
        damaged = [str(path) for path in shards.find_damaged_files(lambda done: progress.update(done / 1e6))]
    if damaged:
        raise UserError(f"damaged: {', '.join(damaged)}; prepare the data anew")
    print(f"{shards.split}: the checksums of all {len(shards.files)} shards hold")


def count_document_lengths(shards: Shards) -> Int[np.ndarray, " bins"]:
    """How many documents there are of each length, in the bins of ``LENGTH_EDGES``."""
    counts = np.zeros(len(LENGTH_EDGES) - 1, dtype=np.int64)
    for shard in shards.files:
        counts += np.histogram(np.diff(shard.units[shard.documents].astype(np.int64)), LENGTH_EDGES)[0]
    return counts


def print_length_shares(counts: Int[np.ndarray, " bins"]) -> None:
    """Print which share of the documents has no more tokens than rows of some lengths, and the longest at most."""
    shares = [
        f"{counts[: np.searchsorted(LENGTH_EDGES, length + 0.5)].sum() / max(counts.sum(), 1):.0%} within {length}"
        for length in lengths.ROWS
    ]
    longest = int(LENGTH_EDGES[np.flatnonzero(counts)[-1] + 1]) if counts.any() else 0
    print(f"documents: {', '.join(shares)} tokens; the longest has at most {longest:,}")


def decode_documents(shards: Shards, tokenizer: Tokenizer) -> Iterator[str]:
    """The documents as text, a line for each unit, from the first shard on."""
    for shard in shards.files:
        for first, last in itertools.pairwise(shard.documents.tolist()):
            edges = shard.units[first : last + 1].tolist()
            lines = (shard.tokens[start:stop].tolist() for start, stop in itertools.pairwise(edges))
            yield "\n  ".join(escape_controls(tokenizer.backend.decode(line)) for line in lines)
