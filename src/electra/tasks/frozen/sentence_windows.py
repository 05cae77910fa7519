"""Sentences as windows that a model reads: one where it is short enough, else several that overlap."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, cast

from electra.tasks.finetuning.windows import cut_sentence
from electra.tokenization.tokenizer import Tokenizer

AT_ONCE = 8  # batches between two reports: windows of like length share them, so more of them are filled

ReportShare = Callable[[float], object]  # is called with the share of the work that is done, up to 1


class Pieces(NamedTuple):
    """A sentence as its tokens: their ids, and the number of the word that each is a piece of."""

    ids: Sequence[int]
    words: Sequence[int]


class SentenceWindow(NamedTuple):
    """Tokens of a sentence that a model reads together.

    ``sentence``: its place among all sentences. ``start``: the window's first token in it. ``first`` and ``last``: the
    tokens of the window that are judged in it, from ``first`` up to but not including ``last``; the others are context.
    """

    sentence: int
    start: int
    pieces: Pieces
    first: int
    last: int

    @property
    def length(self) -> int:
        """Tokens that the model reads of it, [CLS] and [SEP] included."""
        return len(self.pieces.ids) + 2


def encode_pieces(sentences: Sequence[str], tokenizer: Tokenizer, words: bool) -> list[Pieces]:
    """The sentences' tokens. ``words``: tell which of them are one word; else each is a word of its own."""
    backend = tokenizer.backend
    encode = backend.encode_batch if words else backend.encode_batch_fast  # the fast one forgets the words
    encodings = encode(list(sentences), add_special_tokens=False)
    numbers = [cast(list[int], each.word_ids) if words else range(len(each.ids)) for each in encodings]  # none is None
    return [Pieces(each.ids, of_words) for each, of_words in zip(encodings, numbers, strict=True)]


def cut_windows(sentences: Sequence[Pieces], most: int) -> Iterator[SentenceWindow]:
    """The windows of sentences, in their order: none for one without tokens, several for one of more than ``most``.

    Half of a window is new. A token is judged in the window whose cuts are farthest from it.
    """
    for number, (ids, words) in enumerate(sentences):
        if len(ids) <= most:
            yield from [SentenceWindow(number, 0, Pieces(ids, words), 0, len(ids))] * bool(ids)
            continue
        for start, stop, own in cut_sentence(range(len(ids) + 1), most):
            yield SentenceWindow(
                number, start, Pieces(ids[start:stop], words[start:stop]), own[0] - start, own[-1] + 1 - start
            )


def split_by_cost(
    windows: Sequence[SentenceWindow], cost: Callable[[SentenceWindow], int], most: int
) -> Iterator[list[SentenceWindow]]:
    """The windows by length, in portions that cost up to ``most``, or one window each that costs more.

    ``cost``: how many tokens the model reads for a window.
    """
    portion, spent = list[SentenceWindow](), 0
    for window in sorted(windows, key=lambda window: window.length):
        if portion and spent + cost(window) > most:
            yield portion
            portion, spent = [], 0
        portion.append(window)
        spent += cost(window)
    if portion:
        yield portion


def report_nothing(share: float) -> None:
    """A ``ReportShare`` for callers that do not want to know."""
