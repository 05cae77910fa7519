"""Words that are tokenized once: the tokens of every line are the tokenizer's own, whatever stands in it."""

import itertools
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, normalizers, pre_tokenizers, trainers

from electra.corpus import words
from electra.corpus.words import LONG_LINE, LONGEST_WORD, CachingTokenizer, group_by_size
from electra.tokenization.kinds import TOKENIZER_KINDS, Spelling
from electra.tokenization.tokenizer import SPECIAL_TOKENS, Tokenizer, finish_tokenizer
from electra.tokenization.training import train_tokenizer

TEXTS = [
    "The chef ate the meal. The CHEF cooked; a chef's meal isn't a cook's!",
    "Crème brûlée, naïve cafés (in 1987), 3.5 kg & 100 % of the ﬁlm: it's they're we'll I'd",
    "北京的厨师吃了饭。東京の料理人はご飯を食べた。 中文 and English",
    "พ่อครัวกินอาหาร แม่ครัวทำอาหาร อาหารไทย",
    "Повар съел обед, а другой повар готовил. ΟΔΟΣ οδός ΣΑΣ",
    "if x[0] != y_1: return {'a': \"b\"}  # a\tb  c",
    "    def  a(  b ):   return    a     # the pieces of many spaces make a token",
] * 3
SPELLINGS = [
    Spelling(*each) for each in itertools.product((True, False), (True, False), ("none", "nfc", "nfkc"))
]  # fmt: skip


def named(tokenizer: tokenizers.Tokenizer) -> Tokenizer:
    """One made by hand, trained on the texts."""
    special = list(SPECIAL_TOKENS.values())
    chosen = {
        "BPE": lambda: trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False),
        "Unigram": lambda: trainers.UnigramTrainer(
            vocab_size=300, special_tokens=special, unk_token="[UNK]", show_progress=False
        ),
        "WordLevel": lambda: trainers.WordLevelTrainer(special_tokens=special, show_progress=False),
        "WordPiece": lambda: trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False),
    }[type(tokenizer.model).__name__]
    tokenizer.train_from_iterator(TEXTS, chosen())
    return finish_tokenizer(tokenizer, SPECIAL_TOKENS)


def by_hand(
    model: models.Model, pre: object = None, normalizer: object = None, added: Sequence[str] = ()
) -> Callable[[], Tokenizer]:
    """What makes a tokenizer of these parts."""

    def made() -> Tokenizer:
        backend = tokenizers.Tokenizer(model)
        if pre is not None:
            backend.pre_tokenizer = pre
        if normalizer is not None:
            backend.normalizer = normalizer
        backend = named(backend).backend
        backend.add_tokens(list(added))
        return finish_tokenizer(backend, SPECIAL_TOKENS)

    return made


def bpe() -> models.Model:
    return models.BPE(unk_token="[UNK]")


def bert(**changes: bool) -> normalizers.Normalizer:
    return normalizers.BertNormalizer(**changes)


def both(*parts: pre_tokenizers.PreTokenizer) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(list(parts))


def one_after_another(*parts: normalizers.Normalizer) -> normalizers.Normalizer:
    return normalizers.Sequence(list(parts))


STRIPPED = one_after_another(normalizers.NFKD(), normalizers.StripAccents())
BYTES = pre_tokenizers.ByteLevel
MARKS = pre_tokenizers.Metaspace
UNCUT = {
    "a split of its own": by_hand(bpe(), pre_tokenizers.Split(" a", "isolated")),
    "letters and spaces together": by_hand(bpe(), pre_tokenizers.Split(tokenizers.Regex(r"\w+ \w+"), "isolated")),
    "no pre-tokenizer": by_hand(bpe()),
    "digits alone": by_hand(bpe(), pre_tokenizers.Digits(individual_digits=True)),
    "a replacement across spaces": by_hand(bpe(), BYTES(), normalizers.Replace("e a", "ea")),
    "an added token with a space": by_hand(
        models.WordPiece(unk_token="[UNK]"), pre_tokenizers.BertPreTokenizer(), added=["chef ate"]
    ),
    "bytes without words": by_hand(bpe(), BYTES(use_regex=False)),
    "marks without words": by_hand(models.Unigram(), MARKS(split=False)),
    "spaces kept and dropped": by_hand(bpe(), both(pre_tokenizers.WhitespaceSplit(), MARKS())),
    "a mark before all": by_hand(models.Unigram(), MARKS(), normalizers.Prepend("▁")),
    "bytes as BERT spells": by_hand(bpe(), BYTES(), bert()),
    "bytes and marks": by_hand(bpe(), both(BYTES(), MARKS(prepend_scheme="first"))),
    "stripped ends": by_hand(bpe(), BYTES(add_prefix_space=False), normalizers.Strip()),
}
CUT = {
    "GPT-2": by_hand(bpe(), BYTES(add_prefix_space=False)),
    "GPT-2 with a space first": by_hand(bpe(), BYTES(add_prefix_space=True)),
    "GPT-2 without accents": by_hand(bpe(), BYTES(add_prefix_space=False), STRIPPED),
    "GPT-2 in NFKD, lower case": by_hand(
        bpe(), BYTES(add_prefix_space=False), one_after_another(normalizers.NFKD(), normalizers.Lowercase())
    ),
    "digits, then bytes": by_hand(bpe(), both(pre_tokenizers.Digits(individual_digits=True), BYTES())),
    "digits, then bytes, no space first": by_hand(
        bpe(), both(pre_tokenizers.Digits(individual_digits=True), BYTES(add_prefix_space=False))
    ),
    "marks at the first word": by_hand(models.Unigram(), MARKS(prepend_scheme="first")),
    "marks never added": by_hand(models.Unigram(), MARKS(prepend_scheme="never")),
    "marks and digits": by_hand(models.Unigram(), both(MARKS(prepend_scheme="first"), pre_tokenizers.Digits(True))),
    "digits and marks": by_hand(models.Unigram(), both(pre_tokenizers.Digits(True), MARKS(prepend_scheme="first"))),
    "marks without accents": by_hand(models.Unigram(), MARKS(), STRIPPED),
    "marks as BERT spells": by_hand(models.Unigram(), MARKS(), bert()),
    "words at white space": by_hand(models.WordLevel(unk_token="[UNK]"), pre_tokenizers.WhitespaceSplit()),
    "words and signs": by_hand(models.WordLevel(unk_token="[UNK]"), pre_tokenizers.Whitespace(), STRIPPED),
    "words, signs, digits": by_hand(
        models.WordPiece(unk_token="[UNK]"),
        both(pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Digits(True)),
        bert(),
    ),
    "BERT without Chinese characters apart": by_hand(
        models.WordPiece(unk_token="[UNK]"), pre_tokenizers.BertPreTokenizer(), bert(handle_chinese_chars=False)
    ),
    "BERT without clean text": by_hand(
        models.WordPiece(unk_token="[UNK]"), pre_tokenizers.BertPreTokenizer(), bert(clean_text=False)
    ),
}
TRAINED = {
    f"{kind} {spelling.lower_case:d}{spelling.strip_accents:d} {spelling.normalization}": (
        lambda kind=kind, spelling=spelling: train_tokenizer(TEXTS, 500, kind, spelling)
    )
    for kind in TOKENIZER_KINDS
    for spelling in SPELLINGS
}
MADE: dict[str, Callable[[], Tokenizer]] = TRAINED | CUT | UNCUT


@cache
def encoder(name: str) -> CachingTokenizer:
    """One for each tokenizer, which knows the words of all examples before."""
    return CachingTokenizer(MADE[name]())


def expected(tokenizer: Tokenizer, document: str) -> list[list[int]]:
    """The tokens of each line that has any."""
    lines = [line.removesuffix("\r") for line in document.split("\n") if line and not line.isspace()]
    return [tokens for tokens in tokenizer.encode(lines) if tokens]


def read(encoder: CachingTokenizer, documents: Sequence[str]) -> list[list[list[int]]]:
    """The tokens of each unit of each document."""
    return [
        [unit.tolist() for unit in np.split(units.tokens, units.ends[:-1])] if units else []
        for units in encoder.encode_documents(list(documents))
    ]


WHITE = [" ", " ", "  ", "   ", "\t", "\n", "\r\n", "\r", "\x0b", "\x1c", "\x85", "\xa0", "\u2003", "\u2028", "\u3000"]
MARKS_AND_NOTHINGS = [
    "\u0301",
    "\u0308",
    "\u0338",
    "\u0345",
    "\x00",
    "\x7f",
    "\xad",
    "\u200b",
    "\u200d",
    "\ufeff",
    "\ufffd",
]
TURN_TO_SPACES = [
    "´",
    "¨",
    "¯",
    "¸",
    "ͺ",
    "΄",
    "\ufc5e",
    "\ufe70",
    "\ufdfa",
]  # NFKC: a space and a mark, or several words
LETTERS = ["a", "e", "s", "t", "the", "chef", "The", "CHEF", "é", "İ", "ß", "ﬁ", "ΟΔΟΣ", "Σ", "повар", "Ǆ", "Å", "가"]
SIGNS = [
    *"'!,.-_/()<=[]{}#$&*~`^|",
    "’",
    "…",
    "''",
    "'s",
    "'t",
    "'re",
    "'ll",
    "'LL",
    '"',
    "##",
    "▁",
    "Ġ",
    "<s>",
    "[MASK]",
    "[SEP]",
]
DIGITS = [*"0129", "1987", "²", "½", "٣", "１"]
OTHERS = ["中", "北京", "吃", "の", "ご", "ไทย", "ำ", "แม่", "อาหาร", "🙂", "👩\u200d🍳", "\U0002f800", "\U000e0041"]
ATOMS = [WHITE, MARKS_AND_NOTHINGS, TURN_TO_SPACES, LETTERS, SIGNS, DIGITS, OTHERS]

anything = st.text(max_size=80)
rich = st.lists(st.one_of(*(st.sampled_from(atoms) for atoms in [*ATOMS, WHITE])), max_size=30).map("".join)
signs = st.lists(st.sampled_from([*SIGNS, *DIGITS, *LETTERS[:4], " "]), max_size=30).map("".join)
spaces = st.lists(st.sampled_from([*WHITE, *MARKS_AND_NOTHINGS, *TURN_TO_SPACES, "a", "."]), max_size=30).map("".join)
documents = st.lists(st.one_of(anything, rich, signs, spaces), min_size=1, max_size=4)


@pytest.mark.parametrize("name", MADE)
@settings(max_examples=40, deadline=None)
@given(documents)
def test_units_hold_the_tokens_that_the_tokenizer_gives_each_line(name: str, texts: list[str]) -> None:
    known = encoder(name)
    each = [expected(known.tokenizer, text) for text in texts]
    assert read(known, texts) == each
    assert [read(known, [text])[0] for text in texts] == each


@pytest.mark.parametrize("name", ["word-piece 11 none", "byte-bpe 11 nfkc", "unigram 00 none", "no pre-tokenizer"])
@settings(max_examples=40, deadline=None)
@given(documents)
def test_words_may_be_forgotten_at_any_time(name: str, texts: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(words, "CACHE_BYTES", 0)
        known = CachingTokenizer(encoder(name).tokenizer)
        for _ in range(2):
            assert read(known, texts) == [expected(known.tokenizer, text) for text in texts]
            assert len(known.known) <= sum(map(len, texts)) + 1


@pytest.mark.parametrize("name", [*TRAINED, *CUT])
def test_known_words_are_not_tokenized_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = CachingTokenizer(encoder(name).tokenizer)
    assert known.cut is not None
    first = known.encode_documents(TEXTS)
    before = dict(known.known)
    given: list[str] = []
    encode = Tokenizer.encode
    monkeypatch.setattr(Tokenizer, "encode", lambda self, texts: given.extend(texts) or encode(self, texts))
    assert known.encode_documents(TEXTS[::-1]) == first[::-1] and not given
    assert known.known == before
    known.encode_documents(["The chef ate unseen the"])
    assert [text.strip() for text in given] == ["unseen"]


@pytest.mark.parametrize("name", UNCUT)
def test_a_tokenizer_that_may_look_across_spaces_is_given_whole_lines(name: str) -> None:
    known = encoder(name)
    assert known.cut is None
    known.encode_documents(TEXTS)
    assert not known.known


def test_signs_are_cut_from_words_so_that_fewer_are_new() -> None:
    known = encoder("word-piece 11 none")
    known.encode_documents(["(chef), chef; chef: 'chef' chef?!"])
    assert {"chef", "(", "),", ";", "?!"} <= known.known.keys()


# Long lines ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TOKENIZER_KINDS)
@pytest.mark.parametrize("gap", [" ", "  ", " \t ", " \u3000"])
def test_a_long_line_is_cut_at_spaces_and_keeps_its_tokens(kind: str, gap: str) -> None:
    known = encoder(f"{kind} 11 none")
    line = gap.join(["the", "chef", "ate", "a", "meal,"] * 10_000)
    (units,) = read(known, [line])
    assert len(units) == pytest.approx(len(line) / LONG_LINE, abs=2)
    assert [token for unit in units for token in unit] == known.tokenizer.encode([line])[0]
    parts = list(words.cut_line(line))
    assert "".join(parts) == line and all(LONG_LINE <= len(part) < LONG_LINE + 20 for part in parts[:-1])


@pytest.mark.parametrize("kind", TOKENIZER_KINDS)
def test_a_million_characters_with_spaces(kind: str) -> None:
    known = encoder(f"{kind} 10 nfc")
    line = " ".join(TEXTS) * (1_000_000 // len(" ".join(TEXTS)) + 1)
    (units,) = read(known, [line])
    assert [token for unit in units for token in unit] == known.tokenizer.encode([line])[0]


@pytest.mark.parametrize("word", ["x", "chef,", "中", "é", "x\u0301"])
@pytest.mark.parametrize("length", [LONG_LINE, 10**6, LONGEST_WORD])
def test_a_million_characters_without_a_space(word: str, length: int) -> None:
    known = encoder("word-piece 10 nfc")
    line = (word * length)[:length]
    assert read(known, [line]) == [expected(known.tokenizer, line)]


def test_more_characters_without_a_space_are_cut_and_none_is_lost() -> None:
    line = "chef," * 500_000
    assert "".join(words.cut_line(line)) == line
    assert [len(part) for part in words.cut_line(line)] == [LONGEST_WORD, LONGEST_WORD, len(line) - 2 * LONGEST_WORD]
    known = encoder("byte-bpe 00 none")
    (units,) = read(known, ["x" + " y" * 3 + line[:100_000]])
    assert units == expected(known.tokenizer, "x" + " y" * 3 + line[:100_000])


# Ids -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "dtype"), [(1 << 16, np.uint16), ((1 << 16) + 1, np.uint32)])
def test_ids_take_two_bytes_where_they_fit(count: int, dtype: type) -> None:
    vocabulary = {word: index for index, word in enumerate([*SPECIAL_TOKENS.values(), *map(str, range(count - 5))])}
    backend = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    known = CachingTokenizer(finish_tokenizer(backend, SPECIAL_TOKENS))
    assert known.dtype == dtype
    assert read(known, [f"0 {count - 6} new"]) == [[[5, count - 1, 1]]]


def test_items_are_grouped_by_their_sizes() -> None:
    assert list(group_by_size(["a", "bbb", "cc", "dddddd", "e"], len, 4)) == [["a", "bbb"], ["cc", "dddddd"], ["e"]]
    assert list(group_by_size([], len, 4)) == []
