"""What fine-tuning needs to know of a task, and the module that it trains: an encoder with the task's head."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from electra.dataset.layout import RowLengthOrZero
from electra.engine.optim import AdamW, OptimizerConfig, Parameter
from electra.engine.parallel import Precision, autocast, flush_denormals
from electra.interchange.encoders import LAYER_NUMBER, Reader
from electra.interchange.finetuned import HeadKind, ProblemType
from electra.kernels.random import fold, make_key
from electra.ranges import Count, Fraction, FractionBelowOne, NotNegative, Positive
from electra.tasks.finetuning.examples import Example, ExampleBatch, ExampleSource
from electra.tokenization.tokenizer import Tokenizer

Answer = Any  # what a head says of one example, without tensors: each problem has a type of its own
SamplePrediction = Any  # what is predicted of one sample, as JSON takes it


@dataclass(frozen=True)
class FineTuning:
    """How an encoder is fine-tuned. Defaults are the paper's (table 7); auto and 0 are chosen by task and encoder."""

    epochs: NotNegative = 0.0
    """Passes over the training examples; 0: what the paper has for the task (RTE, STS-B 10, SQuAD 2, others 3). Your
    own task: 3, or as many as make 100 steps, 20 at most."""
    rows: Count = 32
    """Examples a step."""
    length: RowLengthOrZero = 0
    """Tokens that are read at once, special tokens included; 0: the paper's, 512 for answers and 128 for all else."""
    head: Literal["auto", "paper", "transformers"] = "auto"
    """paper: linear on [CLS], on each word, span ends conditioned on starts. transformers: what its classes for the
    encoder have, so that they load the result, and its pipelines with them. auto: the paper's for GLUE and for answers,
    transformers' for other tasks of your own."""
    layers: Literal["last", "all"] = "last"
    """Whose states the paper's head reads: the last layer's, or the embeddings' and every layer's side by side."""
    pooling: Literal["auto", "first", "mean"] = "auto"
    """What stands for a text: the state of [CLS], or the mean of all states, which the paper's head can read, and
    transformers' for modern encoders. auto: the mean where your own task has the latter, else [CLS]."""
    dropout: FractionBelowOne = 0.1
    """Before the head."""
    layer_decay: Positive = 0.8
    """A layer's learning rate as a multiple of the next one's."""
    decay: Literal["paper", "original"] = "original"
    """original: the code's count, one step more between head and top layer, with which the scores were published."""
    optimizer: OptimizerConfig = field(default_factory=lambda: AdamW(learning_rate=0.0, weight_decay=0.0))
    """A learning rate of 0 is chosen by the encoder's width: the paper's for Small, Base and Large; for your own task
    higher where the encoder is narrower than Base."""
    warmup: Fraction = 0.1
    """Share of the steps in which the learning rate rises."""


@runtime_checkable
class ProblemHead(Protocol):
    """What is put on an encoder for a problem: an ``nn.Module`` that has these.

    ``states``: the embeddings and each layer's states, as ``Reader.read`` gives them. ``keys``: of the rows' dropout;
    None: no dropout.
    """

    def loss(
        self, states: Sequence[Tensor], batch: ExampleBatch, keys: Int[Tensor, " rows"] | None
    ) -> Float[Tensor, ""]:
        """The loss of the batch's ``count`` targets, summed, float32."""

    def answers(self, states: Sequence[Tensor], batch: ExampleBatch) -> list[Answer]:
        """The answer to each example."""


@runtime_checkable
class Problem(Protocol):
    """A task: its examples, its head, and how it is judged. ``units``: the scores that outputs of 0 and 1 stand for.

    ``splits``: train, and those that are predicted; ``evaluated``: those of them with labels. ``metrics``: the names of
    its figures, of which the first is what runs are compared by (larger is better). ``published``: whether the paper
    says how it is tuned.
    """

    name: str
    epochs: int
    metrics: tuple[str, ...]
    splits: tuple[str, ...]
    evaluated: tuple[str, ...]
    model: HeadKind
    problem_type: ProblemType
    published: bool
    labels: tuple[str, ...]
    units: tuple[float, float]

    def account(self, split: str, preview: bool) -> list[str]:
        """Lines that say what was read of a split: file, columns, rows, classes with counts, what was left out, and
        with ``preview`` the first rows."""

    def contents(self) -> dict[str, str]:
        """Hashes of what its figures come from: of each split, and of "labels", what is learned and how it's judged."""

    def examples(self, split: str, tokenizer: Tokenizer, length: int) -> list[Example]:
        """The examples of a split, ``length`` tokens at most. Raises ``UserError`` for a length that leaves no room."""

    def targets(self, examples: Sequence[Example], length: int) -> tuple[dict[str, Tensor], int]:
        """The examples' targets as tensors by name, whose first axis is the examples, and how many the loss counts."""

    def head(self, reader: Reader, tuning: FineTuning) -> nn.Module:
        """A fresh ``ProblemHead`` for the encoder."""

    def predictions(self, split: str, examples: Sequence[Example], answers: Sequence[Answer]) -> list[SamplePrediction]:
        """The prediction for each sample of the split, from the answers to its examples."""

    def judge(self, split: str, predictions: Sequence[SamplePrediction]) -> dict[str, float]:
        """The metrics by name."""


class FineTuned(nn.Module):
    """An encoder and a problem's head, as the training loop takes them. ``seed``: of the dropout."""

    def __init__(self, reader: Reader, head: nn.Module, seed: int):
        super().__init__()
        # No type says that a module is a Reader, or a Head, too.
        self.reader: Any = reader
        self.head: Any = head
        self.seed = seed

    def read(self, batch: ExampleBatch, keys: Int[Tensor, " rows"] | None) -> list[Tensor]:
        """The encoder's states; the logits alone if it is a whole model with its head."""
        return self.reader.hidden_states(batch.inputs, keys)

    def counts(self, batch: ExampleBatch, progress: Float[Tensor, ""]) -> dict[str, Tensor]:
        """How many targets the loss counts."""
        return {"task": batch.count}

    def forward(
        self, batch: ExampleBatch, divisors: Mapping[str, Float[Tensor, ""]], dropout: bool, progress: Float[Tensor, ""]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The batch's loss, divided by the whole step's count, and (summed loss, count) as statistics."""
        epoch, row = batch.address.unbind(1)
        keys = fold(fold(torch.full_like(row, make_key(self.seed)), epoch), row) if dropout else None
        total = self.head.loss(self.read(batch, keys), batch, keys)
        return total / divisors["task"], {"task": torch.stack([total.detach(), batch.count.to(total.dtype)])}

    def figures(self, statistics: Mapping[str, Tensor]) -> dict[str, float]:
        """The mean loss of a target."""
        loss, count = statistics["task"].tolist()
        return {"loss": loss / max(count, 1.0)}

    @torch.no_grad()
    def answers(
        self, source: ExampleSource, device: torch.device, precision: Precision = "float32", at_once: int = 64
    ) -> list[Answer]:
        """The head's answer to each example of the source, in order; ``at_once`` examples are read together."""
        self.to(device)
        answers: list[Answer] = [None] * len(source.examples)
        for refs in source.split_by_length(at_once):
            batch = source.batch(refs).to(device)
            with flush_denormals(), autocast(precision, device):
                batch_answers = self.head.answers(self.read(batch, None), batch)
            for ref, answer in zip(refs, batch_answers, strict=True):
                answers[ref.number] = answer
        return answers


def apply_layer_decay(model: FineTuned, tuning: FineTuning) -> list[Parameter]:
    """Every parameter, with the multiple of the learning rate that its depth gives it (section 3.1, appendix A).

    Embeddings (and what projects them) have depth 0, layer i depth i + 1, the head the greatest: n + 1 in the paper's
    count, n + 2 in the original code's. The multiple is decay^(greatest − depth).
    """
    layers = len(model.reader.sizes) - 1
    greatest = layers + (2 if tuning.decay == "original" else 1)
    parameters = []
    for name, value in model.named_parameters():
        layer = LAYER_NUMBER.search(name)
        if layer:
            depth = int(layer[1]) + 1
        elif name.startswith("head.") or model.reader.is_head_parameter(name.removeprefix("reader.")):
            depth = greatest
        else:
            depth = 0 if "embed" in name or "project" in name else layers  # a norm after the last layer
        matrix = value.dim() == 2 and layer is not None
        scale = tuning.layer_decay ** (greatest - depth)
        parameters.append(Parameter(name, value, decays=value.dim() > 1, matrix=matrix, scale=scale))
    return parameters
