"""Labelled texts as tasks hold them: samples with a label, sentences with a tag for each word."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from electra.errors import UserError

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
    by. ``symmetric``: both orders of a pair mean the same. ``accounts``: split → lines that say what was read for it.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    splits: Mapping[str, Sequence[Sample]] = field(default_factory=dict)
    symmetric: bool = False
    epochs: int = 3
    accounts: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def outputs(self) -> int:
        """How many numbers a head gives for a sample."""
        return 1 if self.kind == "score" else len(self.labels)

    @property
    def evaluated(self) -> list[str]:
        """The splits besides train of which every sample has a label, on which a model is judged."""
        return [
            name
            for name, samples in self.splits.items()
            if name != "train" and samples and all(sample.label is not None for sample in samples)
        ]


def refuse_one_label(samples: Sequence[Sample], kind: Kind, labels: Sequence[str], where: str) -> None:
    """Raise ``UserError`` if all samples, those of train, have the same class or score."""
    values = {sample.label for sample in samples}
    classes = [labels[value] for value in values if isinstance(value, int)]
    scores = [value for value in values if isinstance(value, float)]
    if kind == "class" and len(classes) < 2:
        raise UserError(f"{where}: all rows have the label {classes[0]!r}; there is nothing to tell apart")
    if kind == "score" and len(scores) < 2:
        raise UserError(f"{where}: all scores are equal ({scores[0]:g}); there is nothing to predict")
    if kind == "score" and not math.isfinite(max(scores) - min(scores)):
        raise UserError(f"{where}: scores from {min(scores):g} to {max(scores):g}, further apart than a number can say")
