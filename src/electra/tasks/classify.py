"""Texts → classes: an encoder with a linear head, trained by the one loop."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from electra.engine.optim import AdamW, Linear, OptimizerConfig, parameters_of
from electra.engine.parallel import Parallel
from electra.engine.train import Engine, Stage, train
from electra.kernels.random import fold, key
from electra.model.encoder import Tower
from electra.tasks.texts import rows
from electra.text.batches import Tensors
from electra.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class FineTuning:
    """How an encoder is fine-tuned to tell classes."""

    epochs: int = 10
    rows: int = 16
    """Texts a step."""
    length: int = 128
    """Word pieces that are read of a text, special tokens included."""
    layers: Literal["all", "last"] = "all"
    """Whose states are read: the embeddings' and every layer's side by side, or the last layer's."""
    pooling: Literal["mean", "first"] = "mean"
    """What stands for a text: the mean of its states, or that of [CLS]."""
    optimizer: OptimizerConfig = field(default_factory=lambda: AdamW(learning_rate=1e-3, beta2=0.98))
    warmup: float = 0.1
    """Share of the steps in which the learning rate rises."""


class Example(NamedTuple):
    """A text as word pieces without special tokens, its class, and its address: epoch and number."""

    ids: list[int]
    label: int
    address: tuple[int, int]


@dataclass(frozen=True)
class Examples(Tensors):
    """Examples as tensors, padded to the longest."""

    ids: Int[Tensor, "rows length"]
    positions: Int[Tensor, "rows length"]
    segments: Int[Tensor, "rows length"]
    documents: Int[Tensor, "rows length"]
    labels: Int[Tensor, " rows"]
    address: Int[Tensor, "rows 2"]


@dataclass(frozen=True)
class Place:
    """The next example of an epoch's order."""

    epoch: int = 0
    row: int = 0


class Labelled:
    """Texts and their classes as a source of the training loop; the order is drawn anew for each epoch."""

    start = Place()

    def __init__(self, ids: Sequence[list[int]], labels: Sequence[int], tokenizer: Tokenizer, length: int, seed: int):
        self.ids, self.labels, self.tokenizer = [each[: length - 2] for each in ids], labels, tokenizer
        self.seed = seed

    def take(self, place: Place, count: int) -> tuple[list[Example], Place]:
        """The next examples; the last step of an epoch goes on into the next."""
        refs: list[Example] = []
        while len(refs) < count:
            order = np.random.default_rng([self.seed, place.epoch]).permutation(len(self.ids)).tolist()
            part = order[place.row : place.row + count - len(refs)]
            refs += [Example(self.ids[number], self.labels[number], (place.epoch, number)) for number in part]
            after = replace(place, row=place.row + len(part))
            place = after if after.row < len(self.ids) else Place(place.epoch + 1)
        return refs, place

    def batch(self, refs: Sequence[Example]) -> Examples:
        """The examples as tensors."""
        labels, address = ([getattr(ref, name) for ref in refs] for name in ("label", "address"))
        read = rows([ref.ids for ref in refs], self.tokenizer, multiple=16)
        return Examples(*read, torch.tensor(labels), torch.tensor(address, dtype=torch.int32))


class Classifier(nn.Module):
    """A copy of a tower's embeddings and encoder, and a linear head over one vector a text."""

    def __init__(self, tower: Tower, classes: int, config: FineTuning, seed: int):
        super().__init__()
        self.embeddings, self.encoder = deepcopy(tower.embeddings), deepcopy(tower.encoder)
        sizes = [tower.config.embedding_size, *[tower.config.hidden_size] * tower.config.layers]
        self.head = nn.Linear(sum(sizes) if config.layers == "all" else sizes[-1], classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.config, self.seed = config, seed

    def logits(self, batch: Examples, keys: Int[Tensor, " rows"] | None) -> Float[Tensor, "rows classes"]:
        """Float32 logits of the classes."""
        embedded = self.embeddings(batch.ids, batch.positions, batch.segments, keys)
        states = [embedded, *self.encoder(embedded, batch.positions, batch.documents, keys)]
        read = states if self.config.layers == "all" else states[-1:]
        # Each normed for itself: the states of a pre-norm encoder grow from layer to layer.
        pooled = [F.layer_norm(vectors, vectors.shape[1:]) for vectors in (self.pool(each, batch) for each in read)]
        return self.head(torch.cat(pooled, dim=1))

    def pool(self, states: Float[Tensor, "rows length dim"], batch: Examples) -> Float[Tensor, "rows dim"]:
        """One vector for each text."""
        if self.config.pooling == "first":
            return states[:, 0]
        text = (batch.documents > 0)[:, :, None]
        return (states * text).sum(1) / text.sum(1)

    def counts(self, batch: Examples) -> dict[str, int]:
        """How many examples the loss counts."""
        return {"class": len(batch.labels)}

    def forward(
        self, batch: Examples, divisors: Mapping[str, Float[Tensor, ""]], dropout: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy over the step's count, and (summed loss, right answers, examples)."""
        epoch, row = batch.address.unbind(1)
        keys = fold(fold(torch.full_like(row, key(self.seed)), epoch), row) if dropout else None
        logits = self.logits(batch, keys)
        total = F.cross_entropy(logits, batch.labels, reduction="sum")
        right = (logits.argmax(1) == batch.labels).sum()
        count = torch.tensor(float(len(batch.labels)), device=total.device)
        return total / divisors["class"], {"class": torch.stack([total.detach(), right.float(), count])}

    def figures(self, statistics: Mapping[str, Tensor]) -> dict[str, float]:
        """The mean loss in nats, and the share of right answers."""
        loss, right, count = statistics["class"].tolist()
        return {"loss": loss / count, "accuracy": right / count}

    @torch.no_grad()
    def predict(self, ids: Sequence[list[int]], tokenizer: Tokenizer, at_once: int = 64) -> list[int]:
        """The likeliest class of each text; texts of like length are read together."""
        found = [0] * len(ids)
        order = sorted(range(len(ids)), key=lambda number: len(ids[number]))
        source = Labelled(ids, found, tokenizer, self.config.length, 0)
        for start in range(0, len(ids), at_once):
            numbers = order[start : start + at_once]
            batch = source.batch([Example(source.ids[number], 0, (0, number)) for number in numbers])
            for number, label in zip(numbers, self.logits(batch, None).argmax(1).tolist(), strict=True):
                found[number] = label
        return found


def classify(
    tower: Tower,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    labels: Sequence[int],
    test_texts: Sequence[str],
    config: FineTuning,
    seed: int,
) -> list[int]:
    """The classes that a fine-tuned copy of ``tower`` gives to ``test_texts``; labels count from 0."""
    ids, test_ids = tokenizer.encode(texts), tokenizer.encode(test_texts)
    classifier = Classifier(tower, max(labels) + 1, config, seed)
    steps = max(1, config.epochs * len(texts) // config.rows)
    stage = Stage(Labelled(ids, labels, tokenizer, config.length, seed), steps, config.rows, 0, 0)
    train(
        classifier, [stage], parameters_of(classifier), config.optimizer, Linear(warmup=round(config.warmup * steps)),
        Engine(compile="never", log_every=0, save_every=0), Parallel.alone(),
    )  # fmt: skip
    return classifier.predict(test_ids, tokenizer)
