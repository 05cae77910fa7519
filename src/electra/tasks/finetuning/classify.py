"""Texts → classes, in memory: a copy of a tower is fine-tuned, and classifies other texts."""

from collections.abc import Sequence
from copy import deepcopy

import torch

from electra.engine.compiling import Compile
from electra.engine.optim import LinearDecay
from electra.engine.parallel import Parallel
from electra.engine.scaling import StagePlan
from electra.engine.stages import Stage
from electra.engine.train import Engine, train_stages
from electra.interchange.encoders import TowerReader
from electra.model.encoder import Tower
from electra.stopping import Stopped
from electra.tasks.datasets.samples import Sample, Task
from electra.tasks.finetuning.examples import ExampleSource
from electra.tasks.finetuning.problem import FineTuned, FineTuning, apply_layer_decay
from electra.tasks.finetuning.protocol import choose_epochs, choose_length, choose_tuning
from electra.tasks.finetuning.sequences import Sequences
from electra.tokenization.tokenizer import Tokenizer


def classify_texts(
    tower: Tower,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    labels: Sequence[int],
    test_texts: Sequence[str],
    tuning: FineTuning,
    seed: int,
    compile: Compile = "never",
) -> list[int]:
    """The classes of ``test_texts``, predicted by a copy of ``tower`` fine-tuned on ``texts``; labels count from 0.

    What ``tuning`` leaves open is chosen as `electra finetune` chooses it for a task of one's own.

    Raises:
        Stopped: a signal came while it was tuned.
    """
    samples = {
        "train": [Sample(text, None, label) for text, label in zip(texts, labels, strict=True)],
        "test": [Sample(text) for text in test_texts],
    }
    problem = Sequences(Task("texts", "class", tuple(map(str, range(max(labels) + 1))), ("accuracy",), samples))
    reader = TowerReader(deepcopy(tower))
    tuning = choose_tuning(tuning, problem, reader.family, reader.sizes[-1])
    torch.manual_seed(seed)
    model = FineTuned(reader, problem.head(reader, tuning), seed)
    length = choose_length(tuning, problem, reader.longest)
    train_source, test_source = (
        ExampleSource(
            problem.examples(split, tokenizer, length), problem.targets, tokenizer.ids["pad"], tuning.rows, seed
        )
        for split in samples
    )
    steps = max(1, round(choose_epochs(tuning, problem, len(texts)) * len(texts) / tuning.rows))
    stage = Stage(model, apply_layer_decay(model, tuning), train_source, steps, tuning.rows, 0, 0)
    parallel = Parallel.alone()
    state = train_stages(
        StagePlan.of([stage], LinearDecay(warmup=round(tuning.warmup * steps))), tuning.optimizer,
        Engine(compile=compile, log_every=0, save_every=0), parallel,
    )  # fmt: skip
    if not state.finished:  # a signal ended it early, and a half-tuned copy says nothing
        raise Stopped
    answers = model.answers(test_source, parallel.device)
    return [int(name) for name in problem.predictions("test", test_source.examples, answers)]
