"""Rows of a table for another vocabulary."""

from pathlib import Path

import pytest
import torch

from electra.interchange.new_vocabulary import NewVocabulary, match_vocabularies
from electra.tokenization.loading import load_tokenizer
from electra.tokenization.tokenizer import SPECIAL_TOKENS, Tokenizer
from electra.tokenization.training import train_tokenizer

LETTERS = [f"{mark}{letter}" for letter in "aeghinrst" for mark in ("", "##")]
WORDS = {"old": ["the", "string", "##s", "re", "##turn"], "new": ["string", "the", "strings", "##ing", "returns", "Ω"]}
TEXTS = ["the strings are returned", "the string returns", "a test is a test"] * 3


def word_pieces(folder: Path, name: str) -> Tokenizer:
    special = list(SPECIAL_TOKENS.values())
    tokens = dict.fromkeys([*(special if name == "old" else special[::-1]), *LETTERS, *WORDS[name]])
    (folder / name).write_text("\n".join(tokens), encoding="utf-8")
    return load_tokenizer(folder / name)


def parts_of(old: Tokenizer, new: Tokenizer) -> dict[str | None, list[str | None]]:
    """New token → the old ones whose mean it is."""
    matched = match_vocabularies(old, new)
    assert matched is not None
    names = {index: token for token, index in old.backend.get_vocab(with_added_tokens=True).items()}
    return {new.backend.id_to_token(i): [names[each] for each in parts] for i, parts in enumerate(matched.parts)}


def test_equal_pieces_keep_their_rows_and_others_are_means_of_their_parts(tmp_path: Path) -> None:
    old, new = word_pieces(tmp_path, "old"), word_pieces(tmp_path, "new")
    parts = parts_of(old, new)
    for token in (*SPECIAL_TOKENS.values(), *LETTERS, "the", "string"):
        assert parts[token] == [token]
    assert parts["strings"] == ["string", "##s"]
    assert parts["##ing"] == ["##i", "##n", "##g"], "within a word, as it stands"
    assert parts["Ω"] == []
    assert match_vocabularies(old, old) is None
    matched = match_vocabularies(old, new)
    assert matched is not None
    table, fresh = torch.randn(old.size, 4), torch.randn(new.size, 4)
    rows = matched.make_rows(table, fresh)
    ids, old_ids = new.backend.token_to_id, old.backend.token_to_id
    assert torch.equal(rows[ids("the")], table[old_ids("the")]) and torch.equal(rows[ids("Ω")], fresh[ids("Ω")])
    assert torch.allclose(rows[ids("strings")], table[[old_ids("string"), old_ids("##s")]].mean(0))
    biases = matched.make_rows(table[:, 0], fresh[:, 0])
    assert torch.equal(biases, rows[:, 0])
    assert "25 of 29 tokens (86%)" in matched.describe() and "3 begin as the mean" in matched.describe()
    assert ", 1 are fresh" in matched.describe()


@pytest.mark.parametrize("kinds", [("word-piece", "byte-bpe"), ("byte-bpe", "unigram"), ("unigram", "word-piece")])
def test_tokens_are_compared_as_they_read_across_kinds(kinds) -> None:
    old, new = (train_tokenizer(TEXTS, 320 if kind == "byte-bpe" else 45, kind) for kind in kinds)
    matched = match_vocabularies(old, new)
    assert isinstance(matched, NewVocabulary) and matched.kept >= 10
    made = [part for each in new.encode([" the"])[0] for part in matched.parts[each]]
    assert old.backend.decode(made).replace(" ", "") == "the"
