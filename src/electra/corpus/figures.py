"""Prints what prepared data holds: how much of each source, and how well the vocabulary fits it."""

from collections.abc import Iterator, Mapping

from electra.corpus.documents import Skipped
from electra.dataset.shards import Manifest
from electra.errors import escape_controls
from electra.progress import print_warnings

MUCH_UNKNOWN = 0.02
MANY_PIECES = 3.0  # tokens a word (white space between words)
SHORT_PIECES = 2.5  # … that hold fewer bytes than this: text that is spelled rather than read


def print_prepared_data(out: str, manifest: Manifest, seconds: float) -> None:
    """Print what was prepared in ``out``, and how fast."""
    print_data_overview(out, manifest)
    size = sum(counts["bytes"] for counts in manifest["splits"].values()) / 1e6
    print(f"{size:,.1f} MB in {seconds:.1f} s: {size / max(seconds, 1e-9):,.1f} MB/s")


def print_data_overview(folder: str, manifest: Manifest) -> None:
    """Print how much there is of each source, and what was left out."""
    for split, counts in manifest["splits"].items():
        print(f"{folder} {split}: {describe_counts(counts)}")
    for name, splits in manifest["sources"].items():
        if len(manifest["sources"]) > 1:
            share = manifest["weights"].get(name)
            read = f"; {share:.1%} of what training reads" if share is not None else ""
            print(f"  {escape_controls(name)}: {describe_counts(splits['train'])}{read}")
        print_warnings(list_vocabulary_warnings(name, splits["train"]))
    skipped = Skipped()
    skipped.add_json(manifest["skipped"])
    for line in skipped.lines():
        print(line)


def describe_counts(counts: Mapping[str, int]) -> str:
    """The counts of a split or a source in a line."""
    tokens, words = max(counts["tokens"], 1), max(counts["words"], 1)
    return (
        f"{counts['documents']:,} documents, {counts['tokens']:,} tokens, {counts['words']:,} words, "
        f"{counts['tokens'] / words:.2f} tokens a word, {counts['bytes'] / tokens:.2f} bytes a token, "
        f"{counts['unknown'] / tokens:.3%} unknown"
    )


def list_vocabulary_warnings(name: str, counts: Mapping[str, int]) -> Iterator[str]:
    """A line for each sign that the vocabulary does not fit the source ``name``."""
    tokens, words = max(counts["tokens"], 1), max(counts["words"], 1)
    if counts["unknown"] / tokens > MUCH_UNKNOWN:
        yield f"{name}: {counts['unknown'] / tokens:.1%} of the tokens are unknown to this vocabulary; is it right?"
    if counts["tokens"] / words > MANY_PIECES and counts["bytes"] / tokens < SHORT_PIECES:
        yield (
            f"{name}: {counts['tokens'] / words:.1f} tokens a word of {counts['bytes'] / tokens:.1f} bytes each: this "
            "vocabulary spells the text; one trained on it reads more at a time"
        )
