"""``electra compare``: objectives at equal cost, several seeds each, judged by the same tasks."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from electra.config import check_ranges
from electra.engine.parallel import Parallel
from electra.engine.telemetry import processor_name
from electra.errors import UserError, escape_controls
from electra.files import write_whole
from electra.objectives.build import Mlm
from electra.report import compare_figures
from electra.report.compare import RANDOM, Comparison, EncoderResult, format_budget
from electra.report.compare_page import render_comparison
from electra.workflows.compare.plan import CompareConfig, Plan, plan_comparison
from electra.workflows.compare.runs import JudgedEncoder
from electra.workflows.compare.scores import Judge, score_encoder, scores_path

TABLE_FILE, SCORES_FILE, FIGURE_FILE, SIZES_FILE = "table.md", "scores.jsonl", "scores.png", "generator_size.png"


def compare(config: CompareConfig) -> Path:
    """Train and judge what is not there yet, and give the folder with the tables, the figures and all runs.

    Raises:
        UserError: an objective, data, task or folder that cannot be, before anything is trained; and as ``pretrain``.
    """
    check_ranges(config)
    if Parallel.start().world > 1:
        raise UserError("electra compare runs in one process; torchrun is for electra pretrain")
    plan, out = plan_comparison(config), Path(config.out)
    to_do = [each for each in plan.encoders if not is_judged(each, plan.judges)]
    left = format_budget(sum(each.budget for each in to_do), plan.unit)
    print(f"{len(plan.encoders)} encoders, {len(to_do)} of them to be made and judged: {left} of training at most")
    results: list[EncoderResult] = []
    for number, encoder in enumerate(plan.encoders, 1):
        if encoder in to_do:
            print(f"\n== {number} of {len(plan.encoders)}: {describe_encoder(encoder, plan)}", flush=True)
        found = judge_encoder(encoder, plan.judges)
        if found is None:
            print("stopped; the same command goes on from there")
            break
        results.append(found)
        if encoder in to_do:
            write_results(config, plan, results)
    if results:
        write_results(config, plan, results)
        draw_pictures(config, plan, results)
        print(
            f"\n{(out / TABLE_FILE).read_text(encoding='utf-8')}\n"
            f"{out}: {TABLE_FILE}, {FIGURE_FILE}, {SCORES_FILE}, runs/"
        )
    return out


def describe_encoder(encoder: JudgedEncoder, plan: Plan) -> str:
    """What stands above its work."""
    budget = f", {format_budget(encoder.budget, plan.unit)}" if encoder.budget else ""
    return f"{escape_controls(encoder.objective)}{budget}, seed {encoder.seed}"


def is_judged(encoder: JudgedEncoder, judges: Sequence[Judge]) -> bool:
    """Whether nothing is left to do for an encoder."""
    return all(scores_path(encoder.folder, judge).is_file() for judge in judges)


def judge_encoder(encoder: JudgedEncoder, judges: Sequence[Judge]) -> EncoderResult | None:
    """What comes of an encoder; None if a signal stopped the work."""
    made = encoder.ready()
    if made is None:
        return None
    scores: dict[str, float] = {}
    for judge in judges:
        found = score_encoder(judge, encoder.folder, encoder.seed)
        if found is None:
            return None
        scores |= found
    return EncoderResult(encoder.objective, encoder.budget, encoder.seed, made["cost"], made["own"], scores)


def write_results(config: CompareConfig, plan: Plan, results: Sequence[EncoderResult]) -> None:
    """Write every figure that is known so far, and the tables."""
    out, found = Path(config.out), build_comparison(plan, results)
    lines = [
        json.dumps(asdict(result) | {"folder": str(encoder.folder)}) + "\n"
        for result, encoder in zip(results, plan.encoders, strict=False)
    ]
    with write_whole(out / SCORES_FILE) as file:
        file.write_text("".join(lines), encoding="utf-8")
    mlm = [each.name for each in plan.objectives if isinstance(each.config.objective, Mlm)]
    said = render_comparison(
        found, (mlm or found.objectives)[0], compare_sizes(plan, found), describe_comparison(config, plan, len(results))
    )
    with write_whole(out / TABLE_FILE) as file:
        file.write_text(said, encoding="utf-8")


def draw_pictures(config: CompareConfig, plan: Plan, results: Sequence[EncoderResult]) -> None:
    """Write the pictures."""
    out, found = Path(config.out), build_comparison(plan, results)
    with write_whole(out / FIGURE_FILE) as file:
        compare_figures.draw_against_budget(found, file)
    if sizes := compare_sizes(plan, found):
        with write_whole(out / SIZES_FILE) as file:
            compare_figures.draw_against_size(sizes, list(plan.sizes), file)


def build_comparison(plan: Plan, results: Sequence[EncoderResult]) -> Comparison:
    """The results with what they are results of."""
    return Comparison(tuple(each.name for each in plan.objectives), plan.budgets, plan.unit, results)


def describe_comparison(config: CompareConfig, plan: Plan, done: int) -> str:
    """What was compared, on what, and whether that is all."""
    seeds = f"{config.seeds} seed{'s' * (config.seeds > 1)}"
    preset = config.preset + (f" with {config.settings}" if config.settings else "")
    so_far = "" if done == len(plan.encoders) else f" So far: {done} of {len(plan.encoders)} encoders."
    return f"Preset {preset}, data {Path(config.data).name}, {seeds}, on {processor_name()}.{so_far}"


def compare_sizes(plan: Plan, found: Comparison) -> Comparison | None:
    """The same of the generator's sizes, each an objective called by it."""
    if not plan.sizes:
        return None
    names = {width: f"generator {width:g}" for width in plan.sizes}
    results = [result for result in found.results if result.objective == RANDOM]
    for width, contender in plan.sizes.items():
        results += [
            replace(each, objective=names[width]) for each in found.results_of(contender.name, plan.budgets[-1])
        ]
    return Comparison(tuple(names.values()), plan.budgets[-1:], found.unit, results)
