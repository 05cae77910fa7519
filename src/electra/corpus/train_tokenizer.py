"""``electra tokenizer``: text → a vocabulary."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

from electra.config import check_ranges
from electra.corpus.documents import Boundary, Skipped, TextFormat
from electra.corpus.folder import TOKENIZER_FOLDER
from electra.corpus.output import create_output_folder, refuse_existing_output
from electra.corpus.readers import read_documents
from electra.corpus.sources import Part, cut_parts, find_sources
from electra.errors import UserError
from electra.progress import Progress
from electra.ranges import Positive, Range
from electra.tokenization.kinds import Normalization, Spelling, TokenizerKind
from electra.tokenization.loading import load_tokenizer
from electra.tokenization.tokenizer import Tokenizer
from electra.tokenization.training import LARGEST_SIZE, check_vocabulary_size, train_tokenizer


@dataclass(frozen=True)
class TokenizerConfig:
    """Train a vocabulary on text, or take one that is there, and save it as a folder that AutoTokenizer loads."""

    data: tuple[str, ...] = ()
    """Files, folders or globs of text, as in `electra prepare`."""
    out: str = ""
    """Folder to write."""
    kind: TokenizerKind = "word-piece"
    """word-piece: BERT's. byte-bpe: bytes, so that nothing is unknown. unigram: for scripts without spaces too."""
    vocab_size: Annotated[int, Range(least=6, most=LARGEST_SIZE)] = 30522  # BERT
    """Ids at most, special tokens included; of more characters than ids the rarest are left out. byte-bpe: from 262."""
    lower_case: bool = True
    strip_accents: Literal["auto", "yes", "no"] = "auto"
    """Take é for e. auto: as BERT does, for word-piece in lower case; in Thai or Hindi it would take vowels away."""
    normalization: Normalization = "none"
    """Unicode's form in which text is read: nfc joins letters and marks, nfkc makes ﬁ and ² plain too."""
    existing: str = ""
    """Take this vocab.txt or tokenizer folder instead of training; --data is not needed."""
    documents: Boundary = "blank-line"
    """What ends a document in .txt."""
    field: str = "text"
    """Key or column of the text in records."""
    megabytes: Positive = 2000.0
    """Read so much text, from all over the sources: a vocabulary hardly changes beyond."""


def tokenizer(config: TokenizerConfig) -> Tokenizer:
    """Train a tokenizer, or load the existing one, and save it in ``config.out``.

    Raises:
        UserError: ``out`` is missing or in use; no text, or none with a word; special tokens that are missing.
    """
    check_ranges(config)
    if config.existing:
        refuse_training_settings(config)
    refuse_existing_output(config.out)
    bert = config.lower_case and config.kind == "word-piece"
    strip_accents = bert if config.strip_accents == "auto" else config.strip_accents == "yes"
    spelling = Spelling(config.lower_case, strip_accents, config.normalization)
    result = load_tokenizer(Path(config.existing), spelling) if config.existing else train_on_sources(config, spelling)
    with create_output_folder(config.out, TOKENIZER_FOLDER) as folder:
        result.save(folder)
    print(f"{config.out}: {result.size:,} ids" + ("" if config.existing else describe_spelling(spelling)))
    return result


def refuse_training_settings(config: TokenizerConfig) -> None:
    """Raise ``UserError`` for a setting of training beside a tokenizer that is there, which nothing would read."""
    defaults = TokenizerConfig()
    for name in ("data", "kind", "vocab_size", "documents", "field", "megabytes"):
        if getattr(config, name) != getattr(defaults, name):
            flag = "--" + name.replace("_", "-")
            raise UserError(f"{flag} beside --existing: a tokenizer that is there is taken as it is; one of the two")


def describe_spelling(spelling: Spelling) -> str:
    """What a fresh vocabulary takes off the text before it cuts it, in words."""
    capitals = ", lower case (--no-lower-case keeps capitals)" if spelling.lower_case else ""
    accents = ", without accents: é is e, ç is c (--strip-accents no keeps them)" if spelling.strip_accents else ""
    return capitals + accents


def train_on_sources(config: TokenizerConfig, spelling: Spelling) -> Tokenizer:
    """A tokenizer trained on ``config.data``; prints what of the text was left out.

    Raises:
        UserError: as ``train_tokenizer``; a size of the vocabulary that cannot be, before any text is looked at.
    """
    check_vocabulary_size(config.vocab_size, config.kind)
    skipped, text_format = Skipped(), TextFormat(config.documents, config.field)
    parts = cut_parts(find_sources(config.data, skipped), text_format)
    texts = sample_texts(parts, text_format, config.megabytes, skipped)
    result = train_tokenizer(texts, config.vocab_size, config.kind, spelling, skipped)
    for line in skipped.lines():
        print(line)
    return result


def sample_texts(parts: Sequence[Part], text_format: TextFormat, megabytes: float, skipped: Skipped) -> Iterator[str]:
    """Texts from the beginning of every part, the same amount of each, together about ``megabytes``."""
    share, total = megabytes * 1e6 / len(parts), sum(part.size for part in parts) / 1e6
    done = 0.0
    with Progress("reading", total, "MB") as progress:
        for part in parts:
            left = share
            for document in chain.from_iterable(read_documents(span, text_format, skipped) for span in part.spans):
                yield document.text
                left -= len(document.text)
                progress.update(done + min(part.size, share - left) / 1e6)
                if left <= 0:
                    break
            done += part.size / 1e6
            progress.update(done)
