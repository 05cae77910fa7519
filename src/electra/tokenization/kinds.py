"""The kinds of vocabulary that can be trained, and how text is normalised and cut into words for each."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from electra.tokenization.tokenizer import SPECIAL_TOKENS

TokenizerKind = Literal["word-piece", "byte-bpe", "unigram"]
Normalization = Literal["none", "nfc", "nfkc"]


@dataclass(frozen=True)
class Spelling:
    """How text is normalised before it is cut. Saved with the tokenizer."""

    lower_case: bool = True
    strip_accents: bool = True
    normalization: Normalization = "none"


def build_word_pieces(model: models.Model, spelling: Spelling) -> tokenizers.Tokenizer:
    """BERT's normalisation and cutting into words for a WordPiece model."""
    backend = tokenizers.Tokenizer(model)
    bert = normalizers.BertNormalizer(lowercase=spelling.lower_case, strip_accents=spelling.strip_accents)
    backend.normalizer = normalizers.Sequence([*UNICODE_FORMS[spelling.normalization], bert])
    if spelling.normalization == "none":
        backend.normalizer = bert  # as BERT's own files say it
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    return backend


def build_byte_pairs(model: models.Model, spelling: Spelling) -> tokenizers.Tokenizer:
    """Byte-level words, each with the space before it, for a BPE model (GPT-2, RoBERTa): nothing is unknown."""
    backend = tokenizers.Tokenizer(model)
    backend.normalizer = build_normalizer(spelling)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.decoder = decoders.ByteLevel()
    return backend


def build_sentence_pieces(model: models.Model, spelling: Spelling) -> tokenizers.Tokenizer:
    """Words with a mark for the space before them, for a Unigram model (SentencePiece): text may have no spaces."""
    backend = tokenizers.Tokenizer(model)
    backend.normalizer = build_normalizer(spelling)
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    return backend


def build_normalizer(spelling: Spelling) -> normalizers.Normalizer:
    """The normalizer that ``spelling`` describes."""
    strip_accents = [normalizers.NFD(), normalizers.StripAccents(), normalizers.NFC()] * spelling.strip_accents
    lower_case = [normalizers.Lowercase()] * spelling.lower_case
    return normalizers.Sequence([*UNICODE_FORMS[spelling.normalization], *strip_accents, *lower_case])


UNICODE_FORMS: dict[Normalization, list[normalizers.Normalizer]] = {
    "none": [],
    "nfc": [normalizers.NFC()],
    "nfkc": [normalizers.NFKC()],
}
ALPHABET = pre_tokenizers.ByteLevel.alphabet()
# Kind → how its model, its trainer, and its backend of a model and a spelling are made.
TOKENIZER_KINDS: dict[
    TokenizerKind,
    tuple[
        Callable[[], models.Model],
        Callable[..., trainers.Trainer],
        Callable[[models.Model, Spelling], tokenizers.Tokenizer],
    ],
] = {
    "word-piece": (
        partial(models.WordPiece, unk_token=SPECIAL_TOKENS["unk"]),
        partial(trainers.WordPieceTrainer, min_frequency=2),
        build_word_pieces,
    ),
    "byte-bpe": (
        partial(models.BPE, unk_token=SPECIAL_TOKENS["unk"]),
        partial(trainers.BpeTrainer, min_frequency=2, initial_alphabet=ALPHABET),
        build_byte_pairs,
    ),
    "unigram": (
        models.Unigram,
        partial(trainers.UnigramTrainer, unk_token=SPECIAL_TOKENS["unk"]),
        build_sentence_pieces,
    ),
}
