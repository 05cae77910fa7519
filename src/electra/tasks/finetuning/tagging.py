"""A tag for each word: chunks, names, parts of speech. The word's first piece predicts it, as in the original code.

A sentence that is longer than the model is read in windows: every word is predicted, and learned, once.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

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
from electra.tasks.datasets.accounts import describe_sentences, format_account, preview_sentences
from electra.tasks.datasets.columns import NUMBER
from electra.tasks.datasets.label_names import list_lookalikes, sort_labels
from electra.tasks.datasets.samples import Sentence
from electra.tasks.datasets.sentences import read_sentences
from electra.tasks.finetuning import heads
from electra.tasks.finetuning.examples import Example, ExampleBatch
from electra.tasks.finetuning.problem import FineTuning
from electra.tasks.finetuning.windows import cut_sentence
from electra.tokenization.tokenizer import Tokenizer

NO_LABEL = -100  # in ``labels``: no target here


@dataclass(frozen=True)
class WordTargets:
    """The words that a window predicts: positions of their first pieces, labels (-1: a tag that train does not have),
    and numbers in the sentence."""

    positions: tuple[int, ...]
    labels: tuple[int, ...]
    words: tuple[int, ...]


class Tagging:
    """Sentences as a problem. Its labels are the tags of the train split, sorted; if they mark spans it is judged by
    these, else by words alone. A tag that train does not have is never predicted, so it counts as wrong.
    """

    model: HeadKind = "token-classification"
    problem_type: ProblemType = ""
    published = False
    units = (0.0, 1.0)
    epochs = 3

    def __init__(
        self,
        name: str,
        sentences: Mapping[str, Sequence[Sentence]],
        accounts: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ):
        """``accounts``: split → lines that say what was read for it."""
        self.name, self.sentences, self.splits, self.accounts = name, sentences, tuple(sentences), accounts
        self.labels = sort_labels({tag for sentence in sentences["train"] for tag in sentence.tags or ()})
        self.spans = chunks.are_span_tags(self.labels)
        self.metrics: tuple[str, ...] = ("f1", "precision", "recall", "accuracy") if self.spans else ("accuracy",)
        self.evaluated = tuple(
            split
            for split, part in sentences.items()
            if split != "train" and all(sentence.tags is not None for sentence in part)
        )

    def account(self, split: str, preview: bool) -> list[str]:
        """Sentences, words, and tags with counts."""
        sentences = self.sentences[split]
        rows = preview_sentences(sentences) if preview else []
        return format_account(split, self.accounts.get(split, ()), describe_sentences(sentences), rows)

    def contents(self) -> dict[str, str]:
        """A hash of the sentences of each split; the labels are the train split's."""
        return {split: fingerprints.hash_values(sentences) for split, sentences in self.sentences.items()}

    def examples(self, split: str, tokenizer: Tokenizer, length: int) -> list[Example]:
        """The windows of each sentence, [CLS] and [SEP] included. Raises ``UserError`` for a length below 3."""
        frame = tokenizer.frame
        room = length - len(frame.before) - len(frame.after)
        if room < 1:
            raise UserError(f"length {length}: [CLS], a word and [SEP] need {length + 1 - room} tokens")
        numbers = {label: number for number, label in enumerate(self.labels)}
        examples = []
        pieces = encode_words(self.sentences[split], tokenizer)
        for number, (sentence, words) in enumerate(zip(self.sentences[split], pieces, strict=True)):
            labels = [numbers.get(tag, -1) for tag in sentence.tags or ("",) * len(words)]
            before = np.cumsum([0, *(min(len(word), room) for word in words)]).tolist()
            for first, last, predicted in cut_sentence(before, room):
                ids, segments = frame.wrap([piece for word in words[first:last] for piece in word[:room]])
                positions = tuple(len(frame.before) + before[word] - before[first] for word in predicted)
                target = WordTargets(positions, tuple(labels[word] for word in predicted), tuple(predicted))
                examples.append(Example(ids, segments, target, number))
        return examples

    def targets(self, examples: Sequence[Example], length: int) -> tuple[dict[str, Tensor], int]:
        """labels: int64 [rows, length] at first pieces, ``NO_LABEL`` elsewhere."""
        labels = torch.full((len(examples), length), NO_LABEL)
        for row, example in enumerate(examples):
            for position, label in zip(example.target.positions, example.target.labels, strict=True):
                labels[row, position] = label if label >= 0 else NO_LABEL
        return {"labels": labels}, int((labels != NO_LABEL).sum())

    def head(self, reader: Reader, tuning: FineTuning) -> nn.Module:
        """Logits of every token, learned and read at first pieces."""
        return TagHead(heads.build_token_logits(reader, tuning, len(self.labels)))

    def predictions(self, split: str, examples: Sequence[Example], answers: Sequence[Sequence[int]]) -> list[list[str]]:
        """The tag of each word of each sentence."""
        tags = [[""] * len(sentence.words) for sentence in self.sentences[split]]
        for example, answer in zip(examples, answers, strict=True):
            for word, position in zip(example.target.words, example.target.positions, strict=True):
                tags[example.sample][word] = self.labels[answer[position]]
        assert all(tag in self.labels for sentence in tags for tag in sentence), "a word that no window predicts"
        return tags

    def judge(self, split: str, predictions: Sequence[Sequence[str]]) -> dict[str, float]:
        """The share of words with the right tag; if tags mark spans, their F1, precision and recall too."""
        gold = [sentence.tags or () for sentence in self.sentences[split]]
        right = [
            tag == predicted
            for tags, predicted_tags in zip(gold, predictions, strict=True)
            for tag, predicted in zip(tags, predicted_tags, strict=True)
        ]
        scores = chunks.score_spans(gold, predictions) if self.spans else {}
        return scores | {"accuracy": sum(right) / max(len(right), 1)}


class TagHead(nn.Module):
    """Logits of every token, and the loss at first pieces."""

    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body

    def loss(
        self, states: Sequence[Tensor], batch: ExampleBatch, keys: Int[Tensor, " rows"] | None
    ) -> Float[Tensor, ""]:
        """The cross-entropy of the words' tags, summed."""
        logits = self.body(states, batch, keys).float()
        return F.cross_entropy(logits.mT, batch.targets["labels"], ignore_index=NO_LABEL, reduction="sum")

    def answers(self, states: Sequence[Tensor], batch: ExampleBatch) -> list[list[int]]:
        """The likeliest label of each position."""
        return self.body(states, batch, None).argmax(2).tolist()


def encode_words(sentences: Sequence[Sentence], tokenizer: Tokenizer) -> list[list[list[int]]]:
    """The ids of each word of each sentence, as they are in the text that the words make, each with a space before it.

    A word of which the tokenizer leaves nothing is [UNK]. Raises ``UserError`` if there is no such token.
    """
    backend = type(tokenizer.backend).from_str(tokenizer.backend.to_str())
    backend.encode_special_tokens = True
    # Byte-level vocabularies tell words from their continuations by the space before, which many do not add themselves.
    space = " " if "ByteLevel" in repr(backend.pre_tokenizer) else ""
    texts = [[space * (number > 0) + word for number, word in enumerate(sentence.words)] for sentence in sentences]
    encodings = backend.encode_batch(texts, is_pretokenized=True, add_special_tokens=False)
    pieces: list[list[list[int]]] = [[[] for _ in words] for words in texts]
    for words, encoding in zip(pieces, encodings, strict=True):
        for piece, word in zip(encoding.ids, encoding.word_ids, strict=True):
            words[word].append(piece)  # type: ignore[index]  # None is for special tokens
    if "unk" in tokenizer.ids:
        return [[word or [tokenizer.ids["unk"]] for word in words] for words in pieces]
    for sentence, words in zip(sentences, pieces, strict=True):
        if [] in words:
            lost = sentence.words[words.index([])]
            raise UserError(f"the tokenizer leaves nothing of the word {lost!r}, and has no [UNK] to stand for it")
    return pieces


def load_tagging(name: str, files: Mapping[str, Path], word: str, tag: str) -> tuple[Tagging, list[str]]:
    """The task in a file for each split, and lines that a person should read. ``word``, ``tag``: columns.

    Raises:
        UserError: as ``read_sentences``, or train has one tag only.
    """
    problem = Tagging(name, *read_sentences(files, word, tag))
    if len(problem.labels) < 2:
        raise UserError(
            f"{files['train']}: all words have the tag {problem.labels[0]!r}; there is nothing to tell apart"
        )
    return problem, list(note_tags(problem, files))


def note_tags(problem: Tagging, files: Mapping[str, Path]) -> Iterator[str]:
    """A line if the tags are bare numbers, and one for each split with tags that train does not have."""
    if all(NUMBER.fullmatch(label) for label in problem.labels):
        yield f"{files['train']}: tags are numbers without names, so words are judged, not spans"
    for names in list_lookalikes(problem.labels):
        yield f"{files['train']}: tags that differ in case or spaces only: {names}"
    tagged = {split: sum(each.tags is not None for each in part) for split, part in problem.sentences.items()}
    for split, part in problem.sentences.items():
        if 0 < tagged[split] < len(part):
            yield f"{files[split]}: {tagged[split]:,} of {len(part):,} sentences have tags, so it is not judged"
    for split in problem.evaluated:
        counts = Counter(tag for sentence in problem.sentences[split] for tag in sentence.tags or ())
        unseen = [f"{tag} ({count:,} words)" for tag, count in sorted(counts.items()) if tag not in problem.labels]
        if unseen:
            tags = ", ".join(unseen)
            yield f"{files[split]}: tags that {files['train']} does not have and that are never predicted: {tags}"
