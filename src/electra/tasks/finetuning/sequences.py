"""Texts, or pairs of them → classes, a score or labels."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from electra import fingerprints
from electra.interchange.encoders import Reader
from electra.interchange.finetuned import HeadKind, ProblemType
from electra.tasks.datasets.accounts import describe_samples, format_account, preview_samples
from electra.tasks.datasets.samples import Kind, Task
from electra.tasks.finetuning import heads
from electra.tasks.finetuning.examples import Example, ExampleBatch, encode_texts
from electra.tasks.finetuning.problem import FineTuning, SamplePrediction
from electra.tasks.metrics import compute_metrics
from electra.tokenization.tokenizer import Tokenizer

PROBLEM_TYPES: dict[Kind, ProblemType] = {
    "class": "single_label_classification",
    "score": "regression",
    "labels": "multi_label_classification",
}


class Sequences:
    """A ``Task`` as a problem."""

    model: HeadKind = "sequence-classification"

    def __init__(self, task: Task, published: bool = False):
        """``published``: whether it is one of GLUE's, which the paper has."""
        self.task, self.published = task, published
        self.name, self.epochs, self.metrics, self.labels = task.name, task.epochs, task.metrics, task.labels
        self.problem_type = PROBLEM_TYPES[task.kind]
        self.splits, self.evaluated = tuple(task.splits), tuple(task.evaluated)
        scores = [sample.label for sample in task.splits.get("train", ()) if isinstance(sample.label, float)]
        self.units = self.low, self.high = (min(scores), max(scores)) if scores else (0.0, 1.0)

    def account(self, split: str, preview: bool) -> list[str]:
        """Rows, and classes with counts, or the range of the scores."""
        rows = preview_samples(self.task, split) if preview else []
        return format_account(split, self.task.accounts.get(split, ()), describe_samples(self.task, split), rows)

    def contents(self) -> dict[str, str]:
        """Hashes of the samples of each split, and of how their labels are learned and judged."""
        task = self.task
        splits = {split: fingerprints.hash_values(samples) for split, samples in task.splits.items()}
        judged = (task.kind, task.labels, task.metrics, task.symmetric, task.epochs)
        return splits | {"labels": fingerprints.hash_values(judged)}

    def examples(self, split: str, tokenizer: Tokenizer, length: int) -> list[Example]:
        """The samples as tokens. Pairs whose order does not matter are trained on in both, as in the original code."""
        samples = self.task.splits[split]
        texts = [(sample.text, sample.pair) for sample in samples]
        labels = [sample.label for sample in samples]
        if split == "train" and self.task.symmetric:
            texts += [(second or "", first) for first, second in texts]
            labels += labels
        encoded = encode_texts(texts, tokenizer, length)
        return [
            Example(ids, segments, label, number % len(samples))
            for number, ((ids, segments), label) in enumerate(zip(encoded, labels, strict=True))
        ]

    def targets(self, examples: Sequence[Example], length: int) -> tuple[dict[str, Tensor], int]:
        """labels: int64 classes [rows], or float32 [rows, outputs]: scores from 0 to 1, or 0 and 1. 0 if unknown."""
        unknown = 0 if self.task.kind != "labels" else (0.0,) * self.task.outputs
        wide = torch.float64 if self.task.kind == "score" else None  # two times in seconds are one number in float32
        labels = torch.tensor(
            [unknown if example.target is None else example.target for example in examples], dtype=wide
        )
        if self.task.kind == "score":
            labels = ((labels - self.low) / (self.high - self.low)).float()[:, None]
        return {"labels": labels if self.task.kind == "class" else labels.float()}, len(examples)

    def head(self, reader: Reader, tuning: FineTuning) -> nn.Module:
        """Logits of each text, with the loss of the task's kind."""
        losses: dict[Kind, Callable[[Tensor, Tensor], Tensor]] = {
            "class": sum_cross_entropy, "score": sum_squared_error, "labels": sum_binary_cross_entropy,
        }  # fmt: skip
        return SequenceHead(heads.build_text_logits(reader, tuning, self.task.outputs), losses[self.task.kind])

    def predictions(
        self, split: str, examples: Sequence[Example], answers: Sequence[Sequence[float]]
    ) -> list[SamplePrediction]:
        """The name of a class, a score in the labels' own units, or the names of the labels that are likelier than not.

        STS-B: the target was (y − min) / max(y − min), which is undone here.
        """
        outputs = np.array(answers, dtype=np.float64).reshape(len(answers), -1)
        if self.task.kind == "class":
            return [self.labels[best] for best in outputs.argmax(1).tolist()]
        if self.task.kind == "score":
            return (outputs[:, 0] * (self.high - self.low) + self.low).tolist()
        return [[name for name, value in zip(self.labels, row, strict=True) if value > 0] for row in outputs.tolist()]

    def judge(self, split: str, predictions: Sequence[SamplePrediction]) -> dict[str, float]:
        """The task's metrics."""
        gold = np.array([sample.label for sample in self.task.splits[split]])
        if self.task.kind == "labels":
            predicted = np.array([[float(name in names) for name in self.labels] for names in predictions])
        else:
            numbers = {name: number for number, name in enumerate(self.labels)}
            predicted = np.array([numbers[value] if numbers else value for value in predictions])
        return compute_metrics(self.metrics, gold, predicted)


class SequenceHead(nn.Module):
    """Logits of a text, and their loss: (logits, labels) → the sum over the texts."""

    def __init__(self, body: nn.Module, loss: Callable[[Tensor, Tensor], Tensor]):
        super().__init__()
        self.body, self.sum_loss = body, loss

    def loss(
        self, states: Sequence[Tensor], batch: ExampleBatch, keys: Int[Tensor, " rows"] | None
    ) -> Float[Tensor, ""]:
        """The loss of the texts' labels, summed."""
        return self.sum_loss(self.body(states, batch, keys).float(), batch.targets["labels"])

    def answers(self, states: Sequence[Tensor], batch: ExampleBatch) -> list[list[float]]:
        """The logits of each text; of a score, 0 is the lowest in training and 1 the highest."""
        return self.body(states, batch, None).float().tolist()


def sum_cross_entropy(logits: Float[Tensor, "rows classes"], labels: Int[Tensor, " rows"]) -> Float[Tensor, ""]:
    """The cross-entropy of the classes, summed over the rows."""
    return F.cross_entropy(logits, labels, reduction="sum")


def sum_squared_error(scores: Float[Tensor, "rows 1"], labels: Float[Tensor, "rows 1"]) -> Float[Tensor, ""]:
    """The squared error of the scores, summed over the rows."""
    return F.mse_loss(scores, labels, reduction="sum")


def sum_binary_cross_entropy(
    logits: Float[Tensor, "rows labels"], labels: Float[Tensor, "rows labels"]
) -> Float[Tensor, ""]:
    """The cross-entropy of each label's presence: its mean over the labels, summed over the rows."""
    return F.binary_cross_entropy_with_logits(logits, labels, reduction="sum") / labels.shape[1]
