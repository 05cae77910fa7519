"""What is chosen for a task of one's own where nothing was said, and that the paper's tasks keep the paper's."""

from dataclasses import replace

import pytest

from electra.errors import UserError
from electra.tasks.datasets.samples import Sample, Task
from electra.tasks.finetuning.problem import FineTuning
from electra.tasks.finetuning.protocol import choose_epochs, choose_tuning
from electra.tasks.finetuning.sequences import Sequences
from electra.tasks.finetuning.tagging import Sentence, Tagging

SAMPLES = {"train": [Sample("a", None, 0), Sample("b", None, 1)], "dev": [Sample("a", None, 0)]}
TASK = Task("mine", "class", ("no", "yes"), ("accuracy",), SAMPLES)
OWN, PUBLISHED = Sequences(TASK), Sequences(replace(TASK, epochs=10), published=True)
TAGS = Tagging("tags", {"train": [Sentence(("a", "b"), ("X", "Y"))]})


@pytest.mark.parametrize(
    ("problem", "family", "asked", "head", "pooling"),
    [
        (OWN, "modern", {}, "transformers", "mean"),
        (OWN, "classic", {}, "transformers", "auto"),
        (OWN, "theirs", {}, "transformers", "auto"),
        (OWN, "modern", {"pooling": "first"}, "transformers", "first"),
        (OWN, "classic", {"pooling": "mean"}, "paper", "mean"),
        (OWN, "theirs", {"pooling": "mean"}, "paper", "mean"),
        (OWN, "modern", {"layers": "all"}, "paper", "auto"),
        (OWN, "modern", {"head": "paper"}, "paper", "auto"),
        (TAGS, "modern", {}, "transformers", "auto"),
        (PUBLISHED, "modern", {}, "auto", "auto"),
        (PUBLISHED, "modern", {"head": "transformers", "pooling": "mean"}, "transformers", "mean"),
    ],
)
def test_what_is_chosen(problem: object, family: str, asked: dict, head: str, pooling: str) -> None:
    chosen = choose_tuning(FineTuning(**asked), problem, family)
    assert chosen == FineTuning(**asked | {"head": head, "pooling": pooling})


@pytest.mark.parametrize("problem", [OWN, PUBLISHED])
def test_what_a_head_of_transformers_cannot_read_is_refused(problem: Sequences) -> None:
    for family, asked, said in [
        ("modern", {"layers": "all"}, "layers all"),
        ("classic", {"pooling": "mean"}, "pooling mean"),
        ("theirs", {"pooling": "mean"}, "pooling mean"),
    ]:
        with pytest.raises(UserError, match=f"{said}: transformers' head .* --tuning.head paper"):
            choose_tuning(FineTuning(head="transformers", **asked), problem, family)


def test_few_examples_are_read_oftener() -> None:
    tuning = FineTuning()
    assert [choose_epochs(tuning, OWN, examples) for examples in (2, 320, 3200)] == [20, 10, 3]
    assert choose_epochs(tuning, PUBLISHED, 2) == 10
    assert choose_epochs(replace(tuning, epochs=2), OWN, 2) == 2
