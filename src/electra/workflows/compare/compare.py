"""``electra compare``: objectives at equal cost, several seeds each, judged by the same tasks."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from electra.engine.parallel import Parallel
from electra.engine.telemetry import processor
from electra.errors import UserError, visible
from electra.files import whole
from electra.objectives.build import Mlm
from electra.report import compare_figures
from electra.report.compare import RANDOM, Comparison, Result, label
from electra.report.compare_page import page
from electra.workflows.compare.plan import CompareConfig, Plan, planned
from electra.workflows.compare.runs import Encoder
from electra.workflows.compare.scores import Judge, kept, scores_of

TABLE, SCORES, FIGURE, SIZES = "table.md", "scores.jsonl", "scores.png", "generator_size.png"


def compare(config: CompareConfig) -> Path:
    """Train and judge what is not there yet, and give the folder with the tables, the figures and all runs.

    Raises:
        UserError: an objective, data, task or folder that cannot be, before anything is trained; and as ``pretrain``.
    """
    if Parallel.start().world > 1:
        raise UserError("electra compare runs in one process; torchrun is for electra pretrain")
    plan, out = planned(config), Path(config.out)
    to_do = [each for each in plan.encoders if not judged_before(each, plan.judges)]
    left = label(sum(each.budget for each in to_do), plan.unit)
    print(f"{len(plan.encoders)} encoders, {len(to_do)} of them to be made and judged: {left} of training at most")
    results: list[Result] = []
    for number, encoder in enumerate(plan.encoders, 1):
        if encoder in to_do:
            print(f"\n== {number} of {len(plan.encoders)}: {called(encoder, plan)}", flush=True)
        found = judged(encoder, plan.judges)
        if found is None:
            print("stopped; the same command goes on from there")
            break
        results.append(found)
        if encoder in to_do:
            tell(config, plan, results)
    if results:
        tell(config, plan, results)
        draw(config, plan, results)
        print(f"\n{(out / TABLE).read_text(encoding='utf-8')}\n{out}: {TABLE}, {FIGURE}, {SCORES}, runs/")
    return out


def called(encoder: Encoder, plan: Plan) -> str:
    """What stands above its work."""
    budget = f", {label(encoder.budget, plan.unit)}" if encoder.budget else ""
    return f"{visible(encoder.objective)}{budget}, seed {encoder.seed}"


def judged_before(encoder: Encoder, judges: Sequence[Judge]) -> bool:
    """Whether nothing is left to do for an encoder."""
    return all(scores_of(encoder.folder, judge).is_file() for judge in judges)


def judged(encoder: Encoder, judges: Sequence[Judge]) -> Result | None:
    """What comes of an encoder; None if a signal stopped the work."""
    made = encoder.ready()
    if made is None:
        return None
    scores: dict[str, float] = {}
    for judge in judges:
        found = kept(judge, encoder.folder, encoder.seed)
        if found is None:
            return None
        scores |= found
    return Result(encoder.objective, encoder.budget, encoder.seed, made["cost"], made["own"], scores)


def tell(config: CompareConfig, plan: Plan, results: Sequence[Result]) -> None:
    """Write every figure that is known so far, and the tables."""
    out, found = Path(config.out), comparison(plan, results)
    lines = [
        json.dumps(asdict(result) | {"folder": str(encoder.folder)}) + "\n"
        for result, encoder in zip(results, plan.encoders, strict=False)
    ]
    with whole(out / SCORES) as file:
        file.write_text("".join(lines), encoding="utf-8")
    mlm = [each.name for each in plan.objectives if isinstance(each.config.objective, Mlm)]
    said = page(found, (mlm or found.objectives)[0], of_sizes(plan, found), about(config, plan, len(results)))
    with whole(out / TABLE) as file:
        file.write_text(said, encoding="utf-8")


def draw(config: CompareConfig, plan: Plan, results: Sequence[Result]) -> None:
    """Write the pictures."""
    out, found = Path(config.out), comparison(plan, results)
    with whole(out / FIGURE) as file:
        compare_figures.against_budget(found, file)
    if sizes := of_sizes(plan, found):
        with whole(out / SIZES) as file:
            compare_figures.against_size(sizes, list(plan.sizes), file)


def comparison(plan: Plan, results: Sequence[Result]) -> Comparison:
    """The results with what they are results of."""
    return Comparison(tuple(each.name for each in plan.objectives), plan.budgets, plan.unit, results)


def about(config: CompareConfig, plan: Plan, done: int) -> str:
    """What was compared, on what, and whether that is all."""
    seeds = f"{config.seeds} seed{'s' * (config.seeds > 1)}"
    preset = config.preset + (f" with {config.settings}" if config.settings else "")
    so_far = "" if done == len(plan.encoders) else f" So far: {done} of {len(plan.encoders)} encoders."
    return f"Preset {preset}, data {Path(config.data).name}, {seeds}, on {processor()}.{so_far}"


def of_sizes(plan: Plan, found: Comparison) -> Comparison | None:
    """The same of the generator's sizes, each an objective called by it."""
    if not plan.sizes:
        return None
    names = {width: f"generator {width:g}" for width in plan.sizes}
    results = [result for result in found.results if result.objective == RANDOM]
    for width, contender in plan.sizes.items():
        results += [replace(each, objective=names[width]) for each in found.of(contender.name, plan.budgets[-1])]
    return Comparison(tuple(names.values()), plan.budgets[-1:], found.unit, results)
