"""Labelled texts as tasks hold them: samples with a label, sentences with a tag for each word."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["class", "score", "labels"]
Label = int | float | tuple[float, ...]


@dataclass(frozen=True)
class Sample:
    """A text or a pair. ``label``: a class's number, a score, or 0 or 1 for each label; None if the file has none."""

    text: str
    pair: str | None = None
    label: Label | None = None


@dataclass(frozen=True)
class Sentence:
    """Words, and a tag for each; None if the file has no tags."""

    words: tuple[str, ...]
    tags: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Task:
    """Samples of texts or pairs, and how predictions of their labels are judged.

    ``labels``: the names of the classes or labels; empty for a score. ``metrics``: the first is what runs are compared
    by. ``symmetric``: both orders of a pair mean the same.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    splits: Mapping[str, Sequence[Sample]] = field(default_factory=dict)
    symmetric: bool = False
    epochs: int = 3

    @property
    def outputs(self) -> int:
        """How many numbers a head gives for a sample."""
        return 1 if self.kind == "score" else len(self.labels)

    @property
    def evaluated(self) -> list[str]:
        """The splits with labels besides train, on which a model is judged."""
        return [
            name
            for name, samples in self.splits.items()
            if name != "train" and samples and samples[0].label is not None
        ]
