"""What tests of ``electra finetune`` share: small encoders, a task learned in seconds, and its configuration."""

import csv
import json
import random
from dataclasses import replace
from pathlib import Path

import torch

from electra.engine.optim import AdamW
from electra.interchange import huggingface
from electra.model.config import ClassicConfig, EncoderConfig, ModernConfig
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower
from electra.tasks.datasets.labelled import Columns
from electra.tasks.finetuning.problem import FineTuning
from electra.workflows.finetune import FinetuneConfig

CLASSIC = ClassicConfig(
    vocab_size=120, hidden_size=32, layers=2, heads=2, intermediate_size=64, embedding_size=16, max_positions=48
)
MODERN = ModernConfig(vocab_size=120, hidden_size=32, layers=2, heads=2, intermediate_size=48, max_positions=48)
TUNING = FineTuning(
    epochs=8, rows=8, length=32, dropout=0.0, layer_decay=1.0, optimizer=AdamW(learning_rate=5e-3, weight_decay=0.0)
)
WORDS = [f"w{n}" for n in range(20)]


def sentences(count: int, seed: int) -> list[tuple[str, bool]]:
    """Texts, and whether "alpha" is in them."""
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        words = draw.choices(WORDS, k=draw.randrange(4, 10))
        there = draw.random() < 0.5
        words[draw.randrange(len(words))] = "alpha" if there else "omega"
        found.append((" ".join(words), there))
    return found


def write_csv(path: Path, rows: list[dict]) -> str:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def exported(folder: Path, config: EncoderConfig, tokens: Path) -> Path:
    torch.manual_seed(0)
    huggingface.save_tower(folder, Tower.detection(config, build_embeddings(config)), tokens, None)
    return folder


def config(model: Path, out: Path, files: dict[str, str], **changes: object) -> FinetuneConfig:
    base = FinetuneConfig(
        model=str(model), out=str(out), tuning=TUNING, columns=Columns(text="body", label="topic"), **files
    )
    return replace(base, **changes)


def result(out: Path, seed: int = 1) -> dict:
    return json.loads((out / "train" / f"seed-{seed}" / "result.json").read_text())
