"""Text → tokens, quickly: words repeat, and most need no second tokenization.

A text may be cut where its tokenizer always cuts, whatever the text on either side. For tokenizers whose parts are all
known here, that is at single spaces; any other tokenizer gets whole lines.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import tokenizers

from electra.dataset.shards import Units
from electra.tokenization.tokenizer import Tokenizer

LONG_LINE = 10_000  # characters after which a line is cut at the next space, so that one line costs little memory
LONGEST_WORD = 1 << 20  # … and without a space anywhere: a million characters in one piece cost 0.4 GB
CHARACTERS_AT_ONCE = 1 << 20  # that are tokenized together
CACHE_BYTES = 3 << 27  # about what known words may take: 0.4 GB
WORD_OVERHEAD = 200  # bytes that a known word takes besides its characters

UNIT_OVERHEAD = 20  # characters as which a unit counts besides its own: millions of short ones take memory too

LINE = re.compile(r"[^\n]+")
BEFORE_SPACE = re.compile(r"(?<=\S)(?= )")  # Python's \s holds all that Unicode calls white space
# A space after a character that is not removed with the accents: where a mark alone is removed, the spaces on its two
# sides become one token. The letters that are excluded here are such marks to NFKC, some with a space before them.
BEHIND_WHAT_STAYS = re.compile(r"(?<=[!-~«»‐-―‘-…、。，]|[^\W\u037a\ufc5e-\ufc63\ufe70-\ufe7f\uff9e\uff9f])(?= )")
ASCII_SIGN = r"[!-&(-/:-@\[-`{-~]"  # without the apostrophe, which may begin a word's ending
WORD_BREAK = re.compile(f"(?<=[A-Za-z0-9])(?={ASCII_SIGN})|(?<={ASCII_SIGN})(?=[A-Za-z0-9])")
LOCAL_NORMALIZERS = {"BertNormalizer", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents"}
DROPS_SPACES = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"}
KEEPS_SPACES = {"ByteLevel", "Metaspace"}  # each before the word that follows it

Item = TypeVar("Item")


class CachingTokenizer:
    """Tokenizes lines and remembers the tokens of their words. The result is what the tokenizer gives for each line."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        self.dtype = np.dtype(np.uint16 if tokenizer.size <= 1 << 16 else np.uint32)
        self.cut, self.cuts_at_signs = choose_cutter(tokenizer.backend)
        self.known: dict[str, bytes] = {}
        self.known_before: dict[str, bytes] = {}  # what was known when the cache was last emptied
        self.cached_bytes = 0  # about what ``known`` takes

    def encode_documents(self, documents: Sequence[str]) -> list[Units]:
        """The units of each document: its lines, long ones in parts, none empty."""
        encoded = [Units(self.dtype) for _ in documents]
        numbered_units = (
            (number, unit)
            for number, document in enumerate(documents)
            for line in split_lines(document)
            for unit in ([line] if self.cut is None else cut_line(line))
        )
        for group in group_by_size(numbered_units, weigh_unit, CHARACTERS_AT_ONCE):
            numbers, units = zip(*group, strict=True)
            for number, tokens in zip(numbers, self.encode_units(units), strict=True):
                if tokens:
                    encoded[number].append(tokens)
        return encoded

    def encode_units(self, units: Sequence[str]) -> Iterable[bytes]:
        """The tokens of each unit."""
        if self.cut is None:
            return self.tokenize(units)
        words_of_units = [self.cut(unit) for unit in units]
        self.learn(set().union(*words_of_units))
        return (b"".join(map(self.known.__getitem__, words)) for words in words_of_units)

    def learn(self, words: set[str]) -> None:
        """Make all of the words known. Of a new word "films," only what is new of "films" and "," is tokenized."""
        if self.cached_bytes > CACHE_BYTES / 2:
            self.known_before, self.known, self.cached_bytes = self.known, {}, 0
        recalled = words.difference(self.known).intersection(self.known_before)
        self.known |= {word: self.known_before[word] for word in recalled}
        new = words.difference(self.known)
        cut = {word: WORD_BREAK.split(word) for word in new} if self.cuts_at_signs else {}
        uncut = list(set().union(*cut.values()).difference(self.known)) if self.cuts_at_signs else list(new)
        for word, tokens in zip(uncut, self.tokenize(uncut), strict=True):
            self.known[word] = tokens
        for word, pieces in cut.items():
            self.known[word] = b"".join(map(self.known.__getitem__, pieces))
        self.cached_bytes += sum(WORD_OVERHEAD + len(word) for word in (*recalled, *uncut, *cut))

    def tokenize(self, texts: Sequence[str]) -> Iterator[bytes]:
        """The tokens of each text, by the tokenizer itself."""
        return (np.array(ids, dtype=self.dtype).tobytes() for ids in self.tokenizer.encode(texts))


def group_by_size(items: Iterable[Item], size: Callable[[Item], int], most: int) -> Iterator[list[Item]]:
    """The items in lists, each of which ends when the sizes of its items together reach ``most``."""
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
    """The lines of a text that are not blank, without their ends."""
    lines = (match[0] for match in LINE.finditer(document))  # no list, which for short lines is many times the text
    return (line.removesuffix("\r") for line in lines if not line.isspace())


def weigh_unit(numbered_unit: tuple[int, str]) -> int:
    """What a unit adds to a group: its characters, and what it takes beside them."""
    return len(numbered_unit[1]) + UNIT_OVERHEAD


def cut_line(line: str) -> Iterator[str]:
    """A line; a long one in parts, cut where that does not change its tokens."""
    start = 0
    while len(line) - start > LONG_LINE:
        space = BEHIND_WHAT_STAYS.search(line, start + LONG_LINE, start + LONGEST_WORD)
        stop = space.start() if space else min(start + LONGEST_WORD, len(line))
        yield line[start:stop]
        start = stop
    if start < len(line):
        yield line[start:]


def choose_cutter(backend: tokenizers.Tokenizer) -> tuple[Callable[[str], list[str]] | None, bool]:
    """The function that cuts a line into pieces whose tokens, one after another, are the line's; whether the pieces may
    be cut at ``WORD_BREAK`` too.

    The function is None for a tokenizer that may give other tokens to pieces.
    """
    parts = json.loads(backend.to_str())
    normalizers = flatten_sequence(parts["normalizer"], "normalizers")
    pre_tokenizers = flatten_sequence(parts["pre_tokenizer"], "pretokenizers")
    normalizer_types = {part["type"] for part in normalizers}
    pre_tokenizer_types = {part["type"] for part in pre_tokenizers}
    keeps_spaces = pre_tokenizer_types & KEEPS_SPACES
    if (
        any(not token["special"] for token in parts["added_tokens"])  # these may hold spaces
        or not normalizer_types <= LOCAL_NORMALIZERS
        or not pre_tokenizer_types <= DROPS_SPACES | KEEPS_SPACES | {"Digits"}
        or ("BertNormalizer" in normalizer_types and "ByteLevel" in pre_tokenizer_types)  # bytes count spaces it makes
        or len(keeps_spaces) + bool(pre_tokenizer_types & DROPS_SPACES) != 1
        or any(not part.get("use_regex", True) or not part.get("split", True) for part in pre_tokenizers)
        or parts["model"].get("dropout")
    ):
        return None, False
    # These part letters from signs; but a space put before a piece would make it the beginning of a word.
    cuts_at_signs = bool(pre_tokenizer_types & {"BertPreTokenizer", "ByteLevel"})
    cuts_at_signs = cuts_at_signs and not any(part.get("add_prefix_space") for part in pre_tokenizers)
    if not keeps_spaces:
        return lambda line: line.split(" "), cuts_at_signs
    return (BEHIND_WHAT_STAYS if "StripAccents" in normalizer_types else BEFORE_SPACE).split, cuts_at_signs


def flatten_sequence(part: dict[str, Any] | None, key: str) -> list[dict[str, Any]]:
    """The members, under ``key``, of a part that is a sequence, and theirs; else the part alone; nothing for None."""
    if part is None:
        return []
    if part["type"] != "Sequence":
        return [part]
    return [member for inner in part[key] for member in flatten_sequence(inner, key)]
