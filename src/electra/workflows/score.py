"""``electra score``: how good each line of a file is, for re-ranking and filtering."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from electra.config import check_ranges
from electra.engine.parallel import Parallel, Precision, autocast, flush_denormals, start_threads
from electra.errors import escape_controls
from electra.progress import print_progress
from electra.ranges import CountOrZero
from electra.tasks.frozen.score_names import ScoreName, load_named_scorer
from electra.tasks.frozen.sentence_windows import ReportShare
from electra.tasks.frozen.unpadded import sentence_limit
from electra.tasks.frozen.window_scorer import WindowScorer
from electra.workflows.line_by_line import Judge, Judgement, LineFigures, judge_lines, require_model_and_file


@dataclass(frozen=True)
class ScoreConfig:
    """Score a file of sentences, one a line: the higher, the better. A line of JSON for each, in the same order.

    {"line": 1, "score": -21.3, "tokens": 9, "text": …}: the score is a sum over the tokens, null if there are none.
    A line with more tokens than the model reads is scored in windows that overlap.
    """

    model: str = ""
    """Run folder, exported folder, or a masked language model's folder of Hugging Face's."""
    file: str = ""
    """Text in UTF-8, also .gz, .bz2, .xz or .zst; - for standard input."""
    by: ScoreName = "auto"
    """pseudo-log-likelihood: Σ log p(token | the others), each masked in turn (Salazar et al., 2020). within-word: the
    rest of its word masked too (Kauf and Ivanova, 2023). energy: −Σ of Electric's energies, in one pass.
    replaced-token: Σ log p(original) of a discriminator, in one pass. auto: the first, third or fourth, whichever the
    folder's encoder has, or its discriminator."""
    out: str = ""
    """File to write; empty: standard output."""
    precision: Precision = "float32"
    """Number type of the products; the scores are float32 sums in any case."""
    batch: CountOrZero = 0
    """Tokens that the model reads at once; 0: 1,024 of a model of transformers' with its head, else 2,048."""


def score(config: ScoreConfig) -> LineFigures:
    """Write the score of each line; returns how many lines and tokens they were.

    Raises:
        UserError: a model without the score, a file that cannot be read, or ``out`` that cannot be written.
    """
    check_ranges(config)
    require_model_and_file("score", config.model, config.file)
    start_threads()
    with flush_denormals():
        return judge_lines(config.file, config.out, "score", partial(load_score_judge, config))


def load_score_judge(config: ScoreConfig) -> Judge:
    """What scores texts as the config says; which model does it, and how, is printed."""
    where, scorer = load_named_scorer(Path(config.model), config.by, Parallel.local_device())
    print_progress(escape_controls(f"{where}: {scorer.name}"))
    return partial(score_texts, replace(scorer, batch=config.batch or scorer.batch), config.precision)


def score_texts(
    scorer: WindowScorer, precision: Precision, texts: Sequence[str], report: ReportShare
) -> list[Judgement]:
    """The score of each text, and how many tokens it is a sum of."""
    with autocast(precision, next(scorer.model.parameters()).device):
        sums, tokens, _ = scorer.score_any(texts, report)
    limit = sentence_limit(scorer.model)
    return [
        Judgement({"score": value if count else None, "tokens": count, "text": text}, count, count > limit)
        for text, value, count in zip(texts, sums.tolist(), tokens.tolist(), strict=True)
    ]
