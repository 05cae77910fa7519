"""Tagging: no word is lost to a tokenizer or a length, each counts once, and a small model learns it."""

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from electra.errors import UserError
from electra.interchange.encoders import TowerReader
from electra.model.config import ClassicConfig
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower
from electra.tasks.datasets.samples import Sentence
from electra.tasks.finetuning.examples import Example, ExampleSource
from electra.tasks.finetuning.problem import FineTuned, FineTuning
from electra.tasks.finetuning.tagging import NO_LABEL, Tagging, WordTargets, encode_words, load_tagging
from electra.tokenization.loading import load_tokenizer
from electra.tokenization.tokenizer import Tokenizer
from electra.tokenization.training import train_tokenizer

CPU = torch.device("cpu")
TEXTS = ["the quick brown fox jumps over the lazy dog", "in New York and in Los Angeles a dog sees the fox"] * 4
URL = "https://example.org/" + "a-very-long-path/" * 12 + "?q=%20%F0%9F%A6%8A"
ODD = ["\x07", "\u00a0", "\u3000", "\u200d", "\u00ad", "a b", "[CLS]", "[UNK]", URL]
WORDS = ["fox", "dog's", "👩\u200d👩\u200d👧", "e\u0301\u0301", "中文", *ODD]


@pytest.fixture(scope="module", params=["word-piece", "byte-bpe", "unigram", "bert"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    if request.param == "bert":
        folder = request.getfixturevalue("shared") / "data" / "vocab"
        return load_tokenizer(folder / "bert-base-uncased-vocab.txt")
    return train_tokenizer(TEXTS, 400, kind=request.param)


def problem(*sentences: Sentence, **more: list[Sentence]) -> Tagging:
    return Tagging("mine", {"train": list(sentences), **more})


def test_every_word_has_the_pieces_that_it_has_alone(tokenizer: Tokenizer) -> None:
    (together,) = encode_words([Sentence(tuple(WORDS))], tokenizer)
    assert together == [encode_words([Sentence((word,))], tokenizer)[0][0] for word in WORDS]
    assert all(together) and together == encode_words([Sentence(()), Sentence(tuple(WORDS))], tokenizer)[1]
    special = {tokenizer.ids["cls"], tokenizer.ids["sep"]}
    assert not special & set(together[WORDS.index("[CLS]")]), "what is written like a special token is text"


def test_a_word_of_which_nothing_is_left_is_unknown() -> None:
    tokenizer = train_tokenizer(TEXTS, 400)
    assert encode_words([Sentence(("\x07", "fox", "\u00a0"))], tokenizer)[0][::2] == [[tokenizer.ids["unk"]]] * 2


@pytest.mark.parametrize("prefix", [True, False])  # False: RoBERTa and ModernBERT
def test_a_byte_level_vocabulary_sees_words_as_in_their_text(prefix: bool) -> None:
    """The first word has a space before it only where the tokenizer puts one there, as ``pipeline`` reads the text."""
    tokenizer = train_tokenizer(TEXTS, 400, kind="byte-bpe")
    tokenizer.backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    pieces = encode_words([Sentence(("the", "fox", "dog"))], tokenizer)[0]
    assert [piece for word in pieces for piece in word] == tokenizer.encode(["the fox dog"])[0]
    assert (pieces[0] == tokenizer.encode([" the"])[0]) is prefix and pieces[1] == tokenizer.encode([" fox"])[0]


LISTS = st.lists(
    st.lists(st.sampled_from(WORDS) | st.text(min_size=1, max_size=6), max_size=25), min_size=1, max_size=3
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(LISTS, st.integers(8, 40))
def test_windows_have_every_word_once_at_its_first_piece(tokenizer: Tokenizer, lists: list, length: int) -> None:
    sentences = [Sentence(tuple(words), tuple("XY"[len(word) % 2] for word in words)) for words in lists]
    task = problem(Sentence(("a", "b"), ("X", "Y")), dev=sentences)
    examples, pieces = task.examples("dev", tokenizer, length), encode_words(sentences, tokenizer)
    seen, answers = [], []
    for example in examples:
        ids, target, answer = example.ids, example.target, [0] * 40
        assert len(ids) == len(example.segments) <= length
        assert (ids[0], ids[-1]) == (tokenizer.ids["cls"], tokenizer.ids["sep"])
        for position, label, word in zip(target.positions, target.labels, target.words, strict=True):
            expected = pieces[example.sample][word][: length - 2]
            assert ids[position : position + len(expected)] == expected and position + len(expected) < len(ids)
            seen.append((example.sample, word))
            answer[position] = label
        answers.append(answer)
    assert sorted(seen) == [(of, word) for of, words in enumerate(lists) for word in range(len(words))]
    targets, count = task.targets(examples, 40)
    assert targets["labels"].shape == (len(examples), 40) and targets["labels"].dtype == torch.int64
    assert count == len(seen) == int((targets["labels"] != NO_LABEL).sum())
    predictions = task.predictions("dev", examples, answers)
    assert predictions == [list(sentence.tags or ()) for sentence in sentences]
    assert task.judge("dev", predictions) == {"accuracy": float(bool(seen))}


def test_a_tag_that_train_lacks_is_no_target_and_wrong() -> None:
    task = problem(Sentence(("a", "b"), ("B-X", "O")), dev=[Sentence(("a", "b"), ("B-Y", "O"))])
    (example,) = task.examples("dev", train_tokenizer(TEXTS, 400), 8)
    assert example.target == WordTargets((1, 2), (-1, 1), (0, 1))
    targets, count = task.targets([example], 4)
    assert targets["labels"].tolist() == [[NO_LABEL, NO_LABEL, 1, NO_LABEL]] and count == 1
    predictions = task.predictions("dev", [example], [[0, 0, 1, 0]])
    assert task.judge("dev", predictions) == {"f1": 0.0, "precision": 0.0, "recall": 0.0, "accuracy": 0.5}


def test_words_without_a_prediction_and_lengths_without_room_are_refused() -> None:
    task = problem(Sentence(("a", "b"), ("X", "Y")))
    with pytest.raises(AssertionError, match="a word that no window predicts"):
        task.predictions("train", [Example([1, 2], [0, 0], WordTargets((1,), (0,), (0,)))], [[0, 0]])
    with pytest.raises(UserError, match=r"length 2: \[CLS\], a word and \[SEP\] need 3 tokens"):
        task.examples("train", train_tokenizer(TEXTS, 400), 2)


def tiny(tokenizer: Tokenizer) -> TowerReader:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "layers": 2, "heads": 2, "intermediate_size": 64, "embedding_size": 16}
    config = ClassicConfig(vocab_size=tokenizer.size, **sizes)
    return TowerReader(Tower.detection(config, build_embeddings(config)))


def fitted(task: Tagging, tokenizer: Tokenizer, length: int, steps: int) -> dict[str, float]:
    """The figures on train of a tiny encoder that has learned it by heart."""
    reader = tiny(tokenizer)
    net = FineTuned(reader, task.head(reader, FineTuning()), seed=0)
    examples = task.examples("train", tokenizer, length)
    source = ExampleSource(examples, task.targets, tokenizer.ids["pad"], len(examples), 0)
    batch = source.batch(source.refer_to([(0, number) for number in range(len(examples))]))
    adam = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(steps):
        loss, statistics = net(batch, {"task": torch.tensor(float(batch.count))}, False, torch.tensor(0.0))
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert statistics["task"][1] == sum(len(sentence.words) for sentence in task.sentences["train"])
    return task.judge("train", task.predictions("train", examples, net.answers(source, CPU)))


@pytest.mark.parametrize("length", [128, 10])
def test_a_small_model_learns_sentences_by_heart_also_in_windows(length: int) -> None:
    pairs = "in/O New/B-LOC York/I-LOC a/O fox/B-X and/O in/O Los/B-LOC Angeles/I-LOC a/O dog/B-X sees/O the/O fox/B-X"
    words, tags = zip(*(pair.split("/") for pair in pairs.split(" ")), strict=True)
    turned = [Sentence(words[at:] + words[:at], tags[at:] + tags[:at]) for at in (0, 3, 4, 5, 6, 9, 10, 11)]
    task = problem(*turned)
    assert fitted(task, train_tokenizer(TEXTS, 400), length, 60)["f1"] == 1.0


def test_the_loss_is_that_of_first_pieces_alone() -> None:
    tokenizer = train_tokenizer(TEXTS, 400)
    task = problem(Sentence(("foxdog", "sees", "catfox"), ("X", "Y", "X")))
    source = ExampleSource(task.examples("train", tokenizer, 128), task.targets, tokenizer.ids["pad"], 1, 0)
    batch = source.batch(source.refer_to([(0, 0)]))
    head = task.head(tiny(tokenizer), FineTuning())
    states = torch.randn(*batch.ids.shape, 32)
    logits = head.body([states], batch, None).log_softmax(2)[0]
    target = source.examples[0].target
    expected = sum(-logits[position, label] for position, label in zip(target.positions, target.labels, strict=True))
    assert target.positions[1] > 2
    assert head.loss([states], batch, None).item() == pytest.approx(expected.item(), rel=1e-5)
    assert head.answers([states], batch) == [logits.argmax(1).tolist()]


@pytest.mark.parametrize("length", [128, 16])
def test_no_word_of_conll_2000_is_lost(shared: Path, length: int) -> None:
    file = shared / "data" / "conll2000" / "test.txt"
    task, _ = load_tagging("chunks", {"train": file, "dev": file}, "", "")
    vocabulary = shared / "data" / "vocab" / "bert-base-uncased-vocab.txt"
    examples = task.examples("dev", load_tokenizer(vocabulary), length)
    assert sum(len(example.target.words) for example in examples) == 47377
    assert (len(examples) == 2012) == (length == 128)
