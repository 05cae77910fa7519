"""What some minutes of a GPU give: encoders trained on ``--data`` by several objectives at equal operations, and how
they do on the tasks in ``--tasks`` (GLUE's folders, CoNLL-2000's files).
"""

import statistics
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from gpu_items import Item, Options

from electra.engine.telemetry import read_metrics
from electra.objectives.build import Electra, Mlm, Objective
from electra.recipes import apply_preset
from electra.workflows.finetune import FinetuneConfig, finetune
from electra.workflows.pretrain import pretrain
from electra.workflows.pretraining.config import PretrainConfig

PRESET = "modern-small"
OBJECTIVES: dict[str, Objective | None] = {  # None: the preset's own
    "mlm, 0.3, all masked": Mlm(mask_rate=0.3, replace_rate=1.0),
    "as the preset says": None,
    "electra": Electra(generator_width=1.0, generator_depth=1 / 3),
}
TASKS = {  # paths within --tasks
    "cola": FinetuneConfig(task="cola", data="CoLA"),
    "mrpc": FinetuneConfig(task="mrpc", data="MRPC"),
    "chunking": FinetuneConfig(kind="tags", train="conll2000/train.txt", dev="conll2000/test.txt"),
    "sts-b": FinetuneConfig(task="sts-b", data="STS-B"),
}
SEEDS = 3
SPEED = 5e13  # operations a second that are expected of the GPU, so that a run is started only if it can end


def list_items(options: Options) -> Iterator[Item]:
    """Training, one after another, then every task of every encoder, side by side."""
    if not options.data:
        return
    for name, objective in OBJECTIVES.items():
        seconds = options.flops / SPEED + 20
        run = partial(train_encoder, name, objective, options)
        yield Item(f"training: {name}", run, seconds, 3 * seconds, timed=True)
    for name in OBJECTIVES if options.tasks else ():
        for task in TASKS:
            run = partial(finetune_encoder, name, task, options)
            yield Item(f"training: {name}: {task}", run, 60, 400, judges=True)


def folder_of(name: str, options: Options) -> Path:
    """The run's folder."""
    return Path(options.out, name.replace(" ", "-").replace(",", ""))


def train_encoder(name: str, objective: Objective | None, options: Options) -> dict[str, Any]:
    """Train for ``--flops`` operations: the run's rate, and its held-out figures in their order."""
    recipe = apply_preset(PretrainConfig(), PRESET)
    engine = replace(recipe.engine, cuda_graphs=True, evaluate_every=500, save_every=0, log_every=50)
    out = folder_of(name, options)
    changed = replace(recipe, data=options.data, out=str(out), engine=engine, flops=options.flops)
    pretrain(replace(changed, objective=objective or recipe.objective))
    lines = read_metrics(out / "metrics.jsonl")
    rates = [line["tokens_per_second"] for line in lines if line["split"] == "train"]
    held_out = [line for line in lines if line["split"] == "held-out"]
    return {"flops": options.flops, "tokens_per_second": statistics.median(rates), "held_out": held_out}


def finetune_encoder(name: str, task: str, options: Options) -> dict[str, Any]:
    """Fine-tune by the protocol's defaults: the first metric on dev (CoNLL-2000: test), a figure for each seed."""
    folder = folder_of(name, options)
    config = TASKS[task]
    data, train, dev = (path and str(Path(options.tasks, path)) for path in (config.data, config.train, config.dev))
    config = replace(config, data=data, train=train, dev=dev)
    return {"summary": finetune(replace(config, model=str(folder), out=str(folder / "tuned"), seeds=SEEDS))}
