"""A run that branches off a checkpoint of another one and lets its learning rate fall to 0: --from with --cool-down."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from electra.config import load_config, plain_tree
from electra.dataset.data import Data
from electra.engine import checkpoint
from electra.engine.scaling import StagePlan
from electra.engine.stages import State
from electra.engine.telemetry import MetricsLine, describe_start, read_metrics
from electra.errors import UserError, convert_errors
from electra.files import write_whole
from electra.run_folder import Request, join_differences, list_differences
from electra.workflows.pretraining.branching import RUN_CONFIG, find_run
from electra.workflows.pretraining.config import PretrainConfig
from electra.workflows.pretraining.final import copy_kept_encoder
from electra.workflows.pretraining.resuming import FREE, MICRO_ROWS, compares_rows, describe_asked

METRICS = "metrics.jsonl"


class Branching(NamedTuple):
    """A checkpoint to branch off: its ``folder``, the ``run`` that saved it, and what is in it."""

    folder: Path
    run: Path
    weights: dict[str, Tensor]
    moments: dict[str, Tensor]
    state: State
    lines: list[MetricsLine]  # the run's figures up to there


def begin_cool_down(config: PretrainConfig, data: Data, request: Request, plan: StagePlan) -> int:
    """Begin the run folder ``config.out`` with a copy of the checkpoint ``config.from_``; return its step.

    ``request``: what the folder is to hold. ``plan``: of the run without a cool-down.

    Raises:
        UserError: no such checkpoint, a damaged one, one of another run than these settings describe or on other data,
            or one that a cool-down cannot begin with; or as ``Request.refuse_another``.
    """
    run, out = find_run(config.from_), Path(config.out)
    refuse_other_settings(config, run)
    branching = open_checkpoint(config.from_, run)
    state = branching.state
    alone = replace(config, from_="", cool_down=0.0)
    if changed := list_differences(state.asked, describe_asked(alone, data)):
        others = "data" if "data" in {difference.key for difference in changed} else "settings"
        raise UserError(f"--from {config.from_}: this checkpoint was trained with other {others} than are given now")
    place = place_cool_down(config, plan, state)
    request.refuse_another(out)
    with convert_errors(str(out), OSError):
        request.begin(out, describe_start() | {"step": state.step})
        copy_records(branching, config, out)
    last = state.step + place["steps"]
    state = replace(
        state, steps=last, phase=place["stage"], phase_step=place["begin"], cool_down=place,
        asked=describe_asked(config, data), best={},
    )  # fmt: skip
    # Last: from then on the folder has all that it needs.
    checkpoint.save_checkpoint(
        out / "checkpoints", state.step, branching.weights, branching.moments, asdict(state), checkpoint.Keeping(0)
    )
    return state.step


def open_checkpoint(folder: str, run: Path) -> Branching:
    """Read and verify a checkpoint. Raises ``UserError`` if it is damaged."""
    path = Path(folder).absolute()
    weights, moments, content = checkpoint.load_checkpoint(path)
    state = State.read(content, f"{path}: damaged checkpoint: state.json")
    lines = [line for line in read_metrics(run / METRICS) if line["step"] <= state.step]
    return Branching(path, run, weights, moments, state, lines)


def refuse_other_settings(config: PretrainConfig, run: Path) -> None:
    """Raise ``UserError`` unless the settings are those of the run, but for the cool-down and what changes nothing."""
    begun = load_config(PretrainConfig(), run / RUN_CONFIG)
    if begun.cool_down:
        raise UserError(
            f"--from {config.from_}: of a run that cools down already; take a checkpoint of {begun.from_}'s"
        )
    free = {*FREE, "cool_down", *(() if compares_rows(config.objective) else (MICRO_ROWS,))} - {"init"}
    if changed := list_differences(plain_tree(begun), plain_tree(config), free):
        raise UserError(
            f"--from {config.from_}: a cool-down keeps its run's settings, which need not be given: "
            f"{join_differences(changed)}"
        )


def place_cool_down(config: PretrainConfig, plan: StagePlan, state: State) -> dict[str, int]:
    """Where the cool-down begins, as ``scaling.cool_stages`` takes it.

    Raises:
        UserError: the checkpoint was saved before the last stage, at a change of phase, before the run was lengthened,
            or where the learning rate is 0.
    """
    stages, schedule = plan.scaled(state.scale)
    if state.steps != sum(each.steps for each in stages):
        raise UserError(f"--from {config.from_}: saved before its run was lengthened; take a later checkpoint")
    number, begin = state.phase, state.phase_step
    if number == len(stages):
        number, begin = number - 1, stages[-1].steps
    stage = stages[number]
    if stage.module is not stages[-1].module:
        before = sum(each.steps for each in stages if each.module is not stages[-1].module)
        raise UserError(
            f"--from {config.from_}: saved in a first stage of {config.objective.kind}, which is not what the run ends "
            f"with; take a checkpoint after step {before:,}"
        )
    if stage.fresh and not begin:
        raise UserError(f"--from {config.from_}: at a change of phase, where all begins anew; take another checkpoint")
    if not stage.rate(schedule, begin) > 0:
        raise UserError(f"--from {config.from_}: the learning rate is 0 there; take a checkpoint before the run's end")
    return {"stage": number, "begin": begin, "steps": count_cooling_steps(config, state.step)}


def copy_records(branching: Branching, config: PretrainConfig, out: Path) -> None:
    """Copy what a run has beside its checkpoints: the figures up to this one, and the encoder of a first stage."""
    with write_whole(out / METRICS) as file:
        file.write_text("".join(json.dumps(line) + "\n" for line in branching.lines), encoding="utf-8")
    if config.objective.keeps_first_encoder and len(config.objective.stages) > 1:
        copy_kept_encoder(branching.run, out)


def count_cooling_steps(config: PretrainConfig, step: int) -> int:
    """How many steps a cool-down from the checkpoint of a step takes."""
    return max(1, round(config.cool_down * step))


def describe_cool_down(config: PretrainConfig, step: int) -> str:
    """One line: over how many steps the learning rate falls."""
    return (
        f"{config.out}: branches off {config.from_} after step {step:,}; the learning rate falls to 0 over "
        f"{count_cooling_steps(config, step):,} steps more"
    )
