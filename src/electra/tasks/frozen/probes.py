"""Linear probes: what a linear model reads from each frozen layer."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from electra.corpus.hashing import hash_text
from electra.errors import UserError
from electra.interchange.encoders import Reader, States
from electra.tasks.datasets.samples import Sample, Task
from electra.tasks.finetuning.examples import ExampleBatch
from electra.tasks.finetuning.heads import mean_pool
from electra.tasks.frozen.linear import CRITERIA, Outputs, fit_with_best_strength
from electra.tasks.frozen.texts import batch_texts, read_batches
from electra.tokenization.tokenizer import Tokenizer

FEWEST = 10  # different texts to fit to

Pool = Callable[[States, Int[Tensor, "rows length"]], Float[Tensor, "rows width"]]  # states, documents → a vector a row


class Probe:
    """A task's texts, encoded once, to probe one encoder after another: fitted to train, judged on dev.

    A task without a labelled dev split is judged on a fifth of train. ``most``: samples of each of the two, chosen by
    hashes of ``seed`` and their texts; 0: all.

    Raises:
        UserError: fewer than ``FEWEST`` different texts to fit to.
    """

    def __init__(self, task: Task, tokenizer: Tokenizer, length: int, most: int = 0, seed: int = 0):
        train, dev = list(task.splits["train"]), list(task.splits["dev"] if "dev" in task.evaluated else ())
        if not dev:
            held_out = choose_held_out(train, f"dev {seed}")
            dev = [sample for sample, held in zip(train, held_out, strict=True) if held]
            train = [sample for sample, held in zip(train, held_out, strict=True) if not held]
        train, dev = (
            sorted(part, key=lambda sample: hash_text(f"{seed} {sample_key(sample)}"))[: most or None]
            for part in (train, dev)
        )
        different = len(set(map(sample_key, train)))
        if different < FEWEST or not dev:
            raise UserError(f"{task.name}: {different} different texts to fit a probe to; at least {FEWEST} are needed")
        self.criterion, self.held_out = CRITERIA[task.kind], choose_held_out(train, f"strength {seed}")
        self.train, self.dev = (
            batch_texts([(sample.text, sample.pair) for sample in part], tokenizer, length) for part in (train, dev)
        )
        self.targets, self.gold = (encode_labels(part, task) for part in (train, dev))
        if task.kind == "score":
            self.targets = (self.targets - self.targets.mean()) / max(self.targets.std(), 1e-12)
        commonest = np.zeros_like(self.gold)
        commonest[:, int(self.targets.sum(0).argmax())] = 1
        self.majority = self.criterion.judge(self.gold, commonest)

    def judge_layers(self, reader: Reader, device: torch.device) -> list[float]:
        """How well each layer does, embeddings first: accuracy, Spearman's correlation or micro-F1."""
        return [self.judge(*pair) for pair in zip(*self.features(reader, device), strict=True)]

    def features(self, reader: Reader, device: torch.device) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The features of train and of dev, each by layer, as ``extract_features`` gives them."""
        return extract_features(reader, self.train, device), extract_features(reader, self.dev, device)

    def judge(self, train: Float[np.ndarray, "fitted width"], dev: Float[np.ndarray, "judging width"]) -> float:
        """How well a linear model of such features does."""
        model = fit_with_best_strength(train, self.targets, self.held_out, self.criterion)
        return self.criterion.judge(self.gold, model(dev))

    def figures(self, reader: Reader, device: torch.device) -> dict[str, float]:
        """probe/best and probe/best_layer, the first that is best on dev; probe/last; probe/majority."""
        scores = self.judge_layers(reader, device)
        best = int(np.argmax(scores))
        figures = {"best": scores[best], "best_layer": best, "last": scores[-1], "majority": self.majority}
        return {f"probe/{name}": value for name, value in figures.items()}


def probe_layers(
    reader: Reader, tokenizer: Tokenizer, task: Task, length: int, device: torch.device, most: int = 0, seed: int = 0
) -> dict[str, float]:
    """How well linear models of an encoder's layers do on a task: accuracy, Spearman's correlation or micro-F1.

    "layer 0" (the embeddings), "layer 1" …; "best", "best_layer"; "all layers": of all of them side by side;
    "majority": of the commonest class or label of train, predicted always, 0 for scores. ``most``, ``seed``: as of
    ``Probe``.

    Raises:
        UserError: fewer than ``FEWEST`` different texts to fit to.
    """
    probe = Probe(task, tokenizer, min(length, reader.longest), most, seed)
    train, dev = probe.features(reader, device)
    return summarize_layers(probe.judge, train, dev, probe.majority)


def summarize_layers(
    judge: Callable[[np.ndarray, np.ndarray], float],
    fitted: Sequence[np.ndarray],
    judged: Sequence[np.ndarray],
    majority: float,
) -> dict[str, float]:
    """The figures of ``probe_layers`` from each layer's features. ``judge``: features to fit to and features to judge
    by → how well that does."""
    scores = [judge(*pair) for pair in zip(fitted, judged, strict=True)]
    best = int(np.argmax(scores))
    figures = {f"layer {layer}": score for layer, score in enumerate(scores)}
    together = judge(np.concatenate(fitted, 1), np.concatenate(judged, 1))
    return figures | {"best": scores[best], "best_layer": best, "all layers": together, "majority": majority}


def choose_held_out(samples: Sequence[Sample], tag: str) -> Bool[np.ndarray, " samples"]:
    """Which samples are held out: a fifth of the different texts, chosen by hashes of ``tag`` and the text.

    Samples of equal texts are on one side.
    """
    keys = [sample_key(sample) for sample in samples]
    shuffled = sorted(set(keys), key=lambda key: hash_text(f"{tag} {key}"))
    held_out = set(shuffled[: len(shuffled) // 5])
    return np.array([key in held_out for key in keys], dtype=bool)


def sample_key(sample: Sample) -> str:
    """A sample's texts, which tell it from others."""
    return f"{sample.text}\0{sample.pair or ''}"


def encode_labels(samples: Sequence[Sample], task: Task) -> Outputs:
    """For each sample: 1 at its class and 0 at the others; its score; or 0 or 1 for each label."""
    labels = np.array([sample.label for sample in samples])
    return np.eye(task.outputs)[labels] if task.kind == "class" else labels.reshape(len(labels), -1).astype(np.float64)


def extract_features(
    reader: Reader, batches: Sequence[ExampleBatch], device: torch.device, pool: Pool = mean_pool
) -> list[Float[np.ndarray, "samples width"]]:
    """For each layer, embeddings first, a vector for each text, float32, in the order of the texts' numbers: the mean
    of its states, or what ``pool`` makes of them.

    What is no finite number is 0: an encoder that has diverged tells nothing.
    """
    assert isinstance(reader, nn.Module)
    reader.to(device)  # not in inference mode, or its parameters could not be trained any more
    count = sum(len(batch.ids) for batch in batches)
    features = [np.empty((count, size), dtype=np.float32) for size in reader.sizes]
    for numbers, layers, documents in read_batches(reader, batches, device):
        for layer, states in zip(features, layers, strict=True):
            layer[numbers.numpy()] = pool(states.float(), documents).nan_to_num(0.0, 0.0, 0.0).cpu().numpy()
    return features
