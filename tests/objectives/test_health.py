"""Verdicts on lines: of healthy runs none, of a fault the right one, and not before it is certain."""

from pathlib import Path

import pytest

from electra.engine.telemetry import read_metrics
from electra.objectives.health import judge_lines

RESULTS = Path(__file__).parents[2] / "results"
HEALTHY = {
    "generator/accuracy": 0.2,
    "generator/sampled_accuracy": 0.1,
    "discriminator/loss": 0.4,
    "discriminator/skill": 0.2,
    "discriminator/auc": 0.7,
    "learning_rate/discriminator/matrices": 0.01,
}


def run(count: int = 20, every: int = 20, first: int = 100, **figures: float) -> list[dict]:
    """A line each ``every`` steps: a healthy one's with other ``figures`` (``_`` for ``/``)."""
    changed = {name.replace("_", "/", 1): value for name, value in figures.items()}
    lines = [{"step": first + every * n, "phase": 0, "split": "train"} | HEALTHY | changed for n in range(count)]
    held_out = [{"step": lines[-1]["step"], "phase": 0, "split": "held-out", "discriminator/skill": 0.0}]
    return lines + held_out


def kinds(lines: list[dict]) -> list[str]:
    return [verdict.kind for verdict in judge_lines(lines)]


COLLAPSED = {"discriminator_skill": 0.001, "discriminator_auc": 0.5}
FAULTS = {
    "discriminator collapsed": COLLAPSED,
    "generator too strong": {"generator_sampled_accuracy": 0.8, "generator_accuracy": 0.9},
    "unreached/encoder": {"unreached_encoder": 3},
}


@pytest.mark.parametrize("path", sorted(RESULTS.rglob("metrics.jsonl")), ids=lambda path: path.parent.name)
def test_nothing_is_said_of_a_healthy_run_at_any_time(path: Path) -> None:
    lines = read_metrics(path)
    assert len(lines) > 10
    for end in range(len(lines) + 1):
        assert judge_lines(lines[:end]) == []


@pytest.mark.parametrize("every", [1, 20, 500])
def test_a_healthy_run_however_often_it_logs(every: int) -> None:
    assert kinds(run(600, every)) == []


def leave_out(lines: list[dict], names: tuple[str, ...], every: int) -> list[dict]:
    """The lines, without some figures in every so manieth: they are not defined where no token was replaced."""
    return [
        {name: value for name, value in line.items() if n % every or name not in names} for n, line in enumerate(lines)
    ]


UNDEFINED = ("discriminator/skill", "discriminator/auc")


@pytest.mark.parametrize("every", [1, 2, 3, 7])
def test_lines_in_which_no_token_was_replaced_are_judged_by_what_they_have(every: int) -> None:
    assert kinds(leave_out(run(), UNDEFINED, every)) == []
    assert kinds(leave_out(run(**COLLAPSED), UNDEFINED, every)) == []
    strong = {"generator_sampled_accuracy": 1.0, "generator_accuracy": 1.0}
    assert kinds(leave_out(run(**strong), UNDEFINED, every)) == ["generator too strong"]
    assert kinds(leave_out(run(**strong), ("generator/accuracy",), every)) == []


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("every", [1, 20, 500])
def test_a_fault_is_told_by_its_name_with_its_figures(kind: str, every: int) -> None:
    (verdict,) = judge_lines(run(600, every, **FAULTS[kind]))
    assert verdict.kind == kind and any(digit in verdict.message for digit in ("0.5", "80%", "3 tensors"))
    assert "Try" in verdict.message or "Look for" in verdict.message


@pytest.mark.parametrize("kind", [kind for kind in FAULTS if "unreached" not in kind])
def test_a_fault_must_last(kind: str) -> None:
    lines = run(**FAULTS[kind])
    assert kinds(lines) == [kind]
    lines[-4] |= HEALTHY
    assert kinds(lines) == []
    assert kinds(run(9, **FAULTS[kind])) == [], "160 steps"


def test_nothing_is_asked_of_the_beginning_of_a_warm_up_or_of_a_stage() -> None:
    assert kinds(run(11, first=0, **COLLAPSED)) == []
    assert kinds(run(20, first=0, **COLLAPSED)) == ["discriminator collapsed"]
    rising = run(**COLLAPSED)
    for line in rising:
        line["learning_rate/discriminator/matrices"] = line["step"] / 1e5
    assert kinds(rising) == []
    begun = run(**COLLAPSED)
    for line in begun[-8:]:
        line["phase"] = 1
    assert kinds(begun) == []


def test_two_thirds_of_the_generator_s_samples_may_not_be_the_original() -> None:
    assert kinds(run(generator_sampled_accuracy=0.5)) == []
    assert kinds(run(generator_accuracy=0.35, discriminator_skill=0.04, discriminator_auc=0.6)) == [
        "generator too strong"
    ]


def test_what_a_loss_never_reached_is_told_at_the_third_line() -> None:
    lines = run(**FAULTS["unreached/encoder"])
    assert kinds(lines[:2]) == [] and kinds(lines[:3]) == ["unreached/encoder"]
    assert kinds([*lines[:2], HEALTHY | {"step": 140, "phase": 0, "split": "train"}]) == []


def test_objectives_without_a_discriminator_or_a_generator_s_figures_are_judged_by_what_there_is() -> None:
    masked = [
        {k: v for k, v in line.items() if "discriminator/" not in k} for line in run(**FAULTS["generator too strong"])
    ]
    assert kinds(masked) == []
    unigram = [{k: v for k, v in line.items() if "generator/" not in k} for line in run(**COLLAPSED)]
    assert kinds(unigram) == ["discriminator collapsed"]
    nothing_replaced = run(discriminator_skill=float("nan"), discriminator_auc=float("nan"))
    assert kinds(nothing_replaced) == []
