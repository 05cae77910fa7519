"""The labelled task in the built-in corpus: which package is this docstring from?

The largest packages in equal numbers, their names taken out of the text, no near copies, and tested on files that are
held out here and from pre-training alike.
"""

import random
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from electra.corpus.builtin import is_in_held_out_file, name_package
from electra.corpus.copies import WORD, find_near_copies, split_words
from electra.corpus.documents import Document
from electra.errors import UserError
from electra.tasks.metrics import macro_f1

CLASSES = 10
FEWEST_WORDS = 10  # without the names
PLACEHOLDER = "package"  # for every name of every package
ALIASES = {
    "PIL": ["pillow"],
    "_pytest": ["pytest"],
    "huggingface_hub": ["huggingface", "hugging face", "hf"],
    "matplotlib": ["mpl", "plt", "pyplot", "pylab"],
    "networkx": ["nx"],
    "numpy": ["np"],
    "pandas": ["pd"],
    "scipy": ["sp"],
    "sklearn": ["scikit-learn", "scikit"],
    "tensorflow": ["tf"],
    "transformers": ["huggingface", "hugging face", "hf"],
}


@dataclass(frozen=True)
class PackageTask:
    """Texts with the index of their class in ``names``, each class as often as the others."""

    names: list[str]
    train_texts: list[str]
    train_labels: list[int]
    test_texts: list[str]
    test_labels: list[int]

    def subset(self, per_class: int, seed: int) -> tuple[list[str], list[int]]:
        """Training texts and labels, ``per_class`` of each class, or all where there are fewer, drawn by ``seed``."""
        texts: list[str] = []
        labels: list[int] = []
        for label in range(len(self.names)):
            own = [text for text, other in zip(self.train_texts, self.train_labels, strict=True) if other == label]
            texts += random.Random(f"{seed}/{label}").sample(own, min(per_class, len(own)))
            labels += [label] * (len(texts) - len(labels))
        return texts, labels


def build_package_task(documents: Iterable[Document], most_train: int = 1000, most_test: int = 100) -> PackageTask:
    """The task in a corpus of docstrings, the same every time; at most so many texts of a class in each split.

    The standard library is no class: its modules are one project under many names. Raises ``UserError`` where the
    corpus has fewer than two packages with documents in both splits.
    """
    documents = [document for document in documents if name_package(document) not in sys.stdlib_module_names]
    names = choose_largest_packages(documents)
    unnamed = NameRemover(names)
    documents = [
        replace(document, text=unnamed(document.text))
        for document in sorted(
            documents, key=lambda document: (not is_in_held_out_file(document), document.source, document.index)
        )
        if name_package(document) in names
    ]
    documents = [document for document in documents if len(split_words(document.text)) >= FEWEST_WORDS]
    copies = find_near_copies(document.text for document in documents)  # some differed in nothing but the names
    documents = [document for document, copy in zip(documents, copies, strict=True) if not copy]
    train, train_labels = draw_equal_numbers([d for d in documents if not is_in_held_out_file(d)], names, most_train)
    test, test_labels = draw_equal_numbers([d for d in documents if is_in_held_out_file(d)], names, most_test)
    return PackageTask(names, train, train_labels, test, test_labels)


def choose_largest_packages(documents: Sequence[Document]) -> list[str]:
    """The packages with the most documents, in alphabetical order, of those that have any in both splits."""
    counts = Counter(map(name_package, documents))
    tested = Counter(name_package(document) for document in documents if is_in_held_out_file(document))
    both = [name for name, count in counts.items() if 0 < tested[name] < count]
    if len(both) < 2:
        raise UserError(
            f"the labelled task needs two installed packages with documentation in both splits; found {len(both)}"
        )
    return sorted(sorted(both, key=lambda name: (-counts[name], name))[:CLASSES])


class NameRemover:
    """Takes the names of packages out of texts, in any case, with the letters that they are grown together with.

    "torch.nn", "PyTorch" and "TorchScript" lose the whole word; names of up to three letters must stand alone, so that
    "np" leaves "input" as it is.
    """

    def __init__(self, names: Sequence[str]):
        spellings = {name.strip("_").lower() for name in names}.union(*(ALIASES.get(name, []) for name in names))
        self.joined = re.compile("|".join(re.escape(s) for s in sorted(spellings) if not s.isalnum()) or r"(?!)", re.I)
        self.inside = [spelling for spelling in spellings if len(spelling) > 3 and spelling.isalnum()]
        self.alone = {spelling for spelling in spellings if len(spelling) <= 3}
        self.known: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        """The text with ``PLACEHOLDER`` for each name."""
        return WORD.sub(self.word, self.joined.sub(PLACEHOLDER, text))

    def word(self, match: re.Match[str]) -> str:
        """A word, or what stands for it."""
        word = match.group()
        if word not in self.known:
            lower = word.lower()
            names = lower in self.alone or any(spelling in lower for spelling in self.inside)
            self.known[word] = PLACEHOLDER if names else word
        return self.known[word]


def draw_equal_numbers(documents: Sequence[Document], names: Sequence[str], most: int) -> tuple[list[str], list[int]]:
    """Texts and labels: as many of each package as the smallest has, at most ``most``, drawn at random."""
    counts = Counter(map(name_package, documents))
    number = min(most, *(counts[name] for name in names))
    texts: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        own = [document.text for document in documents if name_package(document) == name]
        texts += random.Random(name).sample(own, number)
        labels += [label] * number
    return texts, labels


def score_bag_of_words(
    train_texts: Sequence[str], train_labels: Sequence[int], test_texts: Sequence[str], test_labels: Sequence[int]
) -> float:
    """Macro-F1 of logistic regression on TF-IDF of words and pairs of words, tuned on the training texts."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    features = vectorizer.fit_transform(train_texts)
    search = GridSearchCV(LogisticRegression(max_iter=300, tol=1e-3), {"C": [1, 10, 100]}, scoring="f1_macro", cv=3)
    search.fit(features, train_labels)
    return macro_f1(np.array(test_labels), search.predict(vectorizer.transform(test_texts)))
