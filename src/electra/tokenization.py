"""Vocabularies: train one, or take one that is there. Saved so that ``AutoTokenizer`` loads it."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Literal

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from electra.errors import UserError, convert_errors

TokenizerKind = Literal["word-piece", "byte-bpe", "unigram"]
Normalization = Literal["none", "nfc", "nfkc"]
SPECIAL_TOKENS = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}  # BERT


@dataclass(frozen=True)
class Tokenizer:
    """A vocabulary and how text is cut by it. ``special``: pad, unk, cls, sep, mask → the token as it is written."""

    backend: tokenizers.Tokenizer
    special: dict[str, str]

    @cached_property
    def size(self) -> int:
        """How many ids there are, those included that some vocabularies leave unused between others."""
        return max(self.backend.get_vocab(with_added_tokens=True).values()) + 1

    @property
    def ids(self) -> dict[str, int]:
        """pad, unk, cls, sep, mask → id."""
        return {name: self.backend.token_to_id(token) for name, token in self.special.items()}  # type: ignore[misc]

    @cached_property
    def fingerprint(self) -> str:
        """Equal for two tokenizers that give every text the same ids."""
        digits = lambda score: f"{float(score):.6g}"  # noqa: E731  to save and load a score may change its last ones
        parts = json.loads(self.backend.to_str(), parse_float=digits)
        said = {key: parts[key] for key in ("normalizer", "pre_tokenizer", "model")}
        added = [token for token in parts["added_tokens"] if not token["special"]]
        content = json.dumps([said, self.ids, *added], sort_keys=True)
        return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without special tokens: what is written like one in a text is text."""
        return [encoding.ids for encoding in self.backend.encode_batch_fast(list(texts), add_special_tokens=False)]

    def save(self, folder: Path) -> None:
        """Write tokenizer.json, tokenizer_config.json and vocab.txt (where the model has one) into ``folder``."""
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
    """What of a text's spelling reaches the vocabulary. Saved with the tokenizer."""

    lower_case: bool = True
    strip_accents: bool = True
    normalization: Normalization = "none"


def train_tokenizer(
    texts: Iterable[str],
    size: int,
    kind: TokenizerKind = "word-piece",
    spelling: Spelling = Spelling(),
) -> Tokenizer:
    """A vocabulary of at most ``size`` ids from texts, whose words alone are held in memory.

    The same texts give the same word pieces and byte pairs with the same ids, on every machine. Unigram's scores are
    sums in the order of a hash table, whose last digits may differ.

    Raises:
        UserError: the texts hold no word.
    """
    model, trainer, around = TOKENIZER_KINDS[kind]
    backend = around(model(), spelling)
    with TemporaryFile("w+", encoding="utf-8", newline="\n") as held:
        first = list(SPECIAL_TOKENS.values())
        if kind == "word-piece":
            first += list_continuations(copy_texts(texts, held), backend)
            held.seek(0)
            texts = held
        backend.train_from_iterator(texts, trainer(vocab_size=size, special_tokens=first, show_progress=False))
    if backend.get_vocab_size() <= len(first) + len(ALPHABET) * (kind == "byte-bpe"):
        raise UserError("no word occurs twice in these texts: nothing to make a vocabulary of")
    if kind == "word-piece":  # those that go on are special to the trainer alone
        backend = around(models.WordPiece(backend.get_vocab(), unk_token=SPECIAL_TOKENS["unk"]), spelling)
    return finish_tokenizer(backend, SPECIAL_TOKENS)


def copy_texts(texts: Iterable[str], file: IO[str]) -> Iterator[str]:
    """The texts, each written to ``file`` as lines: standard input is read but once."""
    for text in texts:
        file.write(text + "\n")
        yield text


def list_continuations(texts: Iterable[str], backend: tokenizers.Tokenizer) -> list[str]:
    """Every character that a word may go on with, as ``##c``, in the order of code points.

    The trainer numbers these as they come out of a hash table, in another order in each process, and breaks ties
    between merges by number: unless they have their places before it begins, no two vocabularies are the same.
    """

    def inside(written: str) -> set[str]:
        normal = backend.normalizer.normalize_str(written)
        return {character for word, _ in backend.pre_tokenizer.pre_tokenize_str(normal) for character in word[1:]}

    found: set[str] = set()
    known: set[str] = set()  # as they are written: found, or what no word goes on with
    for word in chain.from_iterable(set(text.split()) for text in texts):
        if not known.issuperset(word):
            found |= inside(word)
            known.update(character for character in word if inside("a" + character) <= found)
    return [f"##{character}" for character in sorted(found)]


def load_tokenizer(path: Path, spelling: Spelling = Spelling()) -> Tokenizer:
    """The tokenizer of a vocab.txt (one word piece a line, BERT style), or of a folder with one or a tokenizer.json.

    ``spelling`` is for a vocab.txt, which does not say.

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
    """See ``load_tokenizer``."""
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
    """See ``load_tokenizer``."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    refuse_code(folder)
    try:
        fast = load_auto_tokenizer(folder)
    except Exception as error:  # whatever a damaged file makes transformers raise
        raise UserError(f"{folder}: transformers cannot load this tokenizer: {' '.join(str(error).split())}") from error
    special = {name: getattr(fast, f"{name}_token") for name in SPECIAL_TOKENS}
    return finish_tokenizer(fast.backend_tokenizer, require_special_tokens(folder, special))


def load_auto_tokenizer(folder: Path) -> Any:
    """What ``AutoTokenizer`` makes of a folder, without code from it. Raises whatever transformers does."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)


def refuse_code(folder: Path) -> None:
    """Raise ``UserError`` for a folder whose model or tokenizer needs code that is not transformers' own."""
    for path in (folder / name for name in ("config.json", "tokenizer_config.json")):
        with convert_errors(str(path), OSError, ValueError):
            said = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if not isinstance(said, dict):
            raise UserError(f"{path}: no object with named fields")
        kernel = "/" in str(said.get("attn_implementation"))  # the Hub's name of a repository with kernels
        if found := ["auto_map"] * ("auto_map" in said) + ["attn_implementation"] * kernel:
            raise UserError(f"{path}: {found[0]}: this model needs code of its own, which is not run")


def require_special_tokens(where: Path, special: dict[str, str | None]) -> dict[str, str]:
    """``special``, all there. Raises ``UserError`` naming the special tokens that are missing."""
    missing = [SPECIAL_TOKENS[name] for name, token in special.items() if token is None]
    if missing:
        raise UserError(
            f"{where}: this vocabulary has no {', '.join(missing)}; pre-training needs "
            f"{' '.join(SPECIAL_TOKENS.values())}"
        )
    return {name: token for name, token in special.items() if token is not None}


def build_word_pieces(model: Any, spelling: Spelling) -> tokenizers.Tokenizer:
    """BERT's normalisation and cutting into words around a WordPiece model."""
    backend = tokenizers.Tokenizer(model)
    bert = normalizers.BertNormalizer(lowercase=spelling.lower_case, strip_accents=spelling.strip_accents)
    backend.normalizer = normalizers.Sequence([*UNICODE_FORMS[spelling.normalization], bert])
    if spelling.normalization == "none":
        backend.normalizer = bert  # as BERT's own files say it
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    return backend


def build_byte_pairs(model: Any, spelling: Spelling) -> tokenizers.Tokenizer:
    """Byte-level words, each with the space before it, around a BPE model (GPT-2, RoBERTa): nothing is unknown."""
    backend = tokenizers.Tokenizer(model)
    backend.normalizer = build_normalizer(spelling)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.decoder = decoders.ByteLevel()
    return backend


def build_sentence_pieces(model: Any, spelling: Spelling) -> tokenizers.Tokenizer:
    """Words with a mark for the space before them around a Unigram model (SentencePiece): no spaces are needed."""
    backend = tokenizers.Tokenizer(model)
    backend.normalizer = build_normalizer(spelling)
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    return backend


def build_normalizer(spelling: Spelling) -> normalizers.Normalizer:
    """The normalizer that leaves of a text what ``spelling`` says."""
    stripped = [normalizers.NFD(), normalizers.StripAccents(), normalizers.NFC()] * spelling.strip_accents
    lower = [normalizers.Lowercase()] * spelling.lower_case
    return normalizers.Sequence([*UNICODE_FORMS[spelling.normalization], *stripped, *lower])


UNICODE_FORMS: dict[Normalization, list[normalizers.Normalizer]] = {
    "none": [],
    "nfc": [normalizers.NFC()],
    "nfkc": [normalizers.NFKC()],
}
ALPHABET = pre_tokenizers.ByteLevel.alphabet()
TOKENIZER_KINDS: dict[
    TokenizerKind, tuple[Callable[[], Any], Callable[..., Any], Callable[[Any, Spelling], tokenizers.Tokenizer]]
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


def parse_tokenizer(said: str, special: dict[str, str]) -> Tokenizer:
    """The tokenizer of a tokenizer.json's content."""
    return finish_tokenizer(tokenizers.Tokenizer.from_str(said), special)


def finish_tokenizer(backend: tokenizers.Tokenizer, special: dict[str, str]) -> Tokenizer:
    """The tokenizer with its special tokens marked and [CLS] A [SEP] B [SEP] as what it makes of a pair."""
    backend.no_truncation()
    backend.no_padding()
    backend.add_special_tokens(list(special.values()))
    tokenizer = Tokenizer(backend, dict(special))
    cls, sep = ((special[name], tokenizer.ids[name]) for name in ("cls", "sep"))
    if backend.post_processor is None:
        backend.post_processor = processors.BertProcessing(sep, cls)
    backend.encode_special_tokens = True
    return tokenizer
