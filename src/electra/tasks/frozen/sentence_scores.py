"""How good a sentence is: its pseudo-log-likelihood by a masked language model, its tokens' by a discriminator.

Both read ``[CLS] sentence [SEP]``, count no special token, and are sums over the tokens: the higher, the better.
Sentences of equal length go through the model together, so nothing is padded, and what several of them have in common
goes through it once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, Int64
from torch import Tensor
from torch.nn import functional as F

from electra import tokenization as vocabularies
from electra.errors import UserError
from electra.interchange import huggingface
from electra.interchange.encoders import Inputs, WholeModelReader
from electra.interchange.folders import find_encoder
from electra.interchange.transformers_models import load_with_transformers, read_model_type
from electra.model.encoder import Tower
from electra.model.heads import DetectionHead, TokenHead
from electra.tokenization import Tokenizer

BATCH = 2048  # tokens that a model reads at once; 1,024 to 4,096 are equally fast on a core
WHOLE_BATCH = 1024  # the same where logits come for every token: 1 GB with XLM-R's vocabulary
HELD = 1 << 22  # ids of masked rows that are held at once: 32 MB


class UnreadableSentence(UserError):
    """A sentence that has no score; ``index`` is its place among those that were given."""

    def __init__(self, index: int, problem: str):
        super().__init__(problem)
        self.index = index


class SentenceScores(NamedTuple):
    """Of each sentence its score (a sum, in nats) and its tokens; ``rows`` went through the model for all of them."""

    sums: Float64[np.ndarray, " sentences"]
    tokens: Int64[np.ndarray, " sentences"]
    rows: int


@runtime_checkable
class Scorer(Protocol):
    """A score of sentences."""

    @property
    def name(self) -> str:
        """The score as a paper calls it."""

    def read(self, sentences: Sequence[str]) -> SentenceScores:
        """The scores and what they were made of.

        Raises:
            Unreadable: a sentence without tokens, or with more than the model reads.
        """

    def scores(self, sentences: Sequence[str]) -> Float64[np.ndarray, " sentences"]:
        """The scores alone."""


@dataclass(frozen=True)
class PseudoLogLikelihood:
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
        """See ``Scorer``."""
        return "pseudo-log-likelihood" + ", within-word" * self.within_word

    @torch.inference_mode()
    def read(self, sentences: Sequence[str]) -> SentenceScores:
        """See ``Scorer``."""
        found = SentenceScores(np.zeros(len(sentences)), np.zeros(len(sentences), np.int64), 0)
        for group in group_sentences(sentences, self.tokenizer, sentence_limit(self.model), self.within_word):
            rows, at, row_of = mask_each_token(group, self.tokenizer.ids["mask"])
            logs = self.logs(rows, at, row_of, group.ids[:, 1:-1].reshape(-1))
            found = add_group(found, group, logs, len(rows))
        return found

    def scores(self, sentences: Sequence[str]) -> Float64[np.ndarray, " sentences"]:
        """See ``Scorer``."""
        return self.read(sentences).sums

    def logs(
        self,
        rows: Int[Tensor, "rows length"],
        at: Int[Tensor, " rows"],
        row_of: Int[Tensor, " tokens"],
        targets: Int[Tensor, " tokens"],
    ) -> Float[Tensor, " tokens"]:
        """log P of each target at the place that its row asks for."""
        order = row_of.argsort(stable=True)
        ordered, logs = row_of[order], torch.empty(len(targets))
        for start in range(0, len(rows), size := max(1, self.batch // rows.shape[1])):
            logits = predict_at(self.model, rows[start : start + size], at[start : start + size])
            first, last = torch.searchsorted(ordered, torch.tensor([start, start + size])).tolist()
            those = order[first:last]
            which, target = (row_of[those] - start).to(logits.device), targets[those].to(logits.device)
            logs[those] = (logits[which, target] - logits.logsumexp(1)[which]).cpu()
        return logs


@dataclass(frozen=True)
class ReplacedTokens:
    """Σ log P(original) = Σ log σ(−logit) of a discriminator that reads the sentence as it is, once."""

    model: Tower
    tokenizer: Tokenizer
    batch: int = BATCH

    @property
    def name(self) -> str:
        """See ``Scorer``."""
        return "replaced-token score"

    @torch.inference_mode()
    def read(self, sentences: Sequence[str]) -> SentenceScores:
        """See ``Scorer``."""
        found = SentenceScores(np.zeros(len(sentences)), np.zeros(len(sentences), np.int64), 0)
        for group in group_sentences(sentences, self.tokenizer, sentence_limit(self.model), words=False):
            rows, _, row_of = unique_rows(group.ids)
            parts = rows.split(max(1, self.batch // rows.shape[1]))
            logits = torch.cat([self.model.detection_logits(last_states(self.model, part)).cpu() for part in parts])
            found = add_group(found, group, self.logs(logits[:, 1:-1].float())[row_of].reshape(-1), len(rows))
        return found

    def logs(self, logits: Float[Tensor, "rows inner"]) -> Float[Tensor, "rows inner"]:
        """The score of each token."""
        return F.logsigmoid(-logits)

    def scores(self, sentences: Sequence[str]) -> Float64[np.ndarray, " sentences"]:
        """See ``Scorer``."""
        return self.read(sentences).sums


@dataclass(frozen=True)
class Energies(ReplacedTokens):
    """−Σ f of an encoder that Electric trained: each a log-probability but for a constant (Clark et al. 2020, 2.3)."""

    @property
    def name(self) -> str:
        """See ``Scorer``."""
        return "minus energy"

    def logs(self, logits: Float[Tensor, "rows inner"]) -> Float[Tensor, "rows inner"]:
        """See ``ReplacedTokens``."""
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
    tokenizer = vocabularies.load_tokenizer(where)
    if read_model_type(where) in ("electra", "modernbert"):
        tower = huggingface.load_tower(where).to(device)
        if (
            huggingface.read_objective(where) == "electric"
            and isinstance(tower.head, DetectionHead)
            and not within_word
        ):
            return Energies(tower, tokenizer)
        return choose_scorer(tower, tokenizer, within_word)
    model, said = load_with_transformers(where, "AutoModelForMaskedLM", output_loading_info=True)
    if said["missing_keys"]:
        missing = ", ".join(sorted(said["missing_keys"])[:3])
        raise UserError(f"{where}: no masked language model: its weights lack {missing}")
    return choose_scorer(WholeModelReader(model).to(device), tokenizer, within_word)


class SentenceGroup(NamedTuple):
    """Sentences of one length with [CLS] and [SEP]; ``at``: their places; ``words``: which word each token is of."""

    at: Int64[np.ndarray, " sentences"]
    ids: Int[Tensor, "sentences length"]
    words: Int[Tensor, "sentences inner"]


def group_sentences(sentences: Sequence[str], tokenizer: Tokenizer, most: int, words: bool) -> Iterator[SentenceGroup]:
    """The sentences by their number of tokens, few at a time where they are long; without ``words`` a token is a word.

    Raises:
        Unreadable: a sentence without tokens, or with more than ``most``.
    """
    special, backend = tokenizer.ids, tokenizer.backend
    encode = backend.encode_batch if words else backend.encode_batch_fast  # the fast one forgets the words
    encodings = encode(list(sentences), add_special_tokens=False)
    lengths = np.array([len(encoding.ids) for encoding in encodings], np.int64)
    for index in np.flatnonzero((lengths == 0) | (lengths > most))[:1].tolist():
        problem = f"{lengths[index]:,} tokens, but the model reads {most:,}" if lengths[index] else "no token"
        raise UnreadableSentence(index, f"{problem}: {sentences[index][:60]!r}")
    for length in np.unique(lengths).tolist():
        same = np.flatnonzero(lengths == length)
        for at in np.split(same, range(0, len(same), max(1, HELD // (length * (length + 2))))[1:]):
            inner = torch.tensor([encodings[index].ids for index in at])
            ids = F.pad(F.pad(inner, (1, 0), value=special["cls"]), (0, 1), value=special["sep"])
            each = [encodings[index].word_ids for index in at] if words else [list(range(length))] * len(at)
            yield SentenceGroup(at, ids, torch.tensor(each))


def mask_each_token(
    group: SentenceGroup, mask: int
) -> tuple[Int[Tensor, "rows length"], Int[Tensor, " rows"], Int[Tensor, " tokens"]]:
    """Each row that a token of the group needs, once; the place that is asked for; and of each token its row.

    The place is the first that is masked, so a row belongs to one place whatever sentences it comes from.
    """
    inner = torch.arange(group.words.shape[1])
    later = inner[None, :] >= inner[:, None]
    covered = (group.words[:, :, None] == group.words[:, None, :]) & later
    rows = torch.where(F.pad(covered, (1, 1)), mask, group.ids[:, None, :]).flatten(0, 1)
    rows, first, row_of = unique_rows(rows)
    return rows, first % len(inner) + 1, row_of


def unique_rows(
    rows: Int[Tensor, "all length"],
) -> tuple[Int[Tensor, "rows length"], Int[Tensor, " rows"], Int[Tensor, " all"]]:
    """The rows without repetitions, where each stands first, and which of them every row is."""
    whole = np.ascontiguousarray(rows.numpy().astype(">u4")).view(f"V{4 * rows.shape[1]}").reshape(-1)
    _, first, row_of = np.unique(whole, return_index=True, return_inverse=True)
    return rows[torch.from_numpy(first)], torch.from_numpy(first), torch.from_numpy(row_of)


def add_group(found: SentenceScores, group: SentenceGroup, logs: Float[Tensor, " tokens"], rows: int) -> SentenceScores:
    """``found`` with the sums of a group."""
    inner = group.words.shape[1]
    found.sums[group.at] = logs.double().reshape(-1, inner).sum(1).numpy()
    found.tokens[group.at] = inner
    return found._replace(rows=found.rows + rows)


def sentence_limit(model: Tower | WholeModelReader) -> int:
    """The most tokens of a sentence, [CLS] and [SEP] not counted."""
    return (model.config.max_positions if isinstance(model, Tower) else model.longest) - 2


def predict_at(
    model: Tower | WholeModelReader, rows: Int[Tensor, "rows length"], at: Int[Tensor, " rows"]
) -> Float[Tensor, "rows vocab"]:
    """Float32 logits at one place of each row."""
    if isinstance(model, Tower):
        states = last_states(model, rows)
        return model.token_logits(pick_per_row(states, at))
    (logits,) = model.hidden_states(unpadded_inputs(model, rows), None)
    return pick_per_row(logits, at).float()


def pick_per_row(values: Float[Tensor, "rows length size"], at: Int[Tensor, " rows"]) -> Float[Tensor, "rows size"]:
    """Those at one place of each row."""
    return values[torch.arange(len(values), device=values.device), at.to(values.device)]


def last_states(tower: Tower, rows: Int[Tensor, "rows length"]) -> Float[Tensor, "rows length hidden"]:
    """The tower's last states of rows without padding."""
    return tower.hidden(*unpadded_inputs(tower, rows))


def unpadded_inputs(model: Tower | WholeModelReader, rows: Int[Tensor, "rows length"]) -> Inputs:
    """The rows without padding as the model reads them, where it is."""
    ids = rows.to(next(model.parameters()).device)
    positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    return Inputs(ids, positions, torch.zeros_like(ids), torch.ones_like(ids))
