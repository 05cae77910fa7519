"""Every objective with both encoders, small enough for seconds, and a batch for it."""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from electra.dataset.batches import Batch
from electra.model.config import ClassicConfig, EncoderConfig, ModernConfig
from electra.objectives.build import OBJECTIVE_KINDS, CorpusFacts, Generated, Objective
from electra.objectives.pretrainer import Pretrainer

VOCABULARY, CLS, SEP, MASK, FIRST = 120, 2, 3, 4, 5
ENCODERS: dict[str, EncoderConfig] = {
    "classic": ClassicConfig(
        vocab_size=VOCABULARY, hidden_size=64, layers=2, heads=2, intermediate_size=64, embedding_size=32,
        max_positions=32,
    ),
    "modern": ModernConfig(
        vocab_size=VOCABULARY, hidden_size=64, layers=2, heads=2, intermediate_size=64, max_positions=32,
        local_window=16,
    ),
}  # fmt: skip
# The same for long rows, and dropout in both.
LONG = {
    name: replace(config, max_positions=1024, dropout=0.1, attention_dropout=0.1) for name, config in ENCODERS.items()
}
CORPUS = CorpusFacts(
    MASK, lambda: torch.arange(VOCABULARY) < 90, lambda: torch.arange(1, VOCABULARY + 1) / VOCABULARY / 60.5
)
EVERY = [(kind, encoder) for kind in OBJECTIVE_KINDS for encoder in ENCODERS]
NAMES = ["-".join(each) for each in EVERY]


def objective(kind: str, encoder: str, **settings: Any) -> Objective:
    """An objective as it is by default; a modern generator that is narrow has tables of its own."""
    found = replace(OBJECTIVE_KINDS[kind](), **settings)
    narrow = isinstance(found, Generated) and found.generator_width < 1
    return replace(found, embeddings="own") if narrow and encoder == "modern" else found


def build(
    asked: Objective, encoder: str = "classic", seed: int = 0, shapes: Mapping[str, EncoderConfig] = ENCODERS
) -> Pretrainer:
    """Its pre-trainer; the same seed gives what two objectives have in common the same weights."""
    torch.manual_seed(seed)
    return asked.build(shapes[encoder], CORPUS, seed=1)


def batch(rows: int = 8, length: int = 32, epoch: int = 0) -> Batch:
    """Full rows [CLS] … [SEP] of random tokens; the first is half padding."""
    ids = torch.randint(FIRST, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(0))
    ids[:, 0], ids[:, -1] = CLS, SEP
    ids[0, length // 2 - 1], ids[0, length // 2 :] = SEP, 0
    documents, at = (ids > 0).long(), torch.arange(rows, dtype=torch.int32)
    address = torch.stack([torch.full_like(at, epoch), 0 * at, at], 1)
    return Batch(ids, torch.arange(length).expand_as(ids) * documents, 0 * ids, documents, ids >= FIRST, address)


def packed(length: int) -> Batch:
    """Two rows: one long text, whose crop is of its end in this epoch, and several with padding behind them."""
    ids = torch.randint(FIRST, VOCABULARY, (2, length), generator=torch.Generator().manual_seed(length))
    starts = [[0, length], [0, length // 2, length // 2 + 7, 3 * length // 4, length - length // 10]]
    documents, positions = torch.zeros_like(ids), torch.zeros_like(ids)
    for row, edges in enumerate(starts):
        for number, (first, end) in enumerate(itertools.pairwise(edges), 1):
            documents[row, first:end], positions[row, first:end] = number, torch.arange(end - first)
            ids[row, first], ids[row, end - 1] = CLS, SEP
    at = torch.arange(2, dtype=torch.int32)
    ids = ids * (documents > 0)
    return Batch(ids, positions, 0 * ids, documents, ids >= FIRST, torch.stack([0 * at + 19, 0 * at, at], 1))


def loss(pretrainer: Pretrainer, rows: Batch, dropout: bool = True) -> tuple[Tensor, Mapping[str, Tensor]]:
    """The loss of a step of this batch alone, and its statistics."""
    divisors = {name: count.float() for name, count in pretrainer.counts(rows).items()}
    return pretrainer(rows, divisors, dropout)


def gradients(pretrainer: Pretrainer, rows: Batch, dropout: bool = True) -> dict[str, Tensor]:
    """By parameter, of that loss; those that it does not reach are left out."""
    loss(pretrainer, rows, dropout)[0].backward()
    return {name: p.grad for name, p in pretrainer.named_parameters() if p.grad is not None and p.grad.any()}
