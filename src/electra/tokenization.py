"""Tokenizers: trained on texts, or loaded; saved so that ``AutoTokenizer`` loads them."""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Literal

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from electra.characters import (
    blank_characters,
    copy_texts,
    count_characters,
    find_character_tokens,
    list_rarest_characters,
    read_copy,
)
from electra.errors import UserError, convert_errors

TokenizerKind = Literal["word-piece", "byte-bpe", "unigram"]
Normalization = Literal["none", "nfc", "nfkc"]
SMALLEST_SIZES: dict[TokenizerKind, int] = {"word-piece": 6, "byte-bpe": 262, "unigram": 7}  # special tokens and a sign
LARGEST_SIZE = 10_000_000
RARE_CHARACTER = "character too rare for a vocabulary of this size"
SPECIAL_TOKENS = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}  # BERT


@dataclass(frozen=True)
class Tokenizer:
    """A vocabulary, and how text is cut into its tokens. ``special``: pad, unk, cls, sep, mask → the token as text."""

    backend: tokenizers.Tokenizer
    special: dict[str, str]

    @cached_property
    def size(self) -> int:
        """The number of ids, with those that some vocabularies leave unused between others."""
        return max(self.backend.get_vocab(with_added_tokens=True).values()) + 1

    @property
    def ids(self) -> dict[str, int]:
        """pad, unk, cls, sep, mask → id."""
        return {name: self.backend.token_to_id(token) for name, token in self.special.items()}  # type: ignore[misc]

    @cached_property
    def fingerprint(self) -> str:
        """A hash that is equal for two tokenizers that give every text the same ids."""
        round_score = lambda score: f"{float(score):.6g}"  # noqa: E731  saving and loading may change its last digits
        parts = json.loads(self.backend.to_str(), parse_float=round_score)
        deciding = {key: parts[key] for key in ("normalizer", "pre_tokenizer", "model")}
        added = [token for token in parts["added_tokens"] if not token["special"]]
        content = json.dumps([deciding, self.ids, *added], sort_keys=True)
        return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text. No special tokens are added, and what looks like one in a text is read as text."""
        return [encoding.ids for encoding in self.backend.encode_batch_fast(list(texts), add_special_tokens=False)]

    def save(self, folder: Path) -> None:
        """Write tokenizer.json, tokenizer_config.json and, if the model has one, vocab.txt into ``folder``."""
        from transformers import PreTrainedTokenizerFast

        folder.mkdir(parents=True, exist_ok=True)
        PreTrainedTokenizerFast(
            tokenizer_object=self.backend,
            model_input_names=["input_ids", "token_type_ids", "attention_mask"],
            **{f"{name}_token": token for name, token in self.special.items()},
        ).save_pretrained(folder)
        self.backend.model.save(str(folder))


@dataclass(frozen=True)
class Spelling:
    """How text is normalised before it is cut. Saved with the tokenizer."""

    lower_case: bool = True
    strip_accents: bool = True
    normalization: Normalization = "none"


def train_tokenizer(
    texts: Iterable[str],
    size: int,
    kind: TokenizerKind = "word-piece",
    spelling: Spelling = Spelling(),
    skipped: Counter[str] | None = None,
) -> Tokenizer:
    """A tokenizer with at most ``size`` ids, trained on texts of which only the words are held in memory.

    The same texts give the same word pieces and byte pairs with the same ids, on every machine. Unigram's scores are
    sums in the order of a hash table, whose last digits may differ. ``skipped`` counts the characters that are left out
    because there are more than ids: the rarest ones.

    Raises:
        UserError: a size that this kind cannot have, before any text is read; no word occurs twice in the texts.
    """
    check_vocabulary_size(size, kind)
    build_model, build_trainer, build_backend = TOKENIZER_KINDS[kind]
    backend = build_backend(build_model(), spelling)
    normalizer, first_tokens = backend.normalizer, list(SPECIAL_TOKENS.values())
    with TemporaryFile("w+", encoding="utf-8", newline="\n") as copy:
        if kind != "byte-bpe":  # whose characters are the 256 bytes
            reserved = len(SPECIAL_TOKENS) + (kind == "unigram")  # whose trainer wants one id more than it uses
            tokens = find_character_tokens(copy_texts(texts, copy), backend, kind == "word-piece")
            if len(tokens) > size - reserved:
                left_out = list_rarest_characters(count_characters(read_copy(copy), normalizer), tokens, size, reserved)
                tokens = {token for token in tokens if token[-1] not in left_out}
                backend.normalizer = normalizers.Sequence([normalizer, blank_characters(left_out)])
                if skipped is not None:
                    skipped[RARE_CHARACTER] += len(left_out)
            # The trainer numbers continuations as they come out of a hash table, in another order in each process, and
            # breaks ties between merges by number: unless they have theirs before, no two vocabularies are the same.
            first_tokens += sorted(token for token in tokens if len(token) > 1)
            texts = read_copy(copy)
        trainer = build_trainer(vocab_size=size, special_tokens=first_tokens, show_progress=False)
        backend.train_from_iterator(texts, trainer)
    if backend.get_vocab_size() <= len(first_tokens) + len(ALPHABET) * (kind == "byte-bpe"):
        raise UserError("no word occurs twice in these texts: nothing to make a vocabulary of")
    backend.normalizer = normalizer
    if kind == "word-piece":  # the continuations are special tokens to the trainer alone
        backend = build_backend(models.WordPiece(backend.get_vocab(), unk_token=SPECIAL_TOKENS["unk"]), spelling)
    return finish_tokenizer(backend, SPECIAL_TOKENS)


def check_vocabulary_size(size: int, kind: TokenizerKind) -> None:
    """Raise ``UserError`` for a size that no vocabulary of this kind has, whatever the texts."""
    least = SMALLEST_SIZES[kind]
    if not least <= size <= LARGEST_SIZE:
        raise UserError(f"--vocab-size {size}: a {kind} vocabulary has from {least} to {LARGEST_SIZE:,} ids")


def load_tokenizer(path: Path, spelling: Spelling = Spelling()) -> Tokenizer:
    """The tokenizer of a vocab.txt (one word piece a line, BERT style), or of a folder with one or a tokenizer.json.

    ``spelling`` is for a vocab.txt, which does not say how text is normalised.

    Raises:
        UserError: nothing there that can be read, or special tokens missing, which are named.
    """
    if path.is_file():
        return load_vocabulary(path, spelling)
    if (path / "tokenizer.json").is_file():
        return load_tokenizer_folder(path)
    if (path / "vocab.txt").is_file():
        return load_vocabulary(path / "vocab.txt", spelling)
    raise UserError(f"{path}: no tokenizer here; expected a vocab.txt, or a folder with tokenizer.json or vocab.txt")


def load_vocabulary(file: Path, spelling: Spelling) -> Tokenizer:
    """The tokenizer of a vocab.txt. Raises ``UserError`` as ``load_tokenizer``, and for a word that occurs twice."""
    try:
        words = [word.rstrip("\r") for word in file.read_text(encoding="utf-8").removesuffix("\n").split("\n")]
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 at byte {error.start}; a vocabulary has one word piece a line") from error
    require_special_tokens(file, {name: token if token in words else None for name, token in SPECIAL_TOKENS.items()})
    vocabulary = {word: index for index, word in enumerate(words)}
    if len(vocabulary) < len(words):
        twice = next(word for index, word in enumerate(words) if vocabulary[word] != index)
        raise UserError(f"{file}: {twice!r} stands there twice")
    model = models.WordPiece(vocab=vocabulary, unk_token=SPECIAL_TOKENS["unk"])
    return finish_tokenizer(build_word_pieces(model, spelling), SPECIAL_TOKENS)


def load_tokenizer_folder(folder: Path) -> Tokenizer:
    """The tokenizer of a folder with a tokenizer.json, by transformers. Raises ``UserError`` as ``load_tokenizer``."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    refuse_code(folder)
    try:
        loaded = load_auto_tokenizer(folder)
    except Exception as error:  # whatever a damaged file makes transformers raise
        raise UserError(f"{folder}: transformers cannot load this tokenizer: {' '.join(str(error).split())}") from error
    special = {name: getattr(loaded, f"{name}_token") for name in SPECIAL_TOKENS}
    return finish_tokenizer(loaded.backend_tokenizer, require_special_tokens(folder, special))


def load_auto_tokenizer(folder: Path) -> Any:
    """transformers' tokenizer of a folder, whose own code is not run. Raises whatever transformers does."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)


def refuse_code(folder: Path) -> None:
    """Raise ``UserError`` for a folder whose model or tokenizer needs code that is not transformers' own."""
    for path in (folder / name for name in ("config.json", "tokenizer_config.json")):
        with convert_errors(str(path), OSError, ValueError):
            config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if not isinstance(config, dict):
            raise UserError(f"{path}: no object with named fields")
        names_kernels = "/" in str(config.get("attn_implementation"))  # the Hub's name of a repository with kernels
        if keys := ["auto_map"] * ("auto_map" in config) + ["attn_implementation"] * names_kernels:
            raise UserError(f"{path}: {keys[0]}: this model needs code of its own, which is not run")


def require_special_tokens(where: Path, special: dict[str, str | None]) -> dict[str, str]:
    """``special``, none of which is None. Raises ``UserError`` naming the special tokens that are missing."""
    missing = [SPECIAL_TOKENS[name] for name, token in special.items() if token is None]
    if missing:
        raise UserError(
            f"{where}: this vocabulary has no {', '.join(missing)}; pre-training needs "
            f"{' '.join(SPECIAL_TOKENS.values())}"
        )
    return {name: token for name, token in special.items() if token is not None}


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


def parse_tokenizer(content: str, special: dict[str, str]) -> Tokenizer:
    """The tokenizer of the content of a tokenizer.json."""
    return finish_tokenizer(tokenizers.Tokenizer.from_str(content), special)


def finish_tokenizer(backend: tokenizers.Tokenizer, special: dict[str, str]) -> Tokenizer:
    """The tokenizer of a backend, in which special tokens are marked and pairs become [CLS] A [SEP] B [SEP]."""
    backend.no_truncation()
    backend.no_padding()
    backend.add_special_tokens(list(special.values()))
    tokenizer = Tokenizer(backend, dict(special))
    cls, sep = ((special[name], tokenizer.ids[name]) for name in ("cls", "sep"))
    if backend.post_processor is None:
        backend.post_processor = processors.BertProcessing(sep, cls)
    backend.encode_special_tokens = True
    return tokenizer
