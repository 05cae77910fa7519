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
from electra.report.compare import Comparison, EncoderResult, format_budget
from electra.report.compare_page import render_comparison
from electra.run_folder import hold_folder
from electra.stopping import Ending
from electra.workflows.compare.plan import COMPARISON, CompareConfig, Plan, plan_comparison, validate_comparison
from electra.workflows.compare.runs import JudgedEncoder
from electra.workflows.compare.scores import Judge, score_encoder, scores_path

TABLE_FILE, SCORES_FILE, FIGURE_FILE, SIZES_FILE = "table.md", "scores.jsonl", "scores.png", "generator_size.png"


def compare(config: CompareConfig) -> Path:
    """Train and judge what is not there yet, and return the folder with the tables, the figures and all runs.

    Raises:
        UserError: an objective, data, task or folder that cannot be, before anything is trained; and as ``pretrain``.
    """
    return run_comparison(config).result


def run_comparison(config: CompareConfig) -> Ending[Path]:
    """``compare``, which also says whether the comparison is finished."""
    check_ranges(config)
    if Parallel.start().world > 1:
        raise UserError("electra compare runs in one process; torchrun is for electra pretrain")
    validate_comparison(config)
    with hold_folder(Path(config.out), COMPARISON):
        return make_comparison(config)


def make_comparison(config: CompareConfig) -> Ending[Path]:
    """``run_comparison``, by the one process that holds the folder."""
    plan, out = plan_comparison(config), Path(config.out)
    to_do = [encoder for encoder in plan.encoders if not is_judged(encoder, plan.judges)]
    left = format_budget(sum(encoder.budget for encoder in to_do), plan.unit)
    print(f"{len(plan.encoders)} encoders, {len(to_do)} of them to be made and judged: {left} of training at most")
    results: list[EncoderResult] = []
    for number, encoder in enumerate(plan.encoders, 1):
        if encoder in to_do:
            print(f"\n== {number} of {len(plan.encoders)}: {describe_encoder(encoder, plan)}", flush=True)
        result = judge_encoder(encoder, plan.judges)
        if result is None:
            print("stopped; the same command goes on from there")
            break
        results.append(result)
        if encoder in to_do:
            write_results(config, plan, results)
    if results:
        write_results(config, plan, results)
        draw_pictures(config, plan, results)
        print(
            f"\n{(out / TABLE_FILE).read_text(encoding='utf-8')}\n"
            f"{out}: {TABLE_FILE}, {FIGURE_FILE}, {SCORES_FILE}, runs/"
        )
    return Ending(out, finished=len(results) == len(plan.encoders))


def describe_encoder(encoder: JudgedEncoder, plan: Plan) -> str:
    """Its objective, budget and seed, for the line above what its training prints."""
    budget = f", {format_budget(encoder.budget, plan.unit)}" if encoder.budget else ""
    return f"{escape_controls(encoder.objective)}{budget}, seed {encoder.seed}"


def is_judged(encoder: JudgedEncoder, judges: Sequence[Judge]) -> bool:
    """Whether all judges have scored the encoder."""
    return all(scores_path(encoder.folder, judge).is_file() for judge in judges)


def judge_encoder(encoder: JudgedEncoder, judges: Sequence[Judge]) -> EncoderResult | None:
    """Make an encoder and let all judges score it, as far as that is not done. None if a signal stopped the work."""
    figures = encoder.make()
    if figures is None:
        return None
    scores: dict[str, float] = {}
    for judge in judges:
        judged = score_encoder(judge, encoder.folder, encoder.seed)
        if judged is None:
            return None
        scores |= judged
    return EncoderResult(encoder.objective, encoder.budget, encoder.seed, figures.cost, figures.own, scores)


def write_results(config: CompareConfig, plan: Plan, results: Sequence[EncoderResult]) -> None:
    """Write the results so far: a line of JSON for each encoder, and the page with the tables."""
    out, comparison = Path(config.out), build_comparison(plan, results)
    lines = [
        json.dumps(asdict(result) | {"folder": str(encoder.folder)}) + "\n"
        for result, encoder in zip(results, plan.encoders, strict=False)
    ]
    with write_whole(out / SCORES_FILE) as file:
        file.write_text("".join(lines), encoding="utf-8")
    mlm = [contender.name for contender in plan.objectives if isinstance(contender.config.objective, Mlm)]
    reference = (mlm or comparison.objectives)[0]
    about = describe_comparison(config, plan, len(results))
    page = render_comparison(comparison, reference, compare_sizes(plan, comparison), about)
    with write_whole(out / TABLE_FILE) as file:
        file.write_text(page, encoding="utf-8")


def draw_pictures(config: CompareConfig, plan: Plan, results: Sequence[EncoderResult]) -> None:
    """Draw the scores against the budget and, if sizes of generators were asked for, against these."""
    out, comparison = Path(config.out), build_comparison(plan, results)
    with write_whole(out / FIGURE_FILE) as file:
        compare_figures.draw_against_budget(comparison, file)
    if sizes := compare_sizes(plan, comparison):
        with write_whole(out / SIZES_FILE) as file:
            compare_figures.draw_against_size(sizes, list(plan.sizes), file)


def build_comparison(plan: Plan, results: Sequence[EncoderResult]) -> Comparison:
    """The results with the plan's objectives, budgets and their unit."""
    return Comparison(tuple(contender.name for contender in plan.objectives), plan.budgets, plan.unit, results)


def describe_comparison(config: CompareConfig, plan: Plan, done: int) -> str:
    """One line: what was compared, on which data and machine, and how much of it is done."""
    seeds = f"{config.seeds} seed{'s' * (config.seeds > 1)}"
    preset = config.preset + (f" with {config.settings}" if config.settings else "")
    so_far = "" if done == len(plan.encoders) else f" So far: {done} of {len(plan.encoders)} encoders."
    return f"Preset {preset}, data {Path(config.data).name}, {seeds}, on {processor_name()}.{so_far}"


def compare_sizes(plan: Plan, comparison: Comparison) -> Comparison | None:
    """The generator's sizes as a comparison of their own at the largest budget, each under its size as its name."""
    if not plan.sizes:
        return None
    names, largest = {width: f"generator {width:g}" for width in plan.sizes}, plan.budgets[-1]
    results = [result for result in comparison.results if not result.budget]
    for width, contender in plan.sizes.items():
        results += [
            replace(result, objective=names[width]) for result in comparison.results_of(contender.name, largest)
        ]
    return Comparison(tuple(names.values()), (largest,), comparison.unit, results)
