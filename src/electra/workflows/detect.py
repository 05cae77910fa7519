"""``electra detect``: how likely each word of each line of a file was replaced, for proof-reading and filtering."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TypedDict

import numpy as np
import tokenizers
from jaxtyping import Float32

from electra.config import check_ranges
from electra.engine.parallel import Parallel, Precision, autocast, flush_denormals, start_threads
from electra.ranges import CountOrZero
from electra.tasks.frozen.detector import Detector, load_detector
from electra.tasks.frozen.sentence_windows import Pieces, ReportShare
from electra.tasks.frozen.unpadded import sentence_limit
from electra.workflows.line_by_line import Judge, Judgement, LineFigures, judge_lines, require_model_and_file

DIGITS = 7  # of a probability, as many as float32 has


@dataclass(frozen=True)
class DetectConfig:
    """Find words that look replaced: the probability of each word of each line of a file, a line of JSON for each.

    {"line": 1, "text": …, "words": [{"word": "chef", "start": 4, "end": 8, "replaced": 0.02}, …]}; start and end count
    characters, from 0. A word is what the tokenizer takes for one, and its probability is the highest of its pieces'.
    A line with more tokens than the model reads is read in windows that overlap.
    """

    model: str = ""
    """Run folder, exported folder, or a discriminator's folder."""
    file: str = ""
    """Text in UTF-8, also .gz, .bz2, .xz or .zst; - for standard input."""
    out: str = ""
    """File to write; empty: standard output."""
    precision: Precision = "float32"
    """Number type of the products; the probabilities are float32 in any case."""
    batch: CountOrZero = 0
    """Tokens that the model reads at once; 0: 2,048."""


class JudgedWord(TypedDict):
    """A word of a text: its characters from ``start`` up to ``end``, and P(replaced)."""

    word: str
    start: int
    end: int
    replaced: float


def detect(config: DetectConfig) -> LineFigures:
    """Write the words of each line with P(replaced); returns how many lines and tokens they were.

    Raises:
        UserError: a folder without a discriminator, a file that cannot be read, or ``out`` that cannot be written.
    """
    check_ranges(config)
    require_model_and_file("detect", config.model, config.file)
    start_threads()
    with flush_denormals():
        return judge_lines(config.file, config.out, "detect", partial(load_word_judge, config))


def load_word_judge(config: DetectConfig) -> Judge:
    """What judges the words of texts as the config says."""
    detector = load_detector(Path(config.model), Parallel.local_device())
    return partial(judge_texts, replace(detector, batch=config.batch or detector.batch), config.precision)


def judge_texts(
    detector: Detector, precision: Precision, texts: Sequence[str], report: ReportShare
) -> Iterator[Judgement]:
    """The words of each text with P(replaced), made one text after the other: those of many take much memory."""
    encodings = detector.tokenizer.backend.encode_batch(list(texts), add_special_tokens=False)
    with autocast(precision, next(detector.tower.parameters()).device):
        judged = detector.judge_tokens([Pieces(each.ids, range(len(each.ids))) for each in encodings], report)
    limit = sentence_limit(detector.tower)
    for text, encoding, replaced in zip(texts, encodings, judged, strict=True):
        record = {"text": text, "words": list(list_words(text, encoding, replaced))}
        yield Judgement(record, len(encoding.ids), len(encoding.ids) > limit)


def list_words(
    text: str, encoding: tokenizers.Encoding, replaced: Float32[np.ndarray, " tokens"]
) -> Iterator[JudgedWord]:
    """The words of a text with P(replaced), the highest of their pieces'. ``replaced``: that of each token."""
    tokens = zip(encoding.word_ids, encoding.offsets, replaced.tolist(), strict=True)
    for _, group in groupby(tokens, itemgetter(0)):
        _, offsets, probabilities = zip(*group, strict=True)
        start, end = min(first for first, _ in offsets), max(last for _, last in offsets)
        if word := text[start:end].strip():  # some tokenizers count the space before a word to it, or make it one
            start += text[start:end].index(word)
            probability = float(f"{max(probabilities):.{DIGITS}g}")
            yield JudgedWord(word=word, start=start, end=start + len(word), replaced=probability)
