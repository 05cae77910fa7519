"""Linear probes: what a linear model reads from each frozen layer."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import nn

from electra.corpus.hashing import hash_text
from electra.errors import UserError
from electra.interchange.encoders import Reader
from electra.tasks.datasets.samples import Sample, Task
from electra.tasks.finetuning.examples import Example, ExampleBatch, ExampleSource, encode_texts
from electra.tasks.finetuning.heads import mean_pool
from electra.tasks.frozen.linear import CRITERIA, Answers, fit_with_best_strength
from electra.tokenization import Tokenizer

FEWEST = 10  # different texts to fit to
AT_ONCE = 64  # texts


class Probe:
    """A task's texts, ready to be read by one encoder after another: dev, or else a fifth of train, is what judges.

    Of each of the two at most ``most`` samples (0: all) are taken, by hashes of ``seed`` and their texts.

    Raises:
        UserError: fewer than ``FEWEST`` different texts to fit to.
    """

    def __init__(self, task: Task, tokenizer: Tokenizer, length: int, most: int = 0, seed: int = 0):
        train, dev = list(task.splits["train"]), list(task.splits["dev"] if "dev" in task.evaluated else ())
        if not dev:
            out = choose_held_out(train, f"dev {seed}")
            dev = [sample for sample, held in zip(train, out, strict=True) if held]
            train = [sample for sample, held in zip(train, out, strict=True) if not held]
        train, dev = (
            sorted(part, key=lambda s: hash_text(f"{seed} {sample_key(s)}"))[: most or None] for part in (train, dev)
        )
        different = len(set(map(sample_key, train)))
        if different < FEWEST or not dev:
            raise UserError(f"{task.name}: {different} different texts to fit a probe to; at least {FEWEST} are needed")
        self.way, self.held = CRITERIA[task.kind], choose_held_out(train, f"strength {seed}")
        self.train, self.dev = (
            batch_texts([(s.text, s.pair) for s in part], tokenizer, length) for part in (train, dev)
        )
        self.targets, self.gold = (encode_labels(part, task) for part in (train, dev))
        if task.kind == "score":
            self.targets = (self.targets - self.targets.mean()) / max(self.targets.std(), 1e-12)
        said = np.zeros_like(self.gold)
        said[:, int(self.targets.sum(0).argmax())] = 1
        self.majority = self.way.judge(self.gold, said)

    def layers(self, reader: Reader, device: torch.device) -> list[float]:
        """How well each layer of an encoder does, embeddings first: accuracy, Spearman's correlation or micro-F1."""
        return [self.judged(*pair) for pair in zip(*self.features(reader, device), strict=True)]

    def features(self, reader: Reader, device: torch.device) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Of each layer those that are fitted to, and those that judge: see ``extract_features``."""
        return extract_features(reader, self.train, device), extract_features(reader, self.dev, device)

    def judged(self, train: Float[np.ndarray, "fitted width"], dev: Float[np.ndarray, "judging width"]) -> float:
        """How well a linear model of such features does."""
        return self.way.judge(self.gold, fit_with_best_strength(train, self.targets, self.held, self.way)(dev))

    def figures(self, reader: Reader, device: torch.device) -> dict[str, float]:
        """probe/best and probe/best_layer, the first that is best on what judges; probe/last; probe/majority."""
        found = self.layers(reader, device)
        best = int(np.argmax(found))
        named = {"best": found[best], "best_layer": best, "last": found[-1], "majority": self.majority}
        return {f"probe/{name}": value for name, value in named.items()}


def probe_layers(
    reader: Reader, tokenizer: Tokenizer, task: Task, length: int, device: torch.device, most: int = 0, seed: int = 0
) -> dict[str, float]:
    """See ``Probe``: "layer 0" (the embeddings), "layer 1" …; "best", "best_layer"; "all layers", side by side;
    "majority": what always saying the commonest class or label of train comes to, 0 for scores.

    Raises:
        UserError: fewer than ``FEWEST`` different texts to fit to.
    """
    made = Probe(task, tokenizer, min(length, reader.longest), most, seed)
    train, dev = made.features(reader, device)
    found = [made.judged(*pair) for pair in zip(train, dev, strict=True)]
    best = int(np.argmax(found))
    named = {f"layer {layer}": value for layer, value in enumerate(found)}
    together = made.judged(np.concatenate(train, 1), np.concatenate(dev, 1))
    return named | {"best": found[best], "best_layer": best, "all layers": together, "majority": made.majority}


def choose_held_out(samples: Sequence[Sample], tag: str) -> Bool[np.ndarray, " samples"]:
    """Which samples are of a fifth of the different texts, chosen by hashes: equal texts are on one side."""
    keys = [sample_key(sample) for sample in samples]
    known = sorted(set(keys), key=lambda each: hash_text(f"{tag} {each}"))
    held = set(known[: len(known) // 5])
    return np.array([each in held for each in keys], dtype=bool)


def sample_key(sample: Sample) -> str:
    """What a sample is told by: its texts."""
    return f"{sample.text}\0{sample.pair or ''}"


def encode_labels(samples: Sequence[Sample], task: Task) -> Answers:
    """Of each sample a 1 at its class, its score, or 0 or 1 for each label."""
    labels = np.array([sample.label for sample in samples])
    return np.eye(task.outputs)[labels] if task.kind == "class" else labels.reshape(len(labels), -1).astype(np.float64)


def batch_texts(texts: Sequence[tuple[str, str | None]], tokenizer: Tokenizer, length: int) -> list[ExampleBatch]:
    """Texts and pairs, those of like length together; ``address`` has the number of each."""
    examples = [Example(*found, None) for found in encode_texts(texts, tokenizer, length)]
    source = ExampleSource(examples, lambda chosen, _: ({}, len(chosen)), tokenizer.ids["pad"], AT_ONCE, seed=0)
    return [source.batch(refs) for refs in source.split_by_length(AT_ONCE)]


def extract_features(
    reader: Reader, batches: Sequence[ExampleBatch], device: torch.device
) -> list[Float[np.ndarray, "samples width"]]:
    """Of each layer, embeddings first, the mean of each text's states, float32, in the order of the texts' numbers.

    What is no finite number is 0: an encoder that has diverged tells nothing.
    """
    assert isinstance(reader, nn.Module)
    reader.to(device)  # not in inference mode, or its parameters could not be trained any more
    count = sum(len(batch.ids) for batch in batches)
    found = [np.empty((count, size), dtype=np.float32) for size in reader.sizes]
    with torch.inference_mode():
        for batch in batches:
            numbers, at = batch.address[:, 1].numpy(), batch.to(device)
            for layer, states in zip(found, reader.hidden_states(at.inputs, None), strict=True):
                layer[numbers] = mean_pool(states.float(), at.documents).nan_to_num(0.0, 0.0, 0.0).cpu().numpy()
    return found
