"""One of the processes that ``scale.py`` starts: it trains with the others, and measures what it is asked for."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from electra.engine.parallel import Parallel, flush_denormals
from electra.engine.process import make_deterministic
from electra.engine.train import Loop
from electra.recipes import apply_preset
from electra.workflows.bench.loop import WARM_UP_STEPS, build_bench_loop
from electra.workflows.bench.parts import time_optimizer
from electra.workflows.pretraining.config import PretrainConfig

TIMES = 20  # a part that takes milliseconds
FEW = 3  # one that takes as long as a step


def main() -> None:
    """Answer each line of the standard input, ``ready``, ``steps`` or ``parts``, with one of JSON."""
    data, preset, rows, length, steps = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
    torch.set_num_threads(1)
    parallel = Parallel.start()
    make_deterministic(False, parallel.device)
    recipe = apply_preset(PretrainConfig(data=data), preset)
    recipe = replace(recipe, engine=replace(recipe.engine, compile="never", precision="float32"))
    loop = build_bench_loop(recipe, rows, length, parallel)
    answers: dict[str, Callable[[], object]] = {
        "ready": lambda: warm_up(loop),
        "steps": lambda: [measure_seconds(loop.step, parallel) for _ in range(steps)],
        "parts": lambda: {name: 1000 * seconds for name, seconds in measure_parts(loop).items()},
    }
    with flush_denormals():
        for line in sys.stdin:
            print(json.dumps(answers[line.strip()]()), flush=True)


def warm_up(loop: Loop) -> int:
    """Make the steps that are not measured; how many parameters they move."""
    for _ in range(WARM_UP_STEPS):
        loop.step()
    return sum(p.value.numel() for p in loop.stages[0].parameters)


def measure_seconds(call: Callable[[], object], parallel: Parallel) -> float:
    """Seconds that a call takes which all processes begin together."""
    parallel.wait()
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def measure_parts(loop: Loop) -> dict[str, float]:
    """Seconds of what a step does, each by itself, the best of a few; the names say what is done for others' rows."""
    from electra.engine.agreement import Agreement  # another checkout may not have it, and is not asked

    parallel, stage = loop.parallel, loop.stages[0]
    refs, _ = stage.source.take(stage.source.start, stage.rows)
    (own,) = parallel.share(refs, 0)
    batches, _ = loop.batches(stage, stage.source.start)
    progress = torch.zeros(())
    counts = loop.counts(batches, progress)
    divisors = {name: count.clamp(min=1) for name, count in counts.items()}

    def lay_out() -> None:
        stage.source.group.cache_clear()  # type: ignore[attr-defined]
        stage.source.take(stage.source.start, 1)

    def agree() -> None:
        agreement = Agreement(parallel, counts, {"stop": False})
        agreement.counts()
        agreement.requested("stop")

    def one_by_one() -> None:
        parallel.sum(counts)
        parallel.any(False)

    def best(call: Callable[[], object], times: int = TIMES) -> float:
        return min(measure_seconds(call, parallel) for _ in range(times))

    rows_of_group = len(stage.source.group(0, 0))  # type: ignore[attr-defined]
    seconds = {
        "all rows of the step laid out": best(lay_out, FEW) * stage.rows / rows_of_group,
        "own rows put together": best(lambda: stage.source.batch(own)),
        "counts and requests": best(agree),
        "… as one reduction for each": best(one_by_one),
        "forward and backward, nothing sent": best(lambda: loop.passes(batches[0], divisors, progress, True), FEW),
    }
    if parallel.world > 1:
        gradients = torch.zeros(sum(p.value.numel() for p in stage.parameters))
        seconds["gradients' reduction by itself"] = best(lambda: torch.distributed.all_reduce(gradients), FEW)
        seconds["forward and backward, sent"] = best(lambda: loop.passes(batches[0], divisors, progress), FEW)
    return seconds | measure_optimizer(loop)


def measure_optimizer(loop: Loop) -> dict[str, float]:
    """Seconds of norms, clipping and optimizer, the best of a few; with Muon's iterations shared out, and all of them
    done by each process, in turns."""
    momentum: Any = loop.optimizer.optimizers[0]
    groups = {"norms, clipping, optimizer": getattr(momentum, "group", None)}
    if groups["norms, clipping, optimizer"] is not None:
        groups["… Muon done by all"] = None
    laps: dict[str, list[float]] = {name: [] for name in groups}
    for _ in range(FEW):
        for name, group in groups.items():
            momentum.group = group  # AdamW has none, and does not look at it
            loop.parallel.wait()
            laps[name].append(time_optimizer(loop, 1))
    return {name: min(seconds) for name, seconds in laps.items()}


if __name__ == "__main__":
    main()
