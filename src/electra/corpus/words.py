"""Text → tokens, quickly: words repeat, and most need no second tokenization.

A text may be cut where its tokenizer cuts it whatever stands on either side. For the tokenizers made of parts that are
known here that is at single spaces; another one is given whole lines.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import tokenizers

from electra.tokenization import Tokenizer

LONG_LINE = 10_000  # characters after which a line is cut at the next space, so that one line costs little memory
LONGEST_WORD = 1 << 20  # … and without a space anywhere: a million characters in one piece cost 0.4 GB
CHARACTERS_AT_ONCE = 1 << 20  # characters that are tokenized together
CACHE_BYTES = 3 << 27  # bytes, about, that known words may take: 0.4 GB
WORD_OVERHEAD = 200  # … and what one takes besides its characters and tokens

BEFORE_SPACE = re.compile(r"(?<=\S)(?= )")  # Python's \s holds all that Unicode calls white space
# … behind what stays without its accents; where a mark alone goes, the spaces on its sides become one token. To NFKC
# the letters that are left out here are such marks, some with a space before them.
BEHIND_WHAT_STAYS = re.compile(r"(?<=[!-~«»‐-―‘-…、。，]|[^\W\u037a\ufc5e-\ufc63\ufe70-\ufe7f\uff9e\uff9f])(?= )")
ASCII_SIGN = r"[!-&(-/:-@\[-`{-~]"  # of ASCII, without the apostrophe, which may begin a word's ending
WORD_BREAK = re.compile(f"(?<=[A-Za-z0-9])(?={ASCII_SIGN})|(?<={ASCII_SIGN})(?=[A-Za-z0-9])")
LOCAL_NORMALIZERS = {"BertNormalizer", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents"}
DROPS_SPACES = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"}
KEEPS_SPACES = {"ByteLevel", "Metaspace"}  # each before the word that follows it

Item = TypeVar("Item")


class CachingTokenizer:
    """The tokens of texts, equal to those that the tokenizer gives each line by itself."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        self.dtype = np.dtype(np.uint16 if tokenizer.size <= 1 << 16 else np.uint32)
        self.cut, self.breaks = choose_cutter(tokenizer.backend)
        self.known: dict[str, bytes] = {}
        self.before: dict[str, bytes] = {}  # what was known before the last time that it became too much
        self.held = 0

    def units(self, documents: Sequence[str]) -> list[list[bytes]]:
        """For each document its units as arrays of ``dtype``, as bytes: its lines, long ones in parts, none empty."""
        encoded: list[list[bytes]] = [[] for _ in documents]
        whole = self.cut is None
        numbered = (
            (number, unit)
            for number, document in enumerate(documents)
            for line in split_lines(document)
            for unit in ([line] if whole else cut_line(line))
        )
        for group in group_by_size(numbered, lambda each: len(each[1]), CHARACTERS_AT_ONCE):
            numbers, texts = zip(*group, strict=True)
            for number, tokens in zip(numbers, self.encode(texts), strict=True):
                if tokens:
                    encoded[number].append(tokens)
        return encoded

    def encode(self, texts: Sequence[str]) -> Iterable[bytes]:
        """The tokens of each text."""
        if self.cut is None:
            return self.tokens(texts)
        cut = [self.cut(text) for text in texts]
        self.learn(set().union(*cut))
        return (b"".join(map(self.known.__getitem__, words)) for words in cut)

    def learn(self, words: set[str]) -> None:
        """Make the words known that are new: of "films," only what is new in "films" and "," is tokenized."""
        if self.held > CACHE_BYTES / 2:
            self.before, self.known, self.held = self.known, {}, 0
        again = words.difference(self.known).intersection(self.before)
        self.known |= {word: self.before[word] for word in again}
        new = words.difference(self.known)
        cut = {word: WORD_BREAK.split(word) for word in new} if self.breaks else {}
        whole = list(set().union(*cut.values()).difference(self.known)) if self.breaks else list(new)
        for word, tokens in zip(whole, self.tokens(whole), strict=True):
            self.known[word] = tokens
        for word, pieces in cut.items():
            self.known[word] = b"".join(map(self.known.__getitem__, pieces))
        self.held += sum(WORD_OVERHEAD + len(word) for word in (*again, *whole, *cut))

    def tokens(self, texts: Sequence[str]) -> Iterator[bytes]:
        """The tokens of each text, by the tokenizer itself."""
        return (np.array(ids, dtype=self.dtype).tobytes() for ids in self.tokenizer.encode(texts))


def group_by_size(items: Iterable[Item], size: Callable[[Item], int], most: int) -> Iterator[list[Item]]:
    """The items in lists that end when their sizes together reach ``most``."""
    held: list[Item] = []
    total = 0
    for item in items:
        held.append(item)
        total += size(item)
        if total >= most:
            yield held
            held, total = [], 0
    if held:
        yield held


def split_lines(document: str) -> Iterator[str]:
    """The lines of a text that are not blank."""
    return (line.removesuffix("\r") for line in document.split("\n") if line and not line.isspace())


def cut_line(line: str) -> Iterator[str]:
    """A line, or a long one in parts, cut where its tokens do not tell."""
    start = 0
    while len(line) - start > LONG_LINE:
        space = BEHIND_WHAT_STAYS.search(line, start + LONG_LINE, start + LONGEST_WORD)
        stop = space.start() if space else min(start + LONGEST_WORD, len(line))
        yield line[start:stop]
        start = stop
    if start < len(line):
        yield line[start:]


def choose_cutter(backend: tokenizers.Tokenizer) -> tuple[Callable[[str], list[str]] | None, bool]:
    """What cuts a line into pieces whose tokens, one after another, are its own; None where nothing surely does.

    Also, whether pieces may be cut at ``WORD_BREAK``.
    """
    said = json.loads(backend.to_str())
    normalizers, pre_tokenizers = (
        flatten_sequence(said["normalizer"], "normalizers"),
        flatten_sequence(said["pre_tokenizer"], "pretokenizers"),
    )
    kinds, spelling = ({each["type"] for each in parts} for parts in (pre_tokenizers, normalizers))
    keeps = kinds & KEEPS_SPACES
    if (
        any(not token["special"] for token in said["added_tokens"])  # these may hold spaces
        or not spelling <= LOCAL_NORMALIZERS
        or not kinds <= DROPS_SPACES | KEEPS_SPACES | {"Digits"}
        or ("BertNormalizer" in spelling and "ByteLevel" in kinds)  # it makes spaces, which bytes count
        or len(keeps) + bool(kinds & DROPS_SPACES) != 1
        or any(not each.get("use_regex", True) or not each.get("split", True) for each in pre_tokenizers)
        or said["model"].get("dropout")
    ):
        return None, False
    # These part letters from signs; but a space put before a piece would make it the beginning of a word.
    breaks = bool(kinds & {"BertPreTokenizer", "ByteLevel"})
    breaks = breaks and not any(each.get("add_prefix_space") for each in pre_tokenizers)
    if not keeps:
        return lambda line: line.split(" "), breaks
    return (BEHIND_WHAT_STAYS if "StripAccents" in spelling else BEFORE_SPACE).split, breaks


def flatten_sequence(part: dict[str, Any] | None, inner: str) -> list[dict[str, Any]]:
    """The members of a sequence of parts, or the part alone, or nothing."""
    if part is None:
        return []
    return (
        [each for member in part[inner] for each in flatten_sequence(member, inner)]
        if part["type"] == "Sequence"
        else [part]
    )
