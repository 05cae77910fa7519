"""What prepared data is like, in lines to read: how much of each source, what a vocabulary makes of it."""

from collections.abc import Iterator, Mapping
from typing import Any

from electra.corpus.documents import Skipped
from electra.errors import escape_controls
from electra.progress import print_warnings

MUCH_UNKNOWN = 0.02
MANY_PIECES = 3.0  # tokens a word (white space between words)
SHORT_PIECES = 2.5  # … that hold fewer bytes than this: text that is spelled rather than read


def print_prepared_data(out: str, manifest: Mapping[str, Any], seconds: float) -> None:
    """Print what was prepared, and how fast."""
    print_data_overview(out, manifest)
    size = sum(total["bytes"] for total in manifest["splits"].values()) / 1e6
    print(f"{size:,.1f} MB in {seconds:.1f} s: {size / max(seconds, 1e-9):,.1f} MB/s")


def print_data_overview(folder: str, manifest: Mapping[str, Any]) -> None:
    """Print how much there is of each source, and what was left out."""
    for split, total in manifest["splits"].items():
        print(f"{folder} {split}: {describe_counts(total)}")
    for name, splits in manifest["sources"].items():
        if len(manifest["sources"]) > 1:
            share = manifest["weights"].get(name)
            read = f"; {share:.1%} of what training reads" if share else ""
            print(f"  {escape_controls(name)}: {describe_counts(splits['train'])}{read}")
        print_warnings(list_vocabulary_warnings(name, splits["train"]))
    skipped = Skipped()
    skipped.add(manifest["skipped"])
    for line in skipped.lines():
        print(line)


def describe_counts(total: dict[str, int]) -> str:
    """The figures of a split or a source in a line."""
    tokens, words = max(total["tokens"], 1), max(total["words"], 1)
    return (
        f"{total['documents']:,} documents, {total['tokens']:,} tokens, {total['words']:,} words, "
        f"{total['tokens'] / words:.2f} tokens a word, {total['bytes'] / tokens:.2f} bytes a token, "
        f"{total['unknown'] / tokens:.3%} unknown"
    )


def list_vocabulary_warnings(name: str, total: dict[str, int]) -> Iterator[str]:
    """What says that the vocabulary knows too little of a source."""
    tokens, words = max(total["tokens"], 1), max(total["words"], 1)
    if total["unknown"] / tokens > MUCH_UNKNOWN:
        yield f"{name}: {total['unknown'] / tokens:.1%} of the tokens are unknown to this vocabulary; is it right?"
    if total["tokens"] / words > MANY_PIECES and total["bytes"] / tokens < SHORT_PIECES:
        yield (
            f"{name}: {total['tokens'] / words:.1f} tokens a word of {total['bytes'] / tokens:.1f} bytes each: this "
            "vocabulary spells the text; one trained on it reads more at a time"
        )
