"""Tokenizers: trained on texts, or loaded; saved so that ``AutoTokenizer`` loads them."""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Literal, NamedTuple

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
# Numbers of config.json up to which transformers counts when it reads one: no model has so many.
MOST = {"num_hidden_layers": 10_000, "num_labels": 10_000_000}
SPECIAL_TOKENS = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}  # BERT
# Files that say how a vocab.txt is read; what the later one says holds.
TOKENIZER_CLASS = "PreTrainedTokenizerFast"  # what only reads a tokenizer.json, in every version of transformers
SETTINGS_FILES = ("tokenizer_config.json", "special_tokens_map.json")
# Files of which transformers makes a tokenizer where there is no tokenizer.json.
VOCABULARY_FILES = ("vocab.txt", "vocab.json", "*.model")


class Frame(NamedTuple):
    """The special tokens around a text, or around and between two: ids, each with its segment."""

    before: list[tuple[int, int]]
    between: list[tuple[int, int]]
    after: list[tuple[int, int]]
    second: int = 0
    """The segment of the second text."""

    def wrap(self, ids: Sequence[int], pair: Sequence[int] = ()) -> tuple[list[int], list[int]]:
        """(ids, segments) of a text, or of two, with the special tokens. The first text's segment is 0."""
        first, second = ((token_id, 0) for token_id in ids), ((token_id, self.second) for token_id in pair)
        tokens = [*self.before, *first, *self.between, *second, *self.after]
        return [token_id for token_id, _ in tokens], [segment for _, segment in tokens]


@dataclass(frozen=True)
class Tokenizer:
    """A vocabulary, and how text is cut into its tokens.

    ``special``: those of pad, unk, cls, sep and mask that it has → the token as text.
    """

    backend: tokenizers.Tokenizer
    special: dict[str, str]

    @cached_property
    def size(self) -> int:
        """The number of ids, with those that some vocabularies leave unused between others."""
        return max(self.backend.get_vocab(with_added_tokens=True).values()) + 1

    @property
    def ids(self) -> dict[str, int]:
        """Those of pad, unk, cls, sep and mask that it has → id."""
        return {name: self.backend.token_to_id(token) for name, token in self.special.items()}  # type: ignore[misc]

    @property
    def filler(self) -> int:
        """The id that stands where a row has no text, which nothing looks at: [PAD], or 0 where there is none."""
        return self.ids.get("pad", 0)

    @cached_property
    def frame(self) -> Frame:
        """The special tokens around one text."""
        return measure_frame(self.backend, pair=False)

    @cached_property
    def pair_frame(self) -> Frame:
        """The special tokens around two texts, and between them."""
        return measure_frame(self.backend, pair=True)

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

    def save(self, folder: Path, **settings: Any) -> None:
        """Write tokenizer.json, tokenizer_config.json and, if the model has one, vocab.txt into ``folder``.

        ``settings``: more keys of tokenizer_config.json, as transformers' tokenizers take them.
        """
        from transformers import PreTrainedTokenizerFast

        folder.mkdir(parents=True, exist_ok=True)
        PreTrainedTokenizerFast(
            tokenizer_object=self.backend,
            **{"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]} | settings,
            **{f"{name}_token": token for name, token in self.special.items()},
        ).save_pretrained(folder)
        self.backend.model.save(str(folder))
        path = folder / SETTINGS_FILES[0]
        written = read_settings(path) | {"tokenizer_class": TOKENIZER_CLASS}
        path.write_text(json.dumps(written, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


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


def load_tokenizer(path: Path, spelling: Spelling = Spelling(), needs: Iterable[str] = SPECIAL_TOKENS) -> Tokenizer:
    """The tokenizer of a vocab.txt (one word piece a line, BERT style), or of a folder: what AutoTokenizer makes of it.

    ``spelling`` is for a vocab.txt beside which no file says how text is normalised. ``needs``: the special tokens, of
    pad, unk, cls, sep and mask, that it must have; all are what pre-training needs.

    Raises:
        UserError: nothing there that can be read; special tokens missing, which are named; or more ids than the model
            in the same folder has embeddings.
    """
    folder = path if path.is_dir() else path.parent
    if path.is_file():
        tokenizer = load_vocabulary(path, spelling, needs)
    elif not (path / "tokenizer.json").is_file() and (path / "vocab.txt").is_file() and names_word_pieces(path):
        tokenizer = load_vocabulary(path / "vocab.txt", spelling, needs)
    elif any(any(path.glob(name)) for name in ("tokenizer.json", *VOCABULARY_FILES)):
        tokenizer = load_tokenizer_folder(path, needs)
    else:
        raise UserError(
            f"{path}: no tokenizer here; expected a vocab.txt, or a folder with tokenizer.json or vocab.txt"
        )
    refuse_unknown_ids(folder, tokenizer)
    return tokenizer


def names_word_pieces(folder: Path) -> bool:
    """Whether the folder of a vocab.txt says that it is BERT's, or nothing: not another class of transformers'."""
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

    kind = str(read_settings(folder / "config.json").get("model_type"))
    named = read_settings(folder / SETTINGS_FILES[0]).get("tokenizer_class") or TOKENIZER_MAPPING_NAMES.get(kind)
    generic = (None, "PreTrainedTokenizerFast", "TokenizersBackend")  # classes that only read a tokenizer.json
    return named in generic or str(named).removesuffix("Fast") in ("BertTokenizer", "ElectraTokenizer")


def load_vocabulary(file: Path, spelling: Spelling, needs: Iterable[str] = SPECIAL_TOKENS) -> Tokenizer:
    """The tokenizer of a vocab.txt, read as the files beside it say.

    Raises:
        UserError: as ``load_tokenizer``; a word that occurs twice; a setting of another type.
    """
    try:
        words = [word.rstrip("\r") for word in file.read_text(encoding="utf-8").removesuffix("\n").split("\n")]
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 at byte {error.start}; a vocabulary has one word piece a line") from error
    settings: dict[str, Any] = {}
    for name in SETTINGS_FILES:
        settings |= read_settings(file.parent / name)
    tokens = {name: name_token(settings.get(f"{name}_token", token)) for name, token in SPECIAL_TOKENS.items()}
    special = require_special_tokens(
        file, {name: token if token in words else None for name, token in tokens.items()}, needs
    )
    vocabulary = {word: index for index, word in enumerate(words)}
    if len(vocabulary) < len(words):
        twice = next(word for index, word in enumerate(words) if vocabulary[word] != index)
        raise UserError(f"{file}: {twice!r} stands there twice")
    model = models.WordPiece(vocab=vocabulary, unk_token=special.get("unk", SPECIAL_TOKENS["unk"]))
    backend = build_word_pieces(model, spelling)
    if {"do_lower_case", "strip_accents", "tokenize_chinese_chars"} & settings.keys():
        backend.normalizer = read_normalizer(file.parent / SETTINGS_FILES[0], settings)
    return finish_tokenizer(backend, special)


def name_token(value: Any) -> str | None:
    """A special token as text: files write it as a string, or as an object with its content."""
    return value.get("content") if isinstance(value, dict) else value


def read_normalizer(file: Path, settings: Mapping[str, Any]) -> normalizers.Normalizer:
    """BERT's normalizer of the keys of a tokenizer_config.json. Raises ``UserError`` for one of another type."""
    values = {
        "do_lower_case": settings.get("do_lower_case", True),
        "tokenize_chinese_chars": settings.get("tokenize_chinese_chars", True),
        "strip_accents": settings.get("strip_accents"),
    }
    for name, value in values.items():
        if not isinstance(value, bool) and not (name == "strip_accents" and value is None):
            raise UserError(f"{file}: {name}: {value!r}; expected true or false")
    return normalizers.BertNormalizer(
        lowercase=values["do_lower_case"],
        handle_chinese_chars=values["tokenize_chinese_chars"],
        strip_accents=values["strip_accents"],
    )


def load_tokenizer_folder(folder: Path, needs: Iterable[str] = SPECIAL_TOKENS) -> Tokenizer:
    """The tokenizer of a folder, by transformers. Raises ``UserError`` as ``load_tokenizer``."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    refuse_code(folder)
    try:
        loaded = load_auto_tokenizer(folder)
    except Exception as error:  # whatever a damaged file makes transformers raise
        raise UserError(f"{folder}: transformers cannot load this tokenizer: {' '.join(str(error).split())}") from error
    if not loaded.is_fast:
        raise UserError(
            f"{folder}: {type(loaded).__name__} is not read: it is written in Python alone and has no tokenizer.json"
        )
    special = {name: getattr(loaded, f"{name}_token") for name in SPECIAL_TOKENS}
    return finish_tokenizer(loaded.backend_tokenizer, require_special_tokens(folder, special, needs))


def load_auto_tokenizer(folder: Path) -> Any:
    """transformers' tokenizer of a folder, whose own code is not run. Raises whatever transformers does."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)


def refuse_unknown_ids(folder: Path, tokenizer: Tokenizer) -> None:
    """Raise ``UserError`` if the model in a folder, if one is there, has fewer embeddings than its tokenizer ids."""
    rows = read_settings(folder / "config.json").get("vocab_size")
    if isinstance(rows, int) and tokenizer.size > rows:
        last = tokenizer.backend.id_to_token(tokenizer.size - 1)
        raise UserError(
            f"{folder}: its tokenizer has {tokenizer.size:,} ids (the last is {last!r}), but its model has {rows:,} "
            "embeddings; remove the added tokens, or give the model their rows with transformers' "
            "resize_token_embeddings"
        )


def read_settings(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty if there is no such file. Raises ``UserError`` if it holds something else."""
    with convert_errors(str(path), OSError, ValueError, RecursionError):
        settings = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if not isinstance(settings, dict):
        raise UserError(f"{path}: no object with named fields")
    return settings


def refuse_code(folder: Path) -> None:
    """Raise ``UserError`` for a folder whose model or tokenizer needs code that is not transformers' own, or whose
    config is one that ``refuse_endless`` refuses."""
    for path in (folder / name for name in ("config.json", "tokenizer_config.json")):
        config = read_settings(path)
        refuse_endless(config, str(path))
        names_kernels = "/" in str(config.get("attn_implementation"))  # the Hub's name of a repository with kernels
        if keys := ["auto_map"] * ("auto_map" in config) + ["attn_implementation"] * names_kernels:
            raise UserError(f"{path}: {keys[0]}: this model needs code of its own, which is not run")


def refuse_endless(settings: Mapping[str, Any], path: str) -> None:
    """Raise ``UserError`` for settings of the config.json at ``path`` that transformers would count up to without
    end."""
    for key, most in MOST.items():
        value = settings.get(key)
        if isinstance(value, int) and value > most:
            raise UserError(f"{path}: {key} is {value}; expected {most:,} at most")


def require_special_tokens(
    where: Path, special: Mapping[str, str | None], needs: Iterable[str] = SPECIAL_TOKENS
) -> dict[str, str]:
    """Those of ``special`` that are there. Raises ``UserError`` naming the ones of ``needs`` that are not."""
    missing = [SPECIAL_TOKENS[name] for name in needs if special.get(name) is None]
    if missing:
        purpose = "pre-training" if set(needs) == set(SPECIAL_TOKENS) else "this"
        raise UserError(
            f"{where}: this vocabulary has no {', '.join(missing)}; {purpose} needs "
            f"{' '.join(SPECIAL_TOKENS[name] for name in needs)}: add them, or train a tokenizer with "
            "`electra tokenizer`"
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


def parse_tokenizer(content: str, special: Mapping[str, str]) -> Tokenizer:
    """The tokenizer of the content of a tokenizer.json."""
    return finish_tokenizer(tokenizers.Tokenizer.from_str(content), special)


def finish_tokenizer(backend: tokenizers.Tokenizer, special: Mapping[str, str]) -> Tokenizer:
    """The tokenizer of a backend, in which special tokens are marked.

    One that does not say which of them stand around a text has [CLS] A [SEP] B [SEP], if it has both.
    """
    backend.no_truncation()
    backend.no_padding()
    marked = {token.content for token in backend.get_added_tokens_decoder().values() if token.special}
    backend.add_special_tokens([token for token in special.values() if token not in marked])
    tokenizer = Tokenizer(backend, dict(special))
    if backend.post_processor is None and {"cls", "sep"} <= special.keys():
        cls, sep = ((special[name], tokenizer.ids[name]) for name in ("cls", "sep"))
        backend.post_processor = processors.BertProcessing(sep, cls)
    backend.encode_special_tokens = True
    return tokenizer


def measure_frame(backend: tokenizers.Tokenizer, pair: bool) -> Frame:
    """The special tokens that a backend puts around one text, or around and between two."""
    text = backend.decode([backend.get_vocab_size() - 1]) + " a 1 ."  # some of it is left of it by any normalizer
    encoding = backend.encode(text, text if pair else None)
    tokens, owners = list(zip(encoding.ids, encoding.type_ids, strict=True)), encoding.sequence_ids
    first = [index for index, owner in enumerate(owners) if owner == 0]
    second = [index for index, owner in enumerate(owners) if owner == 1]
    if not first or (pair and not second):
        raise UserError(f"the tokenizer leaves nothing of the text {text!r}")
    if not pair:
        return Frame(tokens[: first[0]], [], tokens[first[-1] + 1 :])
    between = tokens[first[-1] + 1 : second[0]]
    return Frame(tokens[: first[0]], between, tokens[second[-1] + 1 :], encoding.type_ids[second[0]])
