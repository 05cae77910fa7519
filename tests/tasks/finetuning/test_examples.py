"""Labelled examples as the loop's source: each once an epoch, like lengths together, the same after any stop."""

import numpy as np
import pytest
import torch

from electra.tasks.finetuning.examples import MULTIPLE, Example, ExamplePlace, ExampleSource, encode_texts
from electra.tokenization.tokenizer import Tokenizer
from electra.tokenization.training import train_tokenizer


def targets(examples, length):
    return {"labels": torch.tensor([example.target for example in examples])}, len(examples)


def source(lengths: list[int], rows: int = 4, seed: int = 1) -> ExampleSource:
    examples = [Example([7] * length, [0] * length, number, number) for number, length in enumerate(lengths)]
    return ExampleSource(examples, targets, pad=0, rows=rows, seed=seed)


def test_every_example_comes_once_an_epoch_and_stopping_changes_nothing() -> None:
    some = source(list(range(1, 11)))
    at_once, end = some.take(ExamplePlace(), 25)
    first, middle = some.take(ExamplePlace(), 7)
    second, last = some.take(middle, 18)
    assert [ref[:2] for ref in first + second] == [ref[:2] for ref in at_once] and last == end == ExamplePlace(2, 5)
    for epoch in range(2):
        assert sorted(ref[:2] for ref in at_once[10 * epoch : 10 * epoch + 10]) == [(epoch, n) for n in range(10)]
    assert [ref.number for ref in at_once[:10]] != [ref.number for ref in at_once[10:20]]
    assert [ref[:2] for ref in source(list(range(1, 11)), seed=2).take(ExamplePlace(), 10)[0]] != [
        ref[:2] for ref in at_once[:10]
    ]


def test_a_batch_holds_like_lengths_and_little_padding() -> None:
    lengths = np.random.default_rng(0).integers(5, 120, 4000).tolist()
    some = source(lengths, rows=32)
    place, padded, text = ExamplePlace(), 0, 0
    for _ in range(125):
        refs, place = some.take(place, 32)
        batch = some.batch(refs)
        padded, text = padded + batch.ids.numel(), text + int((batch.documents > 0).sum())
    assert place == ExamplePlace(1) and text == sum(lengths)
    assert padded < 1.12 * text, "at random it is 1.9 times"


def test_batches_of_one_length_do_not_come_one_after_another() -> None:
    lengths = np.random.default_rng(0).integers(5, 120, 1600).tolist()
    order = source(lengths, rows=32).draw_order(0)
    means = np.array(lengths)[order].reshape(-1, 32).mean(1)
    assert np.corrcoef(means[:-1], means[1:])[0, 1] < 0.4


def test_a_batch_is_what_its_examples_say() -> None:
    some = source([3, 9, 1])
    batch = some.batch(some.refer_to([(4, 1), (4, 0)]))
    assert batch.ids.shape == (2, 2 * MULTIPLE) and batch.count == 2
    assert batch.ids[1].tolist() == [7] * 3 + [0] * 13 and batch.documents[1].tolist() == [1] * 3 + [0] * 13
    assert batch.address.tolist() == [[4, 1], [4, 0]] and batch.targets["labels"].tolist() == [1, 0]
    assert batch.to(torch.device("cpu")).tensors().keys() == batch.tensors().keys() >= {"labels", "ids"}


def test_a_step_has_one_length_however_it_is_shared_out() -> None:
    some = source([3, 30, 9, 12])
    refs, _ = some.take(ExamplePlace(), 4)
    assert {some.batch([ref]).ids.shape[1] for ref in refs} == {32}


def test_by_length_has_every_example_once() -> None:
    refs = source([9, 2, 5, 2, 7]).split_by_length(2)
    assert [[ref.number for ref in part] for part in refs] == [[1, 3], [2, 4], [0]]
    assert [part[0].length for part in refs] == [MULTIPLE, MULTIPLE, 2 * MULTIPLE]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["one two three four five six"] * 3, 60)


def test_the_longer_of_two_texts_loses_more(tokenizer: Tokenizer) -> None:
    (ids, segments), (alone, _) = encode_texts(
        [("one two", "three four five six"), ("one [SEP] two", None)], tokenizer, 8
    )
    cls, sep = tokenizer.ids["cls"], tokenizer.ids["sep"]
    words = {word: tokenizer.backend.token_to_id(word) for word in ("one", "two", "three", "four", "five")}
    assert ids == [cls, words["one"], words["two"], sep, words["three"], words["four"], words["five"], sep]
    assert segments == [0] * 4 + [1] * 4
    assert alone[0] == cls and alone.count(sep) == 1, "what is written like a special token in a text is text"
