"""Minimal pairs: does a model prefer the good sentence to one that differs in what makes it bad? (BLiMP, and alike)"""

import gzip
import io
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict

import numpy as np
from jaxtyping import Float64

from electra.errors import UserError, convert_errors
from electra.progress import Progress
from electra.strict_json import parse_json
from electra.tasks.datasets.values import require_encodable
from electra.tasks.frozen.sentence_groups import UnreadableSentence
from electra.tasks.frozen.sentence_scores import Scorer

CHUNK = 1000  # pairs that are scored at once: what they share is read once
BLIMP_FILES, BLIMP_PAIRS = 67, 67_000  # Warstadt et al. 2020
GOOD, BAD = ("sentence_good", "good"), ("sentence_bad", "bad")
# As in BLiMP's table 2, which has 12 phenomena; its files name 13.
MERGED_PHENOMENA = {"s-selection": "argument_structure"}
HEADER = ("", "pairs", "ties", "correct %")


class MinimalPair(NamedTuple):
    """Two sentences, what they test, and the line of the file that they come from."""

    good: str
    bad: str
    paradigm: str
    phenomenon: str
    where: str


class PairFigures(TypedDict):
    """The share of pairs whose good sentence scores higher; a tie is not correct."""

    accuracy: float
    pairs: int
    ties: int


class PairResult(PairFigures):
    """The figures of all pairs and by name, and what was computed for them.

    ``score``: its name. ``tokens``: those that were scored; ``rows``: those that the model read. ``seconds``: of
    scoring. ``notes``: for the reader.
    """

    score: str
    phenomena: dict[str, PairFigures]
    paradigms: dict[str, PairFigures]
    tokens: int
    rows: int
    seconds: float
    notes: list[str]


def read_pairs(path: Path) -> tuple[list[MinimalPair], list[str]]:
    """The pairs of a .jsonl (or .jsonl.gz) file, or of all such files in a folder; and a line if BLiMP is incomplete.

    A line of a file is an object with ``sentence_good`` and ``sentence_bad`` (or ``good`` and ``bad``). ``UID`` names
    its paradigm, else the file does; ``linguistics_term`` its phenomenon, else the ``field``, else the paradigm.

    Raises:
        UserError: no such files, or a line that is no pair: which one, and what it has.
    """
    files = find_pair_files(path)
    pairs = [pair for file in files for pair in read_pair_file(file)]
    if not pairs:
        raise UserError(f"{path}: no pairs in {len(files)} file" + "s" * (len(files) > 1))
    short = len(files) == BLIMP_FILES and len(pairs) != BLIMP_PAIRS
    incomplete = f"{path}: {BLIMP_FILES} files like BLiMP's, but {len(pairs):,} pairs, not {BLIMP_PAIRS:,}: incomplete"
    return pairs, [incomplete] * short


def find_pair_files(path: Path) -> list[Path]:
    """The file itself, or those of the folder in the order of their names. Raises ``UserError`` if there is none."""
    if path.is_file():
        return [path]
    files = sorted(file for file in path.rglob("*") if file.name.endswith((".jsonl", ".jsonl.gz")) and file.is_file())
    if not files:
        raise UserError(f"{path}: no .jsonl or .jsonl.gz file here; a line of one has sentence_good and sentence_bad")
    return files


def read_pair_file(file: Path) -> Iterator[MinimalPair]:
    """The pairs of one file. Raises ``UserError`` for a file that cannot be read, or a line that is no pair."""
    name = file.name.removesuffix(".gz").removesuffix(".jsonl")
    with convert_errors(str(file), OSError, EOFError, zlib.error, UnicodeDecodeError):
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        lines = io.StringIO(content.decode("utf-8-sig"))
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield parse_pair(line, f"{file}, line {number}", name)


def parse_pair(line: str, where: str, name: str) -> MinimalPair:
    """The pair in a line of a file that is called ``name``."""
    fields = parse_json(line, where)
    if not isinstance(fields, dict):
        raise UserError(f"{where}: expected an object with sentence_good and sentence_bad, found {line.strip()[:60]}")
    paradigm = str(fields.get("UID") or name)
    phenomenon = str(fields.get("linguistics_term") or fields.get("field") or paradigm)
    good, bad = find_sentence(fields, GOOD, where), find_sentence(fields, BAD, where)
    return MinimalPair(good, bad, paradigm, MERGED_PHENOMENA.get(phenomenon, phenomenon), where)


def find_sentence(fields: Mapping[str, Any], names: Sequence[str], where: str) -> str:
    """The sentence under the first of the names that is there. Raises ``UserError`` if there is none."""
    text = next((fields[name] for name in names if name in fields), None)
    if not isinstance(text, str) or not text.strip():
        raise UserError(f"{where}: no text in {' or '.join(names)}; fields found: {', '.join(fields) or 'none'}")
    return require_encodable(text, where)


def evaluate_pairs(path: Path, scorer: Scorer, limit: int = 0) -> PairResult:
    """How often the good sentence scores higher: in all, by phenomenon and by paradigm.

    ``limit``: the first so many pairs of each paradigm; 0: all.

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
                scores = scorer.score([pair.good for pair in part] + [pair.bad for pair in part])
            except UnreadableSentence as error:
                raise UserError(f"{part[error.index % len(part)].where}: {error}") from error
            margins[start : start + len(part)] = scores.sums[: len(part)] - scores.sums[len(part) :]
            tokens, rows = tokens + int(scores.tokens.sum()), rows + scores.rows
            progress.update(start + len(part))
    return {
        "score": scorer.name,
        **summarize_margins(margins),
        "phenomena": summarize_by_name([pair.phenomenon for pair in pairs], margins),
        "paradigms": summarize_by_name([pair.paradigm for pair in pairs], margins),
        "tokens": tokens,
        "rows": rows,
        "seconds": time.monotonic() - began,
        "notes": notes,
    }


def limit_pairs(pairs: Sequence[MinimalPair], limit: int) -> list[MinimalPair]:
    """The first ``limit`` pairs of each paradigm."""
    counts: Counter[str] = Counter()
    kept = []
    for pair in pairs:
        counts[pair.paradigm] += 1
        if counts[pair.paradigm] <= limit:
            kept.append(pair)
    return kept


def summarize_margins(margins: Float64[np.ndarray, " pairs"]) -> PairFigures:
    """The figures of pairs. ``margins``: score(good) − score(bad)."""
    return {"accuracy": float((margins > 0).mean()), "pairs": len(margins), "ties": int((margins == 0).sum())}


def summarize_by_name(names: Sequence[str], margins: Float64[np.ndarray, " pairs"]) -> dict[str, PairFigures]:
    """Name → the figures of its pairs. ``names``: that of each pair."""
    name_of_pair = np.array(names)
    return {name: summarize_margins(margins[name_of_pair == name]) for name in sorted(set(names))}


def tabulate_pairs(
    result: PairResult, by: Literal["phenomena", "paradigms"] = "phenomena"
) -> list[tuple[str, int, int, str]]:
    """The rows under ``HEADER``: each of the phenomena or paradigms, and all together."""
    parts: dict[str, PairFigures] = {**result[by], "all": result}
    return [(name, part["pairs"], part["ties"], f"{100 * part['accuracy']:.1f}") for name, part in parts.items()]
