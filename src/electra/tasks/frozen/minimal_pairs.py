"""Minimal pairs: does a model prefer the good sentence to one that differs in what makes it bad? (BLiMP, and alike)"""

import gzip
import io
import json
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from electra.errors import UserError, convert_errors
from electra.progress import Progress
from electra.tasks.frozen.sentence_scores import Scorer, UnreadableSentence

CHUNK = 1000  # pairs that are scored at once: what they share is read once
BLIMP_FILES, BLIMP_PAIRS = 67, 67_000  # Warstadt et al. 2020
GOOD, BAD = ("sentence_good", "good"), ("sentence_bad", "bad")
MERGED_PHENOMENA = {
    "s-selection": "argument_structure"
}  # as in BLiMP's table 2, which has 12 phenomena; its files name 13
HEADER = ("", "pairs", "ties", "correct %")


class MinimalPair(NamedTuple):
    """Two sentences, what they test, and the line of the file that they come from."""

    good: str
    bad: str
    paradigm: str
    phenomenon: str
    where: str


def read_pairs(path: Path) -> tuple[list[MinimalPair], list[str]]:
    """The pairs of a .jsonl (or .jsonl.gz) file, or of all such files in a folder; and what is to be said of them.

    A line is an object with ``sentence_good`` and ``sentence_bad`` (or ``good`` and ``bad``). ``UID`` names its
    paradigm, else the file does; ``linguistics_term`` its phenomenon, else the ``field``, else the paradigm.

    Raises:
        UserError: no such files, or a line that is no pair: which one, and what it has.
    """
    found = find_pair_files(path)
    pairs = [pair for file in found for pair in read_pair_file(file)]
    if not pairs:
        raise UserError(f"{path}: no pairs in {len(found)} file" + "s" * (len(found) > 1))
    short = len(found) == BLIMP_FILES and len(pairs) != BLIMP_PAIRS
    incomplete = f"{path}: {BLIMP_FILES} files like BLiMP's, but {len(pairs):,} pairs, not {BLIMP_PAIRS:,}: incomplete"
    return pairs, [incomplete] * short


def find_pair_files(path: Path) -> list[Path]:
    """The file itself, or those of the folder in the order of their names."""
    if path.is_file():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.name.endswith((".jsonl", ".jsonl.gz")) and file.is_file())
    if not found:
        raise UserError(f"{path}: no .jsonl or .jsonl.gz file here; a line of one has sentence_good and sentence_bad")
    return found


def read_pair_file(file: Path) -> Iterator[MinimalPair]:
    """See ``read_pairs``."""
    name = file.name.removesuffix(".gz").removesuffix(".jsonl")
    with convert_errors(str(file), OSError, EOFError, zlib.error, UnicodeDecodeError):
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        lines = io.StringIO(content.decode("utf-8-sig"))
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield parse_pair(line, f"{file}, line {number}", name)


def parse_pair(line: str, where: str, name: str) -> MinimalPair:
    """One line of a file called ``name``."""
    with convert_errors(f"{where}: not JSON", ValueError):
        said = json.loads(line)
    if not isinstance(said, dict):
        raise UserError(f"{where}: expected an object with sentence_good and sentence_bad, found {line.strip()[:60]}")
    paradigm = str(said.get("UID") or name)
    phenomenon = str(said.get("linguistics_term") or said.get("field") or paradigm)
    return MinimalPair(
        find_sentence(said, GOOD, where),
        find_sentence(said, BAD, where),
        paradigm,
        MERGED_PHENOMENA.get(phenomenon, phenomenon),
        where,
    )


def find_sentence(said: dict[str, Any], names: Sequence[str], where: str) -> str:
    """The sentence under the first of the names that is there."""
    text = next((said[name] for name in names if name in said), None)
    if not isinstance(text, str) or not text.strip():
        raise UserError(f"{where}: no text in {' or '.join(names)}; fields found: {', '.join(said) or 'none'}")
    return text


def evaluate_pairs(path: Path, scorer: Scorer, limit: int = 0) -> dict[str, Any]:
    """How often the good sentence scores higher: in all, by phenomenon and by paradigm. A tie is not correct.

    ``limit``: the first so many pairs of each paradigm; 0: all.

    Returns ``score`` (its name), ``accuracy``, ``pairs``, ``ties``; ``phenomena`` and ``paradigms``: name → accuracy,
    pairs, ties; ``tokens`` scored and ``rows`` that the model read; ``seconds`` of scoring; ``notes`` for the reader.

    Raises:
        UserError: as ``read_pairs``; or a sentence that the scorer cannot read, by its file and line.
    """
    pairs, notes = read_pairs(path)
    pairs = limit_pairs(pairs, limit) if limit else pairs
    began, tokens, rows = time.monotonic(), 0, 0
    margins = np.zeros(len(pairs))
    with Progress("minimal pairs", len(pairs), "pairs") as progress:
        for start in range(0, len(pairs), CHUNK):
            part = pairs[start : start + CHUNK]
            try:
                found = scorer.read([each.good for each in part] + [each.bad for each in part])
            except UnreadableSentence as error:
                raise UserError(f"{part[error.index % len(part)].where}: {error}") from error
            margins[start : start + len(part)] = found.sums[: len(part)] - found.sums[len(part) :]
            tokens, rows = tokens + int(found.tokens.sum()), rows + found.rows
            progress.update(start + len(part))
    return {
        "score": scorer.name,
        **summarize_margins(margins),
        "phenomena": summarize_by_name([each.phenomenon for each in pairs], margins),
        "paradigms": summarize_by_name([each.paradigm for each in pairs], margins),
        "tokens": tokens,
        "rows": rows,
        "seconds": time.monotonic() - began,
        "notes": notes,
    }


def limit_pairs(pairs: Sequence[MinimalPair], limit: int) -> list[MinimalPair]:
    """The first ``limit`` pairs of each paradigm."""
    seen: Counter[str] = Counter()
    kept = []
    for each in pairs:
        seen[each.paradigm] += 1
        if seen[each.paradigm] <= limit:
            kept.append(each)
    return kept


def summarize_margins(margins: np.ndarray) -> dict[str, float | int]:
    """Of score(good) − score(bad)."""
    return {"accuracy": float((margins > 0).mean()), "pairs": len(margins), "ties": int((margins == 0).sum())}


def summarize_by_name(names: Sequence[str], margins: np.ndarray) -> dict[str, dict[str, float | int]]:
    """The figures of the pairs under each name."""
    each = np.array(names)
    return {name: summarize_margins(margins[each == name]) for name in sorted(set(names))}


def tabulate_pairs(result: dict[str, Any], by: str = "phenomena") -> list[tuple[str, int, int, str]]:
    """The rows under ``HEADER``: each of the ``phenomena`` or ``paradigms``, and all together."""
    parts = {**result[by], "all": result}
    return [(name, part["pairs"], part["ties"], f"{100 * part['accuracy']:.1f}") for name, part in parts.items()]
