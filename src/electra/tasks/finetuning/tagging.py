"""A tag for each word: chunks, names, parts of speech. The word's first piece predicts it, as in the original code.

A sentence that is longer than the model is read in windows: every word is predicted, and learned, once.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from electra import fingerprints
from electra.errors import UserError
from electra.interchange.encoders import Reader
from electra.interchange.finetuned import HeadKind, ProblemType
from electra.tasks import chunks
from electra.tasks.finetuning import heads
from electra.tasks.finetuning.examples import Example, ExampleBatch
from electra.tasks.finetuning.problem import FineTuning
from electra.tokenization import Tokenizer

NO_LABEL = -100  # in ``labels``: no target here


@dataclass(frozen=True)
class Sentence:
    """Words, and a tag for each; None where they are not said."""

    words: tuple[str, ...]
    tags: tuple[str, ...] | None = None


@dataclass(frozen=True)
class WordTargets:
    """The words that a window predicts: where their first pieces are, their labels (-1: none that train has), which."""

    positions: tuple[int, ...]
    labels: tuple[int, ...]
    words: tuple[int, ...]


class Tagging:
    """Sentences as a problem. Its labels are the tags of the train split, in order; where they mark spans it is judged
    by these, else by words alone. A tag that train does not have is never predicted, so it counts as wrong.
    """

    model: HeadKind = "token-classification"
    problem_type: ProblemType = ""
    epochs = 3

    def __init__(self, name: str, sentences: Mapping[str, Sequence[Sentence]]):
        self.name, self.sentences, self.splits = name, sentences, tuple(sentences)
        self.labels = tuple(sorted({tag for sentence in sentences["train"] for tag in sentence.tags or ()}))
        self.spans = chunks.are_span_tags(self.labels)
        self.metrics: tuple[str, ...] = ("f1", "precision", "recall", "accuracy") if self.spans else ("accuracy",)
        said = [split for split, some in sentences.items() if all(each.tags is not None for each in some)]
        self.evaluated = tuple(split for split in said if split != "train")

    def contents(self) -> dict[str, str]:
        """See ``Problem``. The labels are the train split's."""
        return {split: fingerprints.hash_values(sentences) for split, sentences in self.sentences.items()}

    def examples(self, split: str, tokenizer: Tokenizer, length: int) -> list[Example]:
        """The windows of each sentence, [CLS] and [SEP] included. Raises ``UserError`` for a length below 3."""
        if length < 3:
            raise UserError(f"length {length}: [CLS], a word and [SEP] need 3 tokens")
        room, cls, sep = length - 2, tokenizer.ids["cls"], tokenizer.ids["sep"]
        numbers = {label: number for number, label in enumerate(self.labels)}
        found = []
        for of, (sentence, words) in enumerate(
            zip(self.sentences[split], encode_words(self.sentences[split], tokenizer), strict=True)
        ):
            labels = [numbers.get(tag, -1) for tag in sentence.tags or ("",) * len(words)]
            before = np.cumsum([0, *(min(len(each), room) for each in words)]).tolist()
            for first, last, owned in cut_sentence(before, room):
                ids = [cls, *(piece for word in words[first:last] for piece in word[:room]), sep]
                positions = tuple(1 + before[word] - before[first] for word in owned)
                target = WordTargets(positions, tuple(labels[word] for word in owned), tuple(owned))
                found.append(Example(ids, [0] * len(ids), target, of))
        return found

    def targets(self, examples: Sequence[Example], length: int) -> tuple[dict[str, Tensor], int]:
        """labels: int64 [rows, length] at first pieces, ``NO_LABEL`` elsewhere."""
        labels = torch.full((len(examples), length), NO_LABEL)
        for row, example in enumerate(examples):
            for position, label in zip(example.target.positions, example.target.labels, strict=True):
                labels[row, position] = label if label >= 0 else NO_LABEL
        return {"labels": labels}, int((labels != NO_LABEL).sum())

    def head(self, reader: Reader, tuning: FineTuning) -> nn.Module:
        """See ``Problem``."""
        return TagHead(heads.build_token_logits(reader, tuning, len(self.labels)))

    def predictions(self, split: str, examples: Sequence[Example], answers: Sequence[Any]) -> list[Any]:
        """The tag of each word of each sentence."""
        tags = [[""] * len(sentence.words) for sentence in self.sentences[split]]
        for example, answer in zip(examples, answers, strict=True):
            for word, position in zip(example.target.words, example.target.positions, strict=True):
                tags[example.of][word] = self.labels[answer[position]]
        assert all(tag in self.labels for each in tags for tag in each), "a word that no window predicts"
        return tags

    def judge(self, split: str, predictions: Sequence[Any]) -> dict[str, float]:
        """The share of words with the right tag; where tags mark spans, their F1, precision and recall."""
        gold = [sentence.tags or () for sentence in self.sentences[split]]
        right = [a == b for tags, said in zip(gold, predictions, strict=True) for a, b in zip(tags, said, strict=True)]
        found = chunks.score_spans(gold, predictions) if self.spans else {}
        return found | {"accuracy": sum(right) / max(len(right), 1)}


class TagHead(nn.Module):
    """Logits of every token, and the loss at first pieces."""

    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body

    def loss(
        self, states: Sequence[Tensor], batch: ExampleBatch, keys: Int[Tensor, " rows"] | None
    ) -> Float[Tensor, ""]:
        """Cross-entropy, summed over the words; see ``Head``."""
        logits = self.body(states, batch, keys).float()
        return F.cross_entropy(logits.mT, batch.targets["labels"], ignore_index=NO_LABEL, reduction="sum")

    def answers(self, states: Sequence[Tensor], batch: ExampleBatch) -> list[Any]:
        """The likeliest label of each position."""
        return self.body(states, batch, None).argmax(2).tolist()


def encode_words(sentences: Sequence[Sentence], tokenizer: Tokenizer) -> list[list[list[int]]]:
    """The ids of each word of each sentence. A word of which the tokenizer leaves nothing is [UNK]."""
    backend = type(tokenizer.backend).from_str(tokenizer.backend.to_str())
    backend.encode_special_tokens = True
    # Byte-level vocabularies tell words from their continuations by the space before, which many do not add themselves.
    space = " " if "ByteLevel" in repr(backend.pre_tokenizer) else ""
    given = [[space + word for word in sentence.words] for sentence in sentences]
    found: list[list[list[int]]] = [[[] for _ in words] for words in given]
    encodings = backend.encode_batch(given, is_pretokenized=True, add_special_tokens=False)
    for words, encoding in zip(found, encodings, strict=True):
        for piece, word in zip(encoding.ids, encoding.word_ids, strict=True):
            words[word].append(piece)  # type: ignore[index]  # None is for special tokens
    return [[word or [tokenizer.ids["unk"]] for word in words] for words in found]


def cut_sentence(before: Sequence[int], room: int) -> list[tuple[int, int, list[int]]]:
    """(first, after the last, those that are predicted here) of the words of each window, half of it new.

    ``before``: how many pieces stand before each word, and in all; no word has more than ``room`` of them. A word is
    predicted where the nearest cut is farthest, in pieces; the sentence's own ends are none.
    """
    words, spans = len(before) - 1, list[tuple[int, int]]()
    first = last = 0
    while last < words:
        last = int(np.searchsorted(before, before[first] + room, side="right")) - 1
        if last == words:
            first = int(np.searchsorted(before, before[-1] - room))
        spans.append((first, last))
        first = min(last, int(np.searchsorted(before, before[first] + max(room // 2, 1))))
    best = [(-1.0, 0)] * words
    for number, (first, last) in enumerate(spans):
        for word in range(first, last):
            left = before[word] - before[first] if first else math.inf
            right = before[last] - before[word + 1] if last < words else math.inf
            best[word] = max(best[word], (min(left, right), -number))
    owned: list[list[int]] = [[] for _ in spans]
    for word, (_, number) in enumerate(best):
        owned[-number].append(word)
    return [(first, last, some) for (first, last), some in zip(spans, owned, strict=True) if some]
