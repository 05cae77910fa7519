"""What the items of ``gpu.py`` share: what an item is, and loops that compute in one way or another."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from electra.engine.compiling import prepare_parts
from electra.engine.parallel import Parallel
from electra.engine.train import Loop
from electra.workflows.bench.bench import BenchConfig, load_bench_recipe
from electra.workflows.bench.loop import build_bench_loop
from electra.workflows.pretraining.config import PretrainConfig


class Options(argparse.Namespace):
    """The command line's options."""

    json: str
    data: str
    tasks: str
    out: str
    flops: float
    minutes_left: float
    steps: int
    only: list
    again: bool
    list: bool


@dataclass(frozen=True)
class Item:
    """One check or measurement. ``expected`` and ``limit``: seconds; ``timed``: nothing may run beside it; ``judges``:
    it needs what the timed ones made."""

    name: str
    run: Callable[[], dict[str, Any]]
    expected: float = 30.0
    limit: float = 180.0
    timed: bool = False
    judges: bool = False


@dataclass(frozen=True)
class Way:
    """How our step is computed."""

    kernels: bool = True
    graphs: bool = True
    compiled: bool = True
    recompute: bool = False

    def loop(
        self, config: BenchConfig, change: Callable[[PretrainConfig], PretrainConfig] = lambda recipe: recipe
    ) -> Loop:
        """A loop that computes in this way, before its first step; ``change`` alters the preset's recipe."""
        config = replace(config, compile="auto" if self.compiled else "never")
        recipe = change(load_bench_recipe(config))
        engine = replace(recipe.engine, cuda_graphs=self.graphs, activation_checkpointing=self.recompute)
        loop = build_bench_loop(replace(recipe, engine=engine), config.rows, config.length)
        prepare_parts(loop.module, "cuda" if self.kernels else "", self.recompute, self.compiled)
        return loop


READABLE = Way(kernels=False, graphs=False, compiled=False)
WAYS = {
    "kernels": Way(graphs=False, compiled=False),
    "compiled": Way(kernels=False, graphs=False),
    "compiled with kernels": Way(graphs=False),
    "CUDA graph": Way(),
    "CUDA graph, recomputed layers": Way(recompute=True),
}


def get_device() -> torch.device:
    """The device that a run uses: the GPU."""
    return Parallel.alone().device
