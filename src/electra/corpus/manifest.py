"""The manifest of prepared data: counts and shards of each split, from the entries of its parts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from electra.corpus.documents import Skipped
from electra.corpus.parts import COUNTS, PartEntry
from electra.dataset.shards import DATA_FORMAT, Manifest, Split
from electra.errors import UserError
from electra.tokenization.tokenizer import Tokenizer


def build_manifest(
    tokenizer: Tokenizer, entries: Sequence[PartEntry], weights: Mapping[str, float], skipped: Skipped
) -> Manifest:
    """The manifest of data with these parts. ``weights``: source → its share of what training reads."""
    sources = list(dict.fromkeys(entry["source"] for entry in entries))
    return {
        "format": DATA_FORMAT,
        "tokenizer": tokenizer.fingerprint,
        "vocab_size": tokenizer.size,
        "special": tokenizer.ids,
        "sources": {
            source: {
                split: sum_counts([entry["splits"][split] for entry in entries if entry["source"] == source])
                for split in get_args(Split)
            }
            for source in sources
        },
        "weights": weights,
        "splits": {
            split: sum_counts([entry["splits"][split] for entry in entries])
            | {
                "shards": [
                    {"source": entry["source"]} | shard
                    for entry in entries
                    for shard in entry["splits"][split]["shards"]
                ]
            }
            for split in get_args(Split)
        },
        "skipped": skipped.to_json(),
    }


def sum_counts(counts: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The sum of each count over all entries."""
    return {name: sum(entry[name] for entry in counts) for name in COUNTS}


def refuse_empty_split(out: Path, manifest: Manifest, skipped: Skipped) -> None:
    """Raises ``UserError`` if a split has no document; it says what was skipped."""
    count = sum(split["documents"] for split in manifest["splits"].values())
    for name, split in manifest["splits"].items():
        if not split["documents"]:
            why = f"; {', '.join(skipped.lines())}" if skipped else ""
            remedy = "; --held-out 0.1 would set a tenth aside" if count > 1 and name == "held-out" else ""
            raise UserError(f"{out}: no document for the {name} split, of {count} in all{remedy}{why}")
