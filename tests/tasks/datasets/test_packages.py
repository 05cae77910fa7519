"""The labelled task: equal classes, no names, no file on both sides; and its bag-of-words baseline."""

import random

import pytest

from electra.corpus.documents import Document
from electra.corpus.hashing import split_words
from electra.errors import UserError
from electra.tasks.datasets import packages
from electra.tasks.datasets.packages import NameRemover, build_package_task, classify_by_words

NAMES = ["torch", "numpy", "sklearn", "_pytest"]


def corpus(per_file: int = 4, files: int = 60) -> list[Document]:
    """Made-up packages whose documents share most words, a third of them a package's own."""
    draw = random.Random(0)
    documents = []
    for name in NAMES:
        for file in range(files):
            for index in range(per_file):
                words = draw.choices([f"common{n}" for n in range(300)], k=14)
                words += draw.choices([f"{name.strip('_')[0]}own{n}" for n in range(60)], k=6)
                documents.append(
                    Document(f"In {name} as in numpy.array, {' '.join(words)}", f"{name}/m{file}.py", index)
                )
    return documents


def test_names_are_taken_out() -> None:
    unnamed = NameRemover(NAMES)
    text = "PyTorch and TORCHSCRIPT: torch.nn, np.array, Numpy's scikit-learn; pytest_plugin; input of knowledge"
    expected = "package and package: package.nn, package.array, package's package; package_plugin; input of knowledge"
    assert unnamed(text) == expected


def test_the_task_is_balanced_and_its_sides_share_no_file() -> None:
    documents = corpus()
    task = build_package_task(documents, most_train=50, most_judged=20)
    assert task.names == sorted(NAMES)
    for labels in (task.train_labels, task.dev_labels, task.test_labels):
        assert {labels.count(label) for label in range(4)} == {labels.count(0)}
    assert task.train_labels.count(0) == 50
    assert 5 < task.dev_labels.count(0) <= 20 and 5 < task.test_labels.count(0) <= 20
    texts = task.train_texts + task.dev_texts + task.test_texts
    assert len(set(texts)) == len(texts)
    every = " ".join(split_words(" ".join(texts)))
    assert not any(name.strip("_") in every for name in NAMES)
    assert build_package_task(reversed(documents), 50, 20) == task


def test_a_subset_has_so_many_of_each_class() -> None:
    task = build_package_task(corpus(), most_train=50, most_judged=20)
    texts, labels = task.draw_subset(7, seed=3)
    assert [labels.count(label) for label in range(4)] == [7] * 4
    assert all(
        task.train_labels[task.train_texts.index(text)] == label for text, label in zip(texts, labels, strict=True)
    )
    assert task.draw_subset(7, seed=4) != (texts, labels) == task.draw_subset(7, seed=3)
    assert len(task.draw_subset(1000, seed=0)[0]) == 200


def test_copies_that_differ_in_names_alone_are_dropped() -> None:
    text = "The {} of this is the same in all packages, one word after the other, to the very end of it."
    documents = corpus() + [Document(text.format(name), f"{name}/m{n}.py", 99) for name in NAMES for n in range(30)]
    task = build_package_task(documents, most_train=1000, most_judged=1000)
    assert sum("to the very end of it" in text for text in task.train_texts + task.dev_texts + task.test_texts) <= 1


def test_too_few_packages_are_refused() -> None:
    with pytest.raises(UserError, match="needs two installed packages"):
        build_package_task([document for document in corpus() if document.source.startswith("torch")])


def test_the_baseline_tells_packages_by_their_words() -> None:
    task = build_package_task(corpus(), most_train=100, most_judged=20)
    classes = classify_by_words(task.train_texts, task.train_labels, task.test_texts)
    assert sum(map(int.__eq__, classes, task.test_labels)) / len(classes) > 0.9
    assert packages.CLASSES == 10
