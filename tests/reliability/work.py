"""Pieces of work that are killed and disturbed: small runs of the verbs that write folders, and what they end with."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path

from electra.corpus.prepare import PrepareConfig, prepare
from electra.engine.optim import AdamW
from electra.interchange import huggingface
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower
from electra.tasks.finetuning.problem import FineTuning
from electra.tasks.finetuning.run import TUNING_ENGINE
from electra.workflows.compare.compare import compare
from electra.workflows.compare.plan import CompareConfig
from electra.workflows.finetune import FinetuneConfig, finetune
from electra.workflows.pretrain import pretrain
from runs import ENCODERS, config

WHOLE = {
    "pretrain": ("final/*/*.safetensors", "final/*/config.json", "checkpoints/*/*.safetensors"),
    "prepare": ("*.shard", "manifest.json"),
    "finetune": ("*/seed-*/result.json", "*/seed-*/predictions.json", "*/seed-*/model/*.safetensors"),
    "compare": ("runs/*/*/*/final/*/*.safetensors", "runs/*/*/*/scores/*.json"),
}  # of each verb, the files that are the same however often it was stopped


@dataclass(frozen=True)
class Work:
    """``run``: does it in a folder, or goes on with it there."""

    name: str
    run: Callable[[Path], object]

    def summarize(self, folder: Path) -> dict[str, str]:
        """Hashes of what a folder ends with, by name."""
        paths = [path for pattern in WHOLE[self.name] for path in folder.glob(pattern)]
        return {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in sorted(paths)}


def build_work(inputs: Path) -> list[Work]:
    """All pieces of work on what ``make_inputs`` made."""
    return [
        Work("pretrain", partial(run_pretrain, inputs)),
        Work("prepare", partial(run_prepare, inputs)),
        Work("finetune", partial(run_finetune, inputs)),
        Work("compare", partial(run_compare, inputs)),
    ]


def make_inputs(inputs: Path, prepared: Path) -> None:
    """What the work reads: texts, prepared data, an encoder, labels. ``prepared``: a folder of ``electra prepare``."""
    inputs.mkdir()
    (inputs / "data").symlink_to(prepared)
    texts = [f"document {n} says that {' '.join(f'w{(n * k) % 97}' for k in range(1, 60))}" for n in range(400)]
    (inputs / "text.txt").write_text("\n\n".join(texts), encoding="utf-8")
    tower = Tower.detection(replace(ENCODERS["classic"], vocab_size=1000), build_embeddings(ENCODERS["classic"]))
    tower = Tower.detection(tower.config, build_embeddings(tower.config))
    huggingface.save_tower(inputs / "model", tower, prepared / "tokenizer", None)
    lines = [json.dumps({"text": text[:60], "label": "ab"[n % 2]}) for n, text in enumerate(texts[:64])]
    (inputs / "labels.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def run_pretrain(inputs: Path, out: Path) -> object:
    """Eight steps with a checkpoint after every second."""
    asked = config(inputs / "data", out)
    phases = (replace(asked.phases[0], steps=8),)
    return pretrain(replace(asked, phases=phases, engine=replace(asked.engine, save_every=2, keep=2)))


def run_prepare(inputs: Path, out: Path) -> object:
    """Several parts of a small text."""
    return prepare(
        PrepareConfig(
            data=(str(inputs / "text.txt"),), tokenizer=str(inputs / "data" / "tokenizer"), out=str(out), held_out=0.1
        )
    )


def run_finetune(inputs: Path, out: Path) -> object:
    """Two seeds of a task with two classes."""
    labels, engine = str(inputs / "labels.jsonl"), replace(TUNING_ENGINE, save_every=2)
    tuning = FineTuning(epochs=2, rows=8, length=16, optimizer=AdamW(learning_rate=1e-3))
    return finetune(
        FinetuneConfig(
            model=str(inputs / "model"), out=str(out), train=labels, dev=labels, seeds=2, tuning=tuning, engine=engine
        )
    )


def run_compare(inputs: Path, out: Path) -> object:
    """Two objectives, probed."""
    settings = inputs / "settings.json"
    if not settings.exists():
        sizes = {"hidden_size": 32, "embedding_size": 16, "layers": 2, "heads": 2, "intermediate_size": 32}
        engine = {"compile": "never", "precision": "float32", "save_every": 2}
        phases = [{"steps": 100, "length": 32, "rows": 8}]
        text = json.dumps({"encoder": sizes | {"max_positions": 32}, "engine": engine, "phases": phases})
        settings.write_text(text, encoding="utf-8")
    asked = CompareConfig(
        objectives=("mlm", "electra"),
        preset="tiny",
        settings=str(settings),
        data=str(inputs / "data"),
        out=str(out),
        budgets=(2e8,),
        seeds=1,
        tasks=(),
        probes=(str(inputs / "labels.jsonl"),),
    )
    return compare(asked)
