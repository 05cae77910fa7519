"""Training a tokenizer on texts, so that the same texts give the same vocabulary."""

from collections import Counter
from collections.abc import Iterable
from tempfile import TemporaryFile, gettempdir

from tokenizers import models, normalizers

from electra.errors import UserError, convert_errors
from electra.tokenization.characters import (
    blank_characters,
    copy_texts,
    count_characters,
    find_character_tokens,
    list_rarest_characters,
    read_copy,
)
from electra.tokenization.kinds import ALPHABET, TOKENIZER_KINDS, Spelling, TokenizerKind
from electra.tokenization.tokenizer import SPECIAL_TOKENS, Tokenizer, finish_tokenizer

SMALLEST_SIZES: dict[TokenizerKind, int] = {"word-piece": 6, "byte-bpe": 262, "unigram": 7}  # special tokens and a sign
LARGEST_SIZE = 10_000_000
RARE_CHARACTER = "character too rare for a vocabulary of this size"


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
        UserError: a size that this kind cannot have, before any text is read; no word occurs twice in the texts; the
            disk does not take a copy of them.
    """
    check_vocabulary_size(size, kind)
    build_model, build_trainer, build_backend = TOKENIZER_KINDS[kind]
    backend = build_backend(build_model(), spelling)
    normalizer, first_tokens = backend.normalizer, list(SPECIAL_TOKENS.values())
    with (
        convert_errors(f"{gettempdir()}: the texts are copied there, and TMPDIR names another place", OSError),
        TemporaryFile("w+", encoding="utf-8", newline="\n") as copy,
    ):
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
