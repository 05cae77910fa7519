"""Word pieces: train a vocabulary, or take one that is there. Saved so that ``AutoTokenizer`` loads it."""

import hashlib
import json
import logging
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from electra.errors import UserError

SPECIAL = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}  # BERT
AT_ONCE = 1024  # units that the fast tokenizer is given together
PIECE = 10_000  # characters after which a line is cut at the next white space, so that one line costs little memory
SPACE = re.compile(r"[ \t\r]")
LONGEST_WORD = 1_000_000  # … and after which it is cut anywhere


@dataclass(frozen=True)
class Tokenizer:
    """A vocabulary and how text is cut by it. ``special``: pad, unk, cls, sep, mask → the token as it is written."""

    backend: tokenizers.Tokenizer
    special: dict[str, str]

    @property
    def size(self) -> int:
        """How many ids there are."""
        return self.backend.get_vocab_size(with_added_tokens=True)

    @property
    def ids(self) -> dict[str, int]:
        """pad, unk, cls, sep, mask → id."""
        return {name: self.backend.token_to_id(token) for name, token in self.special.items()}  # type: ignore[misc]

    @property
    def fingerprint(self) -> str:
        """Equal for two tokenizers that give every text the same ids."""
        parts = json.loads(self.backend.to_str())
        said = {key: parts[key] for key in ("normalizer", "pre_tokenizer", "model")}
        return hashlib.blake2b(json.dumps([said, self.ids], sort_keys=True).encode(), digest_size=16).hexdigest()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without special tokens: what is written like one in a text is text."""
        return [encoding.ids for encoding in self.backend.encode_batch_fast(list(texts), add_special_tokens=False)]

    def encode_units(self, documents: Sequence[str]) -> list[list["array[int]"]]:
        """The ids of each document's units: its lines, long ones in parts. Units without tokens are left out."""
        encoded: list[list[array[int]]] = [[] for _ in documents]
        numbered = [(number, unit) for number, document in enumerate(documents) for unit in units(document)]
        for start in range(0, len(numbered), AT_ONCE):
            numbers, texts = zip(*numbered[start : start + AT_ONCE], strict=True)
            for number, ids in zip(numbers, self.encode(texts), strict=True):
                if ids:
                    encoded[number].append(array("I", ids))
        return encoded

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


def units(document: str) -> Iterator[str]:
    """The lines of a text that are not blank; a long one in parts that end at white space."""
    for line in document.split("\n"):
        start = 0
        while len(line) - start > PIECE:
            space = SPACE.search(line, start + PIECE, start + LONGEST_WORD)
            end = space.end() if space else min(start + LONGEST_WORD, len(line))
            yield line[start:end]
            start = end
        if line[start:].strip():
            yield line[start:]


def train(texts: Iterable[str], size: int, lower_case: bool = True, strip_accents: bool = True) -> Tokenizer:
    """A WordPiece vocabulary of at most ``size`` ids from texts, whose words alone are held in memory.

    Raises:
        UserError: the texts hold no word.
    """
    backend = word_pieces(models.WordPiece(unk_token=SPECIAL["unk"]), lower_case, strip_accents)
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, min_frequency=2, special_tokens=list(SPECIAL.values()), show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    if backend.get_vocab_size() <= len(SPECIAL):
        raise UserError("no word occurs twice in these texts: nothing to make a vocabulary of")
    return finished(backend, SPECIAL)


def load(path: Path, lower_case: bool = True, strip_accents: bool = True) -> Tokenizer:
    """The tokenizer of a vocab.txt (one word piece a line, BERT style), or of a folder with one or a tokenizer.json.

    ``lower_case`` and ``strip_accents`` are for a vocab.txt, which does not say.

    Raises:
        UserError: nothing there that can be read, or special tokens missing, which are named.
    """
    if path.is_file():
        return from_vocabulary(path, lower_case, strip_accents)
    if (path / "tokenizer.json").is_file():
        return from_folder(path)
    if (path / "vocab.txt").is_file():
        return from_vocabulary(path / "vocab.txt", lower_case, strip_accents)
    raise UserError(f"{path}: no tokenizer here; expected a vocab.txt, or a folder with tokenizer.json or vocab.txt")


def from_vocabulary(file: Path, lower_case: bool, strip_accents: bool) -> Tokenizer:
    """See ``load``."""
    try:
        words = [word.rstrip("\r") for word in file.read_text(encoding="utf-8").removesuffix("\n").split("\n")]
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 at byte {error.start}; a vocabulary has one word piece a line") from error
    complete(file, {name: token if token in words else None for name, token in SPECIAL.items()})
    vocabulary = {word: index for index, word in enumerate(words)}
    if len(vocabulary) < len(words):
        twice = next(word for index, word in enumerate(words) if vocabulary[word] != index)
        raise UserError(f"{file}: {twice!r} stands there twice")
    model = models.WordPiece(vocab=vocabulary, unk_token=SPECIAL["unk"])
    return finished(word_pieces(model, lower_case, strip_accents), SPECIAL)


def from_folder(folder: Path) -> Tokenizer:
    """See ``load``."""
    from transformers import AutoTokenizer

    logging.getLogger("transformers").setLevel(logging.ERROR)
    try:
        fast = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # whatever a damaged file makes transformers raise
        raise UserError(f"{folder}: transformers cannot load this tokenizer: {' '.join(str(error).split())}") from error
    special = {name: getattr(fast, f"{name}_token") for name in SPECIAL}
    return finished(fast.backend_tokenizer, complete(folder, special))


def complete(where: Path, special: dict[str, str | None]) -> dict[str, str]:
    """``special``, all there. Raises ``UserError`` naming the special tokens that are missing."""
    missing = [SPECIAL[name] for name, token in special.items() if token is None]
    if missing:
        raise UserError(
            f"{where}: this vocabulary has no {', '.join(missing)}; pre-training needs {' '.join(SPECIAL.values())}"
        )
    return {name: token for name, token in special.items() if token is not None}


def word_pieces(model: models.WordPiece, lower_case: bool, strip_accents: bool) -> tokenizers.Tokenizer:
    """BERT's normalisation and cutting into words around a WordPiece model."""
    backend = tokenizers.Tokenizer(model)
    backend.normalizer = normalizers.BertNormalizer(lowercase=lower_case, strip_accents=strip_accents)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    return backend


def finished(backend: tokenizers.Tokenizer, special: dict[str, str]) -> Tokenizer:
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
