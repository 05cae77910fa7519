"""What is chosen for a task of one's own where nothing was said, and that the paper's tasks keep the paper's."""

from dataclasses import replace

import pytest
import torch

from electra.engine.optim import AdamW
from electra.errors import UserError
from electra.tasks.datasets.samples import Sample, Task
from electra.tasks.finetuning.examples import Example
from electra.tasks.finetuning.problem import FineTuning
from electra.tasks.finetuning.protocol import choose_epochs, choose_tuning
from electra.tasks.finetuning.sequences import Sequences
from electra.tasks.finetuning.tagging import Sentence, Tagging

SAMPLES = {"train": [Sample("a", None, 0), Sample("b", None, 1)], "dev": [Sample("a", None, 0)]}
TASK = Task("mine", "class", ("no", "yes"), ("accuracy",), SAMPLES)
OWN, PUBLISHED = Sequences(TASK), Sequences(replace(TASK, epochs=10), published=True)
WIDTHS = (128, 256, 768, 1024, 4096)
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
    settings = FineTuning(**asked, optimizer=AdamW(learning_rate=1e-5))
    assert choose_tuning(settings, problem, family, 128) == replace(settings, head=head, pooling=pooling)


@pytest.mark.parametrize("problem", [OWN, PUBLISHED])
def test_what_a_head_of_transformers_cannot_read_is_refused(problem: Sequences) -> None:
    for family, asked, said in [
        ("modern", {"layers": "all"}, "layers all"),
        ("classic", {"pooling": "mean"}, "pooling mean"),
        ("theirs", {"pooling": "mean"}, "pooling mean"),
    ]:
        with pytest.raises(UserError, match=f"{said}: transformers' head .* --tuning.head paper"):
            choose_tuning(FineTuning(head="transformers", **asked), problem, family, 128)


def test_few_examples_are_read_oftener() -> None:
    tuning = FineTuning()
    assert [choose_epochs(tuning, OWN, examples) for examples in (2, 320, 3200)] == [20, 10, 3]
    assert choose_epochs(tuning, PUBLISHED, 2) == 10
    assert choose_epochs(replace(tuning, epochs=2), OWN, 2) == 2


def test_the_learning_rate_follows_the_width() -> None:
    """Table 7 of the paper: 3e-4 for Small, 1e-4 for Base, 5e-5 for Large."""
    chosen = {
        problem: [choose_tuning(FineTuning(), problem, "classic", width).optimizer.learning_rate for width in WIDTHS]
        for problem in (PUBLISHED, OWN)
    }
    assert chosen == {PUBLISHED: [3e-4, 3e-4, 1e-4, 5e-5, 5e-5], OWN: [1e-3, 1e-3, 1e-4, 5e-5, 5e-5]}
    assert 1e-4 < choose_tuning(FineTuning(), OWN, "theirs", 384).optimizer.learning_rate < 1e-3


def test_scores_of_any_size_are_learned_from_0_to_1() -> None:
    """Times in seconds differ in digits that a float32 has not."""
    scores = [1_700_000_000.5 + 10 * number for number in range(11)]
    task = replace(TASK, kind="score", labels=(), splits={"train": [Sample("a", None, score) for score in scores]})
    examples = [Example([1], [0], score, number) for number, score in enumerate(scores)]
    targets, _ = Sequences(task).targets(examples, 1)
    torch.testing.assert_close(targets["labels"][:, 0], torch.arange(11) / 10)
