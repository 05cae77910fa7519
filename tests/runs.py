"""Runs of pre-training that take a second or two: of every objective and both encoders, with or without a folder."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from compositions import VOCABULARY, build, objective
from electra.dataset.rows import Rows
from electra.engine.optim import AdamW, LinearDecay, WarmupStableDecay, collect_parameters
from electra.engine.parallel import Parallel
from electra.engine.scaling import StagePlan
from electra.engine.stages import Stage
from electra.engine.telemetry import Recorder, SilentRecorder, read_metrics
from electra.engine.train import Engine, Evaluate, train_stages
from electra.model.config import ClassicConfig, ModernConfig
from electra.tasks.frozen.held_out import evaluate_held_out
from electra.workflows.bench.steps import RandomRows
from electra.workflows.pretrain import apply_compat, create_pretrainers, open_data, print_nothing
from electra.workflows.pretraining.config import Phase, PretrainConfig
from electra.workflows.pretraining.stages import plan_stages

SIZES = {"hidden_size": 32, "layers": 2, "heads": 2, "intermediate_size": 32, "max_positions": 32}
ENCODERS = {"classic": ClassicConfig(**SIZES, embedding_size=16), "modern": ModernConfig(**SIZES, local_window=16)}
ENGINE = Engine(compile="never", precision="float32", log_every=1, evaluate_every=0, save_every=0)
STEPS = 4


def config(data: Path, out: Path, kind: str = "electra", encoder: str = "classic", **changes: Any) -> PretrainConfig:
    base = PretrainConfig(
        data=str(data),
        out=str(out),
        encoder=ENCODERS[encoder],
        objective=objective(kind, encoder),
        optimizer=AdamW(learning_rate=2e-3),
        schedule=LinearDecay(warmup=2),
        phases=(Phase(steps=STEPS, length=32, rows=8),),
        engine=ENGINE,
        held_out_rows=8,
    )
    return replace(base, **changes)


class Kept(SilentRecorder):
    """Keeps what is recorded."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def record(self, figures: Mapping[str, object]) -> None:
        self.lines.append(dict(figures))


def trained(asked: PretrainConfig, checkpoints: Path | None = None) -> list[float]:
    """The losses of a run without its folder: neither pictures nor exports, which take most of a short run's time."""
    parallel, asked, kept = Parallel.start(), apply_compat(asked), Kept()
    data = open_data(asked)
    pretrainers = create_pretrainers(asked, data, print_nothing)
    held_rows = Rows(data.held_out, asked.layout, asked.phases[-1].length, asked.seed)
    train_stages(
        plan_stages(asked, pretrainers, data, parallel), asked.optimizer, asked.engine, parallel, checkpoints, kept,
        lambda pretrainer: evaluate_held_out(pretrainer, held_rows, asked.held_out_rows, 8, parallel),
    )  # fmt: skip
    found = [value for line in kept.lines for name, value in line.items() if "/loss" in name]
    assert found and all(map(math.isfinite, found))
    return found


def same_runs(one: Path, other: Path) -> bool:
    """Whether two runs ended with the same weights and moments, and told the same figures but for the time, and for
    how long they were to be."""
    timed = ("seconds", "tokens_per_second", "steps", "phases")
    for name in ("model", "optimizer"):
        ours, theirs = (load_file(max((run / "checkpoints").iterdir()) / f"{name}.safetensors") for run in (one, other))
        if ours.keys() != theirs.keys() or not all(torch.equal(ours[key], theirs[key]) for key in ours):
            return False
    told = [[{k: v for k, v in line.items() if k not in timed} for line in read_metrics(run / "metrics.jsonl")]
            for run in (one, other)]  # fmt: skip
    return told[0] == told[1]


def train_tiny(
    folder: Path,
    steps: int = 2,
    asked: str = "a",
    rate: float = 1e-3,
    enough_after: int = 0,
    recorder: Recorder | None = None,
    evaluate: Evaluate | None = lambda module: {},
    **engine: Any,
) -> None:
    """A few steps of a tiny model by the loop, with a checkpoint and an evaluation after each."""
    torch.manual_seed(0)
    pretrainer = build(objective("mlm", "classic"))
    parameters = collect_parameters(pretrainer, pretrainer.towers())
    stage = Stage(pretrainer, parameters, RandomRows(VOCABULARY, 32), steps, 4, tokens=128, flops=1)
    settings = {"compile": "never", "precision": "float32", "save_every": 1, "evaluate_every": 1, "keep": 0} | engine
    evaluations: list[object] = []

    def evaluate_and_count(module: nn.Module) -> dict[str, float]:
        assert evaluate
        evaluations.append(module)
        return evaluate(module)

    train_stages(
        StagePlan.of([stage], WarmupStableDecay(warmup=0, decay=0.0)), AdamW(learning_rate=rate), Engine(**settings),
        Parallel.alone(), folder, recorder, evaluate and evaluate_and_count,
        asked={"config": asked}, enough=(lambda: len(evaluations) >= enough_after) if enough_after else None,
    )  # fmt: skip
