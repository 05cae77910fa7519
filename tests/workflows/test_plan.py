"""plan: what is measured, and the arithmetic on it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from electra import cli, recipes
from electra.engine.parallel import Parallel
from electra.errors import UserError
from electra.workflows import plan as module
from electra.workflows.bench.machine import peak_memory, reset_peak_memory
from electra.workflows.plan import PlanConfig, largest_divisor, plan
from electra.workflows.pretrain import create_pretrainers, open_data, print_nothing
from electra.workflows.pretraining.config import PretrainConfig
from electra.workflows.pretraining.stages import plan_stages

TINY = PlanConfig(preset="tiny", tokens=1e6, steps=1, micro_rows=2, compile="never", precision="float32")


def test_a_plan_is_what_was_measured_times_the_tokens(capsys):
    figures = plan(replace(TINY, price=3.0))
    (phase,) = figures["phases"]
    assert figures["tokens"] == phase["steps"] * 32 * 128
    assert figures["tokens"] == pytest.approx(1e6, rel=0.01)
    assert phase["tokens_per_second"] == pytest.approx(32 * 128 / phase["step_seconds"])
    assert figures["hours"] == pytest.approx(figures["tokens"] / phase["tokens_per_second"] / 3600)
    assert figures["cost"] == pytest.approx(3 * figures["hours"])
    assert phase["micro_rows"] == 4
    assert 32 % phase["most_rows"] == 0
    assert 0 < phase["memory"] < figures["memory"]
    assert " operations, take " in capsys.readouterr().out


def test_a_stage_has_steps_and_a_cost_of_its_own(prepared: Path) -> None:
    """modern-tiny: masked language modelling, then a detector, and 85 % of the operations are the first one's."""
    figures = plan(replace(TINY, preset="modern-tiny", data=str(prepared)))
    phases = figures["phases"]
    assert [(phase["objective"], phase["rows"]) for phase in phases] == [("mlm", 16), ("warmed-electra", 16)]
    flops = [phase["steps"] * phase["flops"] for phase in phases]
    assert sum(flops) == figures["flops"]
    assert flops[0] / figures["flops"] == pytest.approx(0.85, abs=0.01)
    seconds = sum(phase["steps"] * phase["step_seconds"] for phase in phases)
    assert figures["hours"] == pytest.approx(seconds / 3600)


def test_a_plan_for_operations_is_the_run_that_pretrain_makes(prepared: Path, monkeypatch) -> None:
    """modern-small, which limits its first stage by operations, on data with a vocabulary of its own."""
    monkeypatch.setattr(module, "measure_step", lambda loop, count: (1.0, 1))
    monkeypatch.setattr(module, "time_optimizer", lambda loop, count: 0.5)
    figures = plan(replace(TINY, preset="modern-small", data=str(prepared), tokens=0.0, flops=3e17))
    asked = recipes.apply_preset(PretrainConfig(data=str(prepared), flops=3e17), "modern-small")
    opened = open_data(asked)
    run = plan_stages(asked, create_pretrainers(asked, opened, print_nothing), opened, Parallel.start())
    stages, _ = run.scaled(1.0)
    assert [(phase["steps"], phase["flops"]) for phase in figures["phases"]] == [(s.steps, s.flops) for s in stages]
    assert figures["phases"][0]["steps"] * figures["phases"][0]["flops"] == pytest.approx(5e16, rel=0.01)


def test_steps_that_are_too_few_are_told(prepared: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(module, "measure_step", lambda loop, count: (1.0, 1))
    monkeypatch.setattr(module, "time_optimizer", lambda loop, count: 0.5)
    plan(replace(TINY, preset="modern-tiny", data=str(prepared), tokens=16 * 128 * 600))
    assert "warning" not in capsys.readouterr().err
    plan(replace(TINY, preset="tiny", data=str(prepared), tokens=32 * 128 * 400, json=True))
    said = "warning: 400 steps of 4,096 tokens each are few to learn from; --phases.0.rows 12 makes 1,066 of them"
    assert said in capsys.readouterr().err


def test_hours_are_turned_into_what_they_are_enough_for(capsys, prepared: Path) -> None:
    figures = plan(replace(TINY, preset="modern-tiny", data=str(prepared), tokens=0.0, hours=0.5))
    assert figures["hours"] == pytest.approx(0.5, rel=0.01)
    assert f"{60 * figures['hours']:.1f} minutes on this machine" in capsys.readouterr().out


def test_what_fits_follows_from_two_sizes(monkeypatch):
    """1 GB and 0.1 GB a row, in 3 GB of which nine tenths may be taken: 17 rows, so 16 of 32."""
    memories = iter([1_200_000_000, 1_400_000_000])
    monkeypatch.setattr(module, "measure_step", lambda loop, count: (1.0, next(memories)))
    monkeypatch.setattr(module, "time_optimizer", lambda loop, count: 0.5)
    monkeypatch.setattr(module, "device_memory", lambda device: 3_000_000_000)
    (phase,) = plan(TINY)["phases"]
    assert (phase["row_memory"], phase["most_rows"]) == (1e8, 16)
    assert phase["step_seconds"] == 8 * 0.5 + 0.5  # eight micro-batches of 4, and one move of the weights


def test_the_command_prints_one_json_object(capsys):
    flags = ["--preset", "tiny", "--steps", "1", "--micro-rows", "1", "--compile", "never", "--json"]
    assert cli.main(["plan", *flags, "--activation-checkpointing"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["cost"] is None
    assert figures["tokens"] == 10_000 * 32 * 128


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preset": "smal"}, "--preset smal: there is none"),
        ({"flops": 1e12}, "tokens, flops and hours each say how long to train: give one of them"),
        ({"data": "nowhere"}, "nowhere"),
        ({"tokens": -1.0}, "tokens: expected a number of at least 0, found -1.0"),
        ({"micro_rows": -2}, "micro_rows: expected a whole number of at least 0, found -2"),
        ({"steps": 0}, "steps: expected a whole number of at least 1, found 0"),
    ],
)
def test_mistakes(change, message):
    with pytest.raises(UserError, match=message):
        plan(replace(TINY, **change))


def test_divisors():
    assert [largest_divisor(48, most) for most in (1, 5, 16, 47, 100)] == [1, 4, 16, 24, 48]


@pytest.mark.skipif(torch.cuda.is_available(), reason="memory of the CPU")
def test_the_peak_counts_from_where_it_is_asked_to():
    high = torch.ones(1 << 26)
    before = peak_memory()
    del high
    reset_peak_memory()
    assert peak_memory() < before - (1 << 27)
