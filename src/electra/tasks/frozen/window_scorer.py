"""What the scores of sentences have in common: they are sums over tokens, each judged in a window of its sentence."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from electra.interchange.encoders import WholeModelReader
from electra.model.encoder import Tower
from electra.tasks.frozen.sentence_groups import SentenceGroup, encode_sentences
from electra.tasks.frozen.sentence_windows import (
    AT_ONCE,
    ReportShare,
    SentenceWindow,
    cut_windows,
    encode_pieces,
    report_nothing,
    split_by_cost,
)
from electra.tasks.frozen.unpadded import sentence_limit
from electra.tokenization.tokenizer import Tokenizer


class SentenceScores(NamedTuple):
    """The score of each sentence (a sum over its tokens, in nats), its number of tokens, and ``rows``: how many went
    through the model for all of them."""

    sums: Float64[np.ndarray, " sentences"]
    tokens: Int64[np.ndarray, " sentences"]
    rows: int


class WindowScorer(ABC):
    """A score that is a sum over tokens, each judged in a window of its sentence."""

    model: Tower | WholeModelReader
    tokenizer: Tokenizer
    batch: int

    def score(self, sentences: Sequence[str]) -> SentenceScores:
        """The scores of sentences that the model reads whole. Raises ``UnreadableSentence`` as ``Scorer`` says."""
        windows = encode_sentences(sentences, self.tokenizer, sentence_limit(self.model), self.by_words)
        return self.score_windows(windows, len(sentences))

    def score_any(self, sentences: Sequence[str], report: ReportShare = report_nothing) -> SentenceScores:
        """The scores of any sentences: a long one is read in windows that overlap, one without tokens has the sum 0.

        What is read at once are a few batches of sentences of like length; ``report`` is told after each.
        """
        encoded = encode_pieces(sentences, self.tokenizer, self.by_words)
        windows = list(cut_windows(encoded, sentence_limit(self.model)))
        scores = SentenceScores(np.zeros(len(sentences)), np.zeros(len(sentences), np.int64), 0)
        done, all_read = 0, sum(map(self.count_read, windows))
        for portion in split_by_cost(windows, self.count_read, AT_ONCE * self.batch):
            sums, tokens, rows = self.score_windows(portion, len(sentences))
            scores = SentenceScores(scores.sums + sums, scores.tokens + tokens, scores.rows + rows)
            report((done := done + sum(map(self.count_read, portion))) / all_read)
        return scores

    @property
    @abstractmethod
    def by_words(self) -> bool:
        """Whether it matters which tokens are pieces of one word."""

    @abstractmethod
    def count_read(self, window: SentenceWindow) -> int:
        """How many tokens the model reads for a window."""

    @abstractmethod
    def score_windows(self, windows: Sequence[SentenceWindow], sentences: int) -> SentenceScores:
        """The sums over the tokens that are judged in the windows, for each of so many sentences."""


def add_group(
    scores: SentenceScores, group: SentenceGroup, logs: Float[Tensor, " tokens"], rows: int
) -> SentenceScores:
    """The scores with those of a group: the sums of its own tokens' ``logs``, for which ``rows`` were read."""
    values = torch.zeros(group.own.shape, dtype=torch.double)
    values[group.own] = logs.double()
    np.add.at(scores.sums, group.indices, values.sum(1).numpy())
    np.add.at(scores.tokens, group.indices, group.own.sum(1).numpy())
    return scores._replace(rows=scores.rows + rows)
