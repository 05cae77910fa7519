"""How good a sentence is: its pseudo-log-likelihood by a masked language model, its tokens' by a discriminator.

Both read ``[CLS] sentence [SEP]``, count no special token, and are sums over the tokens: the higher, the better.
Sentences of equal length go through the model together, so nothing is padded, and what several of them have in common
goes through it once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from electra.errors import UserError
from electra.interchange import huggingface
from electra.interchange.encoders import WholeModelReader
from electra.interchange.folders import find_encoder
from electra.interchange.transformers_models import load_with_transformers, read_model_type
from electra.model.encoder import Tower
from electra.model.heads import DetectionHead, TokenHead
from electra.tasks.frozen.sentence_groups import group_windows, mask_each_token, unique_rows
from electra.tasks.frozen.sentence_windows import SentenceWindow
from electra.tasks.frozen.unpadded import last_states, predict_at
from electra.tasks.frozen.window_scorer import SentenceScores, WindowScorer, add_group
from electra.tokenization.loading import load_tokenizer
from electra.tokenization.tokenizer import Tokenizer

BATCH = 2048  # tokens that a model reads at once; 1,024 to 4,096 are equally fast on a core
WHOLE_BATCH = 1024  # the same where logits come for every token: 1 GB with XLM-R's vocabulary


@runtime_checkable
class Scorer(Protocol):
    """A score of sentences."""

    @property
    def name(self) -> str:
        """The score as a paper calls it."""

    def score(self, sentences: Sequence[str]) -> SentenceScores:
        """The sentences' scores.

        Raises:
            UnreadableSentence: a sentence without tokens, or with more than the model reads.
        """


@dataclass(frozen=True)
class PseudoLogLikelihood(WindowScorer):
    """Σ log P(token | the sentence with that token masked) (Salazar et al. 2020).

    ``within_word``: the later pieces of the token's word are masked too, so that they do not give it away (Kauf &
    Ivanova 2023, PLL-word-l2r). ``batch``: tokens that go through the model at once.
    """

    model: Tower | WholeModelReader
    tokenizer: Tokenizer
    within_word: bool = False
    batch: int = BATCH

    @property
    def name(self) -> str:
        """pseudo-log-likelihood, and whether it masks within words."""
        return "pseudo-log-likelihood" + ", within-word" * self.within_word

    @property
    def by_words(self) -> bool:
        """True if the rest of a word is masked."""
        return self.within_word

    def count_read(self, window: SentenceWindow) -> int:
        """How many tokens the model reads for a window: a row for each token that is judged."""
        return (window.last - window.first) * window.length

    @torch.inference_mode()
    def score_windows(self, windows: Sequence[SentenceWindow], sentences: int) -> SentenceScores:
        """The pseudo-log-likelihoods: a row for each different way to mask a token of a sentence."""
        scores = SentenceScores(np.zeros(sentences), np.zeros(sentences, np.int64), 0)
        for group in group_windows(windows, self.tokenizer):
            rows, positions, row_of_token = mask_each_token(group, self.tokenizer.ids["mask"])
            logs = self.predict_tokens(rows, positions, row_of_token, group.ids[:, 1:-1][group.own])
            scores = add_group(scores, group, logs, len(rows))
        return scores

    def predict_tokens(
        self,
        rows: Int[Tensor, "rows length"],
        positions: Int[Tensor, " rows"],
        row_of_token: Int[Tensor, " tokens"],
        tokens: Int[Tensor, " tokens"],
    ) -> Float[Tensor, " tokens"]:
        """log P of each token at the position of its row."""
        order = row_of_token.argsort(stable=True)
        ordered, logs = row_of_token[order], torch.empty(len(tokens))
        for start in range(0, len(rows), size := max(1, self.batch // rows.shape[1])):
            logits = predict_at(self.model, rows[start : start + size], positions[start : start + size])
            first, last = torch.searchsorted(ordered, torch.tensor([start, start + size])).tolist()
            part = order[first:last]
            row, token = (row_of_token[part] - start).to(logits.device), tokens[part].to(logits.device)
            logs[part] = (logits[row, token] - logits.logsumexp(1)[row]).cpu()
        return logs


@dataclass(frozen=True)
class ReplacedTokens(WindowScorer):
    """Σ log P(original) = Σ log σ(−logit) of a discriminator that reads the sentence as it is, once."""

    model: Tower
    tokenizer: Tokenizer
    batch: int = BATCH

    @property
    def name(self) -> str:
        """replaced-token score."""
        return "replaced-token score"

    @property
    def by_words(self) -> bool:
        """False: each token is judged by itself."""
        return False

    def count_read(self, window: SentenceWindow) -> int:
        """How many tokens the model reads for a window."""
        return window.length

    @torch.inference_mode()
    def score_windows(self, windows: Sequence[SentenceWindow], sentences: int) -> SentenceScores:
        """The sums over the tokens: a row for each different window."""
        scores = SentenceScores(np.zeros(sentences), np.zeros(sentences, np.int64), 0)
        for group in group_windows(windows, self.tokenizer):
            rows, _, row_of_sentence = unique_rows(group.ids)
            parts = rows.split(max(1, self.batch // rows.shape[1]))
            logits = torch.cat([self.model.detection_logits(last_states(self.model, part)).cpu() for part in parts])
            logs = self.score_tokens(logits[:, 1:-1].float())[row_of_sentence][group.own]
            scores = add_group(scores, group, logs, len(rows))
        return scores

    def score_tokens(self, logits: Float[Tensor, "rows inner"]) -> Float[Tensor, "rows inner"]:
        """log P(original) of each token."""
        return F.logsigmoid(-logits)


@dataclass(frozen=True)
class Energies(ReplacedTokens):
    """−Σ f of an encoder that Electric trained: each a log-probability but for a constant (Clark et al. 2020, 2.3)."""

    @property
    def name(self) -> str:
        """minus energy."""
        return "minus energy"

    def score_tokens(self, logits: Float[Tensor, "rows inner"]) -> Float[Tensor, "rows inner"]:
        """Minus the energy of each token."""
        return -logits


def choose_scorer(
    model: Tower | WholeModelReader, tokenizer: Tokenizer, within_word: bool = False
) -> PseudoLogLikelihood | ReplacedTokens:
    """The score that a model's head can give.

    Raises:
        UserError: ``within_word`` of a discriminator, which masks nothing.
    """
    if isinstance(model, WholeModelReader):
        return PseudoLogLikelihood(model, tokenizer, within_word, WHOLE_BATCH)
    if isinstance(model.head, TokenHead):
        return PseudoLogLikelihood(model, tokenizer, within_word)
    if within_word:
        raise UserError("within-word is for models that predict masked tokens; this is a discriminator")
    return ReplacedTokens(model, tokenizer)


def load_scorer(folder: Path, device: torch.device, within_word: bool = False) -> PseudoLogLikelihood | ReplacedTokens:
    """The score of the model in a folder, on a device: a tower of ours, or a masked language model of transformers'.

    Raises:
        UserError: no model there, no tokenizer, or a model without a head for tokens.
    """
    where = find_encoder(folder)
    tokenizer = load_tokenizer(where)
    if read_model_type(where) in ("electra", "modernbert"):
        tower = huggingface.load_tower(where).to(device)
        electric = huggingface.read_objective(where) == "electric" and isinstance(tower.head, DetectionHead)
        if electric and not within_word:
            return Energies(tower, tokenizer)
        return choose_scorer(tower, tokenizer, within_word)
    model, loading = load_with_transformers(where, "AutoModelForMaskedLM", output_loading_info=True)
    if loading["missing_keys"]:
        missing = ", ".join(sorted(loading["missing_keys"])[:3])
        raise UserError(f"{where}: no masked language model: its weights lack {missing}")
    return choose_scorer(WholeModelReader(model).to(device), tokenizer, within_word)
