"""The characters of the texts that a vocabulary is trained on: which there are, and for which it has no room."""

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate, chain
from typing import IO

import tokenizers
from tokenizers import Regex, normalizers

from electra.errors import UserError

SPACE_MARK = "▁"  # stands for a space in a unigram vocabulary


def copy_texts(texts: Iterable[str], file: IO[str]) -> Iterator[str]:
    """The texts, each written to ``file`` too: standard input can be read only once."""
    for text in texts:
        file.write(json.dumps(text, ensure_ascii=False) + "\n")
        yield text


def read_copy(file: IO[str]) -> Iterator[str]:
    """The texts that ``copy_texts`` has written."""
    file.seek(0)
    return map(json.loads, file)


def find_character_tokens(texts: Iterable[str], backend: tokenizers.Tokenizer, continued: bool) -> set[str]:
    """The tokens of single characters: ``c`` for each that occurs in a word of the texts, as a trainer gets them, and,
    if ``continued``, ``##c`` for each that occurs behind a word's first."""

    def find_tokens(text: str) -> set[str]:
        normalized = backend.normalizer.normalize_str(text)
        words = [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(normalized)]
        behind = {f"##{character}" for word in words for character in word[1:]} if continued else set()
        return behind.union(*words)

    tokens: set[str] = set()
    settled: set[str] = set()  # characters of the texts that cannot add to the tokens any more
    for word in chain.from_iterable(set(text.split(" ")) for text in texts):
        if not settled.issuperset(word):
            tokens |= find_tokens(word)
            settled.update(character for character in word if find_tokens("a" + character) - {"a"} <= tokens)
    return tokens


def count_characters(texts: Iterable[str], normalizer: normalizers.Normalizer) -> Counter[str]:
    """How often each character occurs in the normalised texts."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(normalizer.normalize_str(text))
    return counts


def list_rarest_characters(counts: Counter[str], tokens: set[str], size: int, reserved: int) -> set[str]:
    """The rarest characters, without which ``tokens``, those of single characters, fit into a vocabulary of ``size``
    ids of which others have the ``reserved`` ones.

    Raises:
        UserError: none fits; with the smallest size for which one does.
    """
    costs = Counter(token[-1] for token in tokens)
    ranked = sorted(costs, key=lambda character: (character != SPACE_MARK, -counts[character], character))
    sizes = [reserved + cost for cost in accumulate(costs[character] for character in ranked)]
    smallest = sizes[ranked[0] == SPACE_MARK]
    if smallest > size:
        raise UserError(f"--vocab-size {size}: too small for these texts; at least {smallest}")
    return set(ranked[bisect_right(sizes, size) :])


def blank_characters(characters: Iterable[str]) -> normalizers.Normalizer:
    """A normalizer that puts a space in the place of each of these characters."""
    return normalizers.Replace(Regex("[" + "".join(f"\\x{{{ord(each):x}}}" for each in sorted(characters)) + "]"), " ")
