"""A linear probe of words' tags: what each frozen layer knows of a word, at its first piece."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from electra.corpus.hashing import hash_text
from electra.errors import UserError
from electra.interchange.encoders import Reader
from electra.tasks.datasets.samples import Sentence
from electra.tasks.finetuning.examples import Example, ExampleSource
from electra.tasks.finetuning.sequences import Sequences
from electra.tasks.finetuning.tagging import Tagging
from electra.tasks.frozen.linear import CRITERIA, fit_with_best_strength
from electra.tasks.frozen.probes import FEWEST, probe_layers, summarize_layers
from electra.tasks.frozen.texts import AT_ONCE
from electra.tokenization.tokenizer import Tokenizer

ProbedProblem = Sequences | Tagging


def probe_tags(
    reader: Reader, tokenizer: Tokenizer, problem: Tagging, length: int, device: torch.device, most: int = 0
) -> dict[str, float]:
    """How well linear models of an encoder's layers tag words: F1 of spans, or accuracy where tags mark none.

    The figures are those of ``probe_layers``. ``most``: sentences of train, and of the first other split with tags,
    chosen by hashes of their words; 0: all.

    Raises:
        UserError: fewer than ``FEWEST`` sentences to fit to.
    """
    split = problem.evaluated[0]
    chosen = {name: choose_sentences(problem.sentences[name], most) for name in ("train", split)}
    if len(chosen["train"]) < FEWEST:
        raise UserError(f"{problem.name}: {len(chosen['train'])} sentences to fit a probe to; {FEWEST} are needed")
    part = Tagging(problem.name, chosen)
    examples = {name: part.examples(name, tokenizer, min(length, reader.longest)) for name in chosen}
    train, judged = (extract_word_features(reader, examples[name], tokenizer, device) for name in chosen)
    labels = np.array([label for example in examples["train"] for label in example.target.labels])
    owners = np.array([example.sample for example in examples["train"] for _ in example.target.labels])
    targets, held_out = np.eye(len(part.labels))[labels], owners % 5 == 0  # the sentences are in the order of hashes

    def judge_features(fitted: np.ndarray, judging: np.ndarray) -> float:
        model = fit_with_best_strength(fitted, targets, held_out, CRITERIA["class"])
        return judge_words(part, split, examples[split], model(judging).argmax(1))

    commonest = np.full(len(judged[0]), np.bincount(labels).argmax())
    return summarize_layers(judge_features, train, judged, judge_words(part, split, examples[split], commonest))


def probe_problem(
    reader: Reader,
    tokenizer: Tokenizer,
    problem: ProbedProblem,
    length: int,
    device: torch.device,
    most: int = 0,
) -> dict[str, float]:
    """``probe_tags`` or ``probe_layers``, whichever the problem is for."""
    if isinstance(problem, Tagging):
        return probe_tags(reader, tokenizer, problem, length, device, most)
    return probe_layers(reader, tokenizer, problem.task, length, device, most)


def choose_sentences(sentences: Sequence[Sentence], most: int) -> list[Sentence]:
    """At most so many of the sentences (0: all), in the order of hashes of their words."""
    return sorted(sentences, key=lambda sentence: hash_text(" ".join(sentence.words)))[: most or None]


def judge_words(problem: Tagging, split: str, examples: Sequence[Example], labels: np.ndarray) -> float:
    """The problem's first metric of the labels that are predicted for the examples' words, one after another."""
    numbers = iter(labels.tolist())
    tags = [[""] * len(sentence.words) for sentence in problem.sentences[split]]
    for example in examples:
        for word in example.target.words:
            tags[example.sample][word] = problem.labels[next(numbers)]
    return problem.judge(split, tags)[problem.metrics[0]]


def extract_word_features(
    reader: Reader, examples: Sequence[Example], tokenizer: Tokenizer, device: torch.device
) -> list[Float[np.ndarray, "words width"]]:
    """For each layer, embeddings first, the states at the first pieces of the examples' words, one after another.

    What is no finite number is 0: an encoder that has diverged tells nothing.
    """
    assert isinstance(reader, nn.Module)
    reader.to(device)
    source = ExampleSource(examples, lambda chosen, _: ({}, len(chosen)), tokenizer.ids["pad"], AT_ONCE, seed=0)
    by_example: list[list[np.ndarray]] = [[] for _ in examples]
    with torch.inference_mode():
        for refs in source.split_by_length(AT_ONCE):
            states = reader.hidden_states(source.batch(refs).to(device).inputs, None)
            for row, ref in enumerate(refs):
                positions = torch.tensor(examples[ref.number].target.positions, device=device)
                by_example[ref.number] = [
                    layer[row, positions].float().nan_to_num(0.0, 0.0, 0.0).cpu().numpy() for layer in states
                ]
    return [np.concatenate(layer) for layer in zip(*by_example, strict=True)]
