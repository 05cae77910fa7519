"""The labelled task in the built-in corpus: which package is this docstring from?

The classes are the largest packages, equally often. Their names are taken out of the texts, near copies are dropped,
and the texts of dev and test are from files that pre-training holds out too.
"""

import random
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from electra.corpus.builtin import choose_split, name_package, order_splits
from electra.corpus.documents import Document
from electra.corpus.hashing import WORD, split_words
from electra.corpus.near_copies import find_near_copies
from electra.errors import UserError

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
    """Texts, each labelled with the index of its package in ``names``; each class is as frequent as the others.

    Settings are chosen on dev, and test says what the chosen ones are worth.
    """

    names: list[str]
    train_texts: list[str]
    train_labels: list[int]
    dev_texts: list[str]
    dev_labels: list[int]
    test_texts: list[str]
    test_labels: list[int]

    def draw_subset(self, per_class: int, seed: int) -> tuple[list[str], list[int]]:
        """Training texts and labels: ``per_class`` of each class, or all if there are fewer, drawn by ``seed``."""
        texts: list[str] = []
        labels: list[int] = []
        for label in range(len(self.names)):
            of_class = [text for text, other in zip(self.train_texts, self.train_labels, strict=True) if other == label]
            texts += random.Random(f"{seed}/{label}").sample(of_class, min(per_class, len(of_class)))
            labels += [label] * (len(texts) - len(labels))
        return texts, labels


def build_package_task(documents: Iterable[Document], most_train: int = 1000, most_judged: int = 100) -> PackageTask:
    """The task in a corpus of docstrings, the same every time.

    ``most_train``, ``most_judged``: texts of a class in train, and in dev and in test, at most. The standard library is
    no class: its modules are one project under many names.

    Raises:
        UserError: fewer than two packages have documents in all splits.
    """
    documents = [document for document in documents if name_package(document) not in sys.stdlib_module_names]
    names = choose_largest_packages(documents)
    remover = NameRemover(names)
    documents = [
        replace(document, text=remover(document.text))
        for document in sorted(
            documents, key=lambda document: (order_splits(document), document.source, document.index)
        )
        if name_package(document) in names
    ]
    documents = [document for document in documents if len(split_words(document.text)) >= FEWEST_WORDS]
    copies = find_near_copies(document.text for document in documents)  # some differed in nothing but the names
    documents = [document for document, copy in zip(documents, copies, strict=True) if not copy]
    of_split = {
        split: [document for document in documents if choose_split(document) == split]
        for split in ("train", "dev", "test")
    }
    return PackageTask(
        names,
        *draw_equal_numbers(of_split["train"], names, most_train),
        *draw_equal_numbers(of_split["dev"], names, most_judged),
        *draw_equal_numbers(of_split["test"], names, most_judged),
    )


def choose_largest_packages(documents: Sequence[Document]) -> list[str]:
    """The packages with the most documents, of those that have documents in all splits, in alphabetical order.

    Raises:
        UserError: there are fewer than two such packages.
    """
    counts = Counter(map(name_package, documents))
    places = {(name_package(document), choose_split(document)) for document in documents}
    in_all = [name for name in counts if {(name, "train"), (name, "dev"), (name, "test")} <= places]
    if len(in_all) < 2:
        raise UserError(
            f"the labelled task needs two installed packages with documentation in all splits; found {len(in_all)}"
        )
    return sorted(sorted(in_all, key=lambda name: (-counts[name], name))[:CLASSES])


class NameRemover:
    """Replaces the names of packages in texts, whatever their case, and the words that contain them.

    Of "torch.nn", "PyTorch" and "TorchScript" the whole word goes. Names of up to three letters must be the whole word,
    so that "np" leaves "input" as it is.
    """

    def __init__(self, names: Sequence[str]):
        spellings = {name.strip("_").lower() for name in names}.union(*(ALIASES.get(name, []) for name in names))
        several = "|".join(re.escape(spelling) for spelling in sorted(spellings) if not spelling.isalnum())
        self.several_words = re.compile(several or r"(?!)", re.IGNORECASE)
        self.long = [spelling for spelling in spellings if len(spelling) > 3 and spelling.isalnum()]
        self.short = {spelling for spelling in spellings if len(spelling) <= 3}
        self.replacements: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        """The text with ``PLACEHOLDER`` for each name."""
        return WORD.sub(self.replace_word, self.several_words.sub(PLACEHOLDER, text))

    def replace_word(self, match: re.Match[str]) -> str:
        """``PLACEHOLDER`` if the word is or contains a name, else the word."""
        word = match.group()
        if word not in self.replacements:
            lower = word.lower()
            is_name = lower in self.short or any(spelling in lower for spelling in self.long)
            self.replacements[word] = PLACEHOLDER if is_name else word
        return self.replacements[word]


def draw_equal_numbers(documents: Sequence[Document], names: Sequence[str], most: int) -> tuple[list[str], list[int]]:
    """Texts and labels: of each package as many as the smallest has, ``most`` at most, drawn by the package's name."""
    counts = Counter(map(name_package, documents))
    number = min(most, *(counts[name] for name in names))
    texts: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        of_package = [document.text for document in documents if name_package(document) == name]
        texts += random.Random(name).sample(of_package, number)
        labels += [label] * number
    return texts, labels


def classify_by_words(train_texts: Sequence[str], train_labels: Sequence[int], test_texts: Sequence[str]) -> list[int]:
    """The classes of texts by logistic regression on TF-IDF of words, with the settings that were best on dev."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectorizer = TfidfVectorizer(sublinear_tf=True)
    model = LogisticRegression(C=10, max_iter=300, tol=1e-3)
    model.fit(vectorizer.fit_transform(train_texts), train_labels)
    return model.predict(vectorizer.transform(test_texts)).tolist()
