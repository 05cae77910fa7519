"""Loading a tokenizer: of a vocab.txt, or of whatever folder transformers makes one of."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import models, normalizers

from electra.errors import UserError, convert_errors
from electra.tokenization.kinds import Spelling, build_word_pieces
from electra.tokenization.settings import read_settings, refuse_code
from electra.tokenization.tokenizer import SETTINGS_FILES, SPECIAL_TOKENS, Tokenizer, finish_tokenizer

# Files of which transformers makes a tokenizer where there is no tokenizer.json.
VOCABULARY_FILES = ("vocab.txt", "vocab.json", "*.model")


def load_tokenizer(path: Path, spelling: Spelling = Spelling(), needs: Iterable[str] = SPECIAL_TOKENS) -> Tokenizer:
    """The tokenizer of a vocab.txt (one word piece a line, BERT style), or of a folder: what AutoTokenizer makes of it.

    ``spelling`` is for a vocab.txt beside which no file says how text is normalised. ``needs``: the special tokens, of
    pad, unk, cls, sep and mask, that it must have; all are what pre-training needs.

    Raises:
        UserError: nothing there that can be read; special tokens missing, which are named; or more ids than the model
            in the same folder has embeddings.
    """
    with convert_errors(str(path), OSError):  # of names too long, and of files that are closed to this user
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
        words = [word.rstrip("\r") for word in file.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")]
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
