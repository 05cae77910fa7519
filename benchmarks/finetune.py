"""Fine-tuning: `electra finetune`'s loop beside transformers' `Trainer`, on the same task, weights and machine.

    python benchmarks/finetune.py --task mrpc --data glue/MRPC --vocabulary bert-base-uncased-vocab.txt --turns 3

An ELECTRA-Small (12 layers × 256, random weights, dropout 0.1) learns the first samples of the task's train split once.
`Trainer` runs with its defaults (8 rows a step, each batch padded to its longest, tokens made before), and once more
with as many rows as ours. Needs `pip install accelerate`. The sides take turns; seconds of training alone are compared.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import transformers

from electra.engine.optim import LinearDecay
from electra.engine.parallel import Parallel
from electra.engine.scaling import StagePlan
from electra.engine.stages import Stage
from electra.engine.train import train_stages
from electra.interchange import huggingface
from electra.interchange.encoders import load_encoder
from electra.interchange.transformers_models import quiet_transformers
from electra.model.config import ClassicConfig
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower
from electra.tasks.datasets import glue
from electra.tasks.finetuning.examples import ExampleSource
from electra.tasks.finetuning.problem import FineTuned, FineTuning, apply_layer_decay
from electra.tasks.finetuning.protocol import choose_tuning
from electra.tasks.finetuning.run import TUNING_ENGINE
from electra.tasks.finetuning.sequences import Sequences
from electra.tokenization.loading import load_tokenizer

LENGTH = 128
DEFAULT = 8  # Trainer's rows a step
ROWS = FineTuning().rows  # ours


def main(arguments: Sequence[str] | None = None) -> None:
    """Train on every side in turns, and print examples a second and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="mrpc", choices=list(glue.GLUE_TASKS))
    parser.add_argument("--data", required=True, help="folder of the task's TSV files")
    parser.add_argument("--vocabulary", required=True, help="a vocab.txt, or a tokenizer's folder")
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json", default="", help="write the figures to this file")
    options = parser.parse_args(arguments)
    task, _ = glue.load_glue(options.task, Path(options.data))
    few = {**task.splits, "train": task.splits["train"][: options.samples]}
    problem = Sequences(replace(task, splits=few))
    with tempfile.TemporaryDirectory() as folder:
        model = save_random_model(Path(folder), Path(options.vocabulary))
        sides = {
            "electra": lambda: time_our_epoch(model, problem),
            f"Trainer, {DEFAULT} rows": lambda: time_trainer_epoch(model, problem, DEFAULT, folder),
            f"Trainer, {ROWS} rows": lambda: time_trainer_epoch(model, problem, ROWS, folder),
        }
        rates: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(options.turns):
            for name, time_epoch in sides.items():
                rates[name].append(time_epoch())
                print(f"turn {turn + 1}: {name}: {rates[name][-1]:.1f} examples/s", flush=True)
    medians = {name: statistics.median(turns) for name, turns in rates.items()}
    ratios = {name: medians["electra"] / rate for name, rate in medians.items() if name != "electra"}
    for name, ratio in ratios.items():
        print(f"{ratio:.2f} times {name}")
    if options.json:
        report = {
            "about": f"{options.task}, {options.samples} samples, ELECTRA-Small, at most {LENGTH} tokens, float32",
            "machine": f"{os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}, {platform.machine()}",
            "torch": torch.__version__, "transformers": transformers.__version__,
            "examples_per_second": rates, "median": medians, "ratio": ratios,
        }  # fmt: skip
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")


def save_random_model(folder: Path, vocabulary: Path) -> Path:
    """Write ELECTRA-Small with random weights into ``folder``; the path of what both sides load."""
    tokenizer = load_tokenizer(vocabulary)
    tokenizer.save(folder / "tokenizer")
    torch.manual_seed(0)
    config = ClassicConfig(vocab_size=tokenizer.size)
    huggingface.save_tower(
        folder / "model", Tower.detection(config, build_embeddings(config)), folder / "tokenizer", None
    )
    return folder / "model"


def time_our_epoch(model: Path, problem: Sequences) -> float:
    """Examples a second of one epoch by our loop, on the CPU."""
    reader, tokenizer = load_encoder(model)
    tuning = choose_tuning(FineTuning(), problem, reader.family, reader.sizes[-1])
    net = FineTuned(reader, problem.head(reader, tuning), 0)
    examples = problem.examples("train", tokenizer, LENGTH)
    source = ExampleSource(examples, problem.targets, tokenizer.ids["pad"], tuning.rows, 0)
    steps, tokens = max(1, len(examples) // tuning.rows), round(float(source.lengths.mean()) * tuning.rows)
    stage = Stage(net, apply_layer_decay(net, tuning), source, steps, tuning.rows, tokens, 0)
    parallel = replace(Parallel.alone(), device=torch.device("cpu"))  # as Trainer below
    began = time.monotonic()
    train_stages(StagePlan.of([stage], LinearDecay(warmup=steps // 10)), tuning.optimizer, TUNING_ENGINE, parallel)
    return steps * tuning.rows / (time.monotonic() - began)


def time_trainer_epoch(model: Path, problem: Sequences, rows: int, folder: str) -> float:
    """Examples a second of one epoch by ``Trainer``, on the CPU."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    examples = problem.examples("train", load_encoder(model)[1], LENGTH)
    data = [{"input_ids": e.ids, "token_type_ids": e.segments, "labels": e.target} for e in examples]
    with quiet_transformers():
        net = transformers.AutoModelForSequenceClassification.from_pretrained(
            model, num_labels=problem.task.outputs, trust_remote_code=False
        )
        trainer = transformers.Trainer(
            net,
            transformers.TrainingArguments(
                folder, per_device_train_batch_size=rows, num_train_epochs=1, save_strategy="no", report_to="none",
                disable_tqdm=True, use_cpu=True,
            ),
            train_dataset=data,
            processing_class=tokenizer,
        )  # fmt: skip
        return len(data) / trainer.train().metrics["train_runtime"]


if __name__ == "__main__":
    main()
