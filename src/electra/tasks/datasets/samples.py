"""A labelled task: texts or pairs of texts, and what is said of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["class", "score", "labels"]
Label = int | float | tuple[float, ...]


@dataclass(frozen=True)
class Sample:
    """A text, or two. ``label``: a class's number, a score, or 0 or 1 for each label; None where it is not said."""

    text: str
    pair: str | None = None
    label: Label | None = None


@dataclass(frozen=True)
class Task:
    """What is to be learned, and how it is judged.

    ``labels``: the names of the classes or labels; empty for a score. ``metrics``: the first is what runs are compared
    by. ``symmetric``: both orders of a pair mean the same. ``evaluated``: the splits with labels besides train.
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
        """How many numbers an encoder's head gives."""
        return 1 if self.kind == "score" else len(self.labels)

    @property
    def evaluated(self) -> list[str]:
        """The splits on which a model is judged."""
        return [
            name
            for name, samples in self.splits.items()
            if name != "train" and samples and samples[0].label is not None
        ]
