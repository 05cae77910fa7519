"""Rows of a table of embeddings for another vocabulary: those of equal pieces are kept, others made of parts."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from tokenizers import decoders
from torch import Tensor
from torch.nn import functional as F

from electra.tokenization.tokenizer import Tokenizer

UNREADABLE = "\N{REPLACEMENT CHARACTER}"  # what bytes that are no whole character are decoded to


class TokenText(NamedTuple):
    """A token as it reads in a text, whatever marks its vocabulary writes. ``begins``: it stands at a word's begin."""

    text: str
    begins: bool


@dataclass(frozen=True)
class NewVocabulary:
    """How the rows of a table become those of another vocabulary.

    ``parts``: of each new id the old ones whose mean its row is; of none a row stays fresh. ``kept``: how many new
    tokens are old ones, whose rows stay as they are.
    """

    parts: list[list[int]]
    kept: int

    def make_rows(self, rows: Tensor, fresh: Tensor) -> Tensor:
        """The new table, float32, from the old one's ``rows``; or the biases of the tokens. ``fresh``: the new one with
        initial weights."""
        flat = torch.tensor([old for parts in self.parts for old in parts])
        starts = torch.tensor([0, *(len(parts) for parts in self.parts)]).cumsum(0)[:-1]
        means = F.embedding_bag(flat, rows.float().reshape(len(rows), -1), starts, mode="mean").view_as(fresh)
        empty = torch.tensor([not parts for parts in self.parts]).view(-1, *[1] * (fresh.dim() - 1))
        return torch.where(empty, fresh.detach().float().cpu(), means)

    def describe(self) -> str:
        """One line: how much of the new vocabulary was carried over."""
        count, fresh = len(self.parts), sum(not parts for parts in self.parts)
        return (
            f"{self.kept:,} of {count:,} tokens ({self.kept / count:.0%}) are in the old vocabulary too and keep their "
            f"rows, {count - self.kept - fresh:,} begin as the mean of their parts in it, {fresh:,} are fresh"
        )


def match_vocabularies(old: Tokenizer, new: Tokenizer) -> NewVocabulary | None:
    """How the rows of ``old`` become those of ``new``; None if both give every token the same id.

    Special tokens match by what they are for. Other tokens match if they read the same and both begin a word or both do
    not; else they are what the old tokenizer makes of their text, without what it does not know.
    """
    vocabulary = new.backend.get_vocab(with_added_tokens=True)
    if vocabulary == old.backend.get_vocab(with_added_tokens=True):
        return None
    parts: list[list[int]] = [[] for _ in range(new.size)]
    old_pieces, new_pieces = read_pieces(old), read_pieces(new)
    old_ids = {piece: index for index, piece in sorted(old_pieces.items(), reverse=True)}
    for name, index in new.ids.items():
        parts[index] = [old.ids[name]] if name in old.ids else []
    for index, piece in new_pieces.items():
        parts[index] = [old_ids[piece]] if piece in old_ids else []
    kept = sum(map(bool, parts))
    others = {index: piece for index, piece in new_pieces.items() if not parts[index] and UNREADABLE not in piece.text}
    encoded = old.encode([" " * piece.begins + piece.text for piece in others.values()])
    for (index, piece), ids in zip(others.items(), encoded, strict=True):
        known = [each for each in ids if each in old_pieces]
        if known and ids[0] == known[0]:  # the first part, at a word's begin or not as the new token is
            first = old_pieces[known[0]]
            known[0] = old_ids.get(TokenText(first.text, piece.begins), known[0])
        parts[index] = known
    return NewVocabulary(parts, kept)


def read_pieces(tokenizer: Tokenizer) -> dict[int, TokenText]:
    """Each token by its id, special ones left out."""
    parts = json.loads(tokenizer.backend.to_str())
    prefix = parts["model"].get("continuing_subword_prefix")
    bytes_of = decoders.ByteLevel() if names_type(parts["pre_tokenizer"], "ByteLevel") else None
    special, pieces = set(tokenizer.ids.values()), {}
    for token, index in tokenizer.backend.get_vocab(with_added_tokens=True).items():
        if index in special:
            continue
        if prefix:
            pieces[index] = TokenText(token.removeprefix(prefix), not token.startswith(prefix))
            continue
        text = bytes_of.decode([token]) if bytes_of else token.replace("▁", " ")
        text = text if UNREADABLE not in text else f"{UNREADABLE}{token}"
        pieces[index] = TokenText(text.removeprefix(" "), text.startswith(" "))
    return pieces


def names_type(part: Mapping[str, Any] | None, kind: str) -> bool:
    """Whether a pre-tokenizer, as tokenizer.json describes it, is of a kind or has one of it within."""
    if not part:
        return False
    return part.get("type") == kind or any(names_type(each, kind) for each in part.get("pretokenizers", ()))
