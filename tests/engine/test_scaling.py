"""The steps of a run: phases cut by shares, one schedule over stages that go on, all of it longer or shorter."""

import pytest
from torch import nn

from electra.engine.optim import LinearDecay, WarmupStableDecay
from electra.engine.scaling import (
    StagePlan,
    chain_stages,
    cool_stages,
    cut_phases,
    limit_first,
    scale_stages,
    scale_to_budget,
    scale_to_seconds,
    suggest_rows,
)
from electra.engine.stages import Stage
from electra.errors import UserError


class NoRows:
    start = None

    def take(self, place: None, rows: int) -> tuple[list, None]:
        raise AssertionError

    def batch(self, refs: list) -> None:
        raise AssertionError


def stage(steps: int, fresh: bool = True, flops: int = 1) -> Stage:
    return Stage(nn.Identity(), [], NoRows(), steps, rows=2, tokens=10, flops=flops, fresh=fresh)


def test_phases_are_cut_where_the_next_module_begins() -> None:
    assert list(cut_phases([(8, False), (12, True)], [1.0])) == [(0, 0, 8, False), (1, 0, 12, True)]
    assert list(cut_phases([(8, False), (12, True)], [0.25, 0.75])) == [
        (0, 0, 5, False),
        (0, 1, 3, False),  # another module begins anew
        (1, 1, 12, True),
    ]


@pytest.mark.parametrize("shares", [[0.99, 0.01], [0.01, 0.99]])
def test_a_module_has_one_step_at_least(shares: list[float]) -> None:
    assert list(cut_phases([(2, False)], shares)) == [(0, 0, 1, False), (0, 1, 1, False)]
    with pytest.raises(UserError, match="2 steps at least for an objective with 2 stages, not 1"):
        list(cut_phases([(1, False)], shares))


def test_of_three_modules_each_has_a_step() -> None:
    for shares in ([0.5, 0.001, 0.499], [0.998, 0.001, 0.001], [0.001, 0.001, 0.998]):
        assert [module for _, module, *_ in cut_phases([(4, False)], shares)] == [0, 1, 2]


def test_stages_that_go_on_share_a_schedule() -> None:
    chained = chain_stages([stage(4), stage(6, fresh=False), stage(5)])
    assert [(each.offset, each.span) for each in chained] == [(0, 10), (4, 10), (0, 5)]


def test_a_budget_scales_steps_and_warmup() -> None:
    stages = chain_stages([stage(40), stage(60, fresh=False, flops=3)])
    assert scale_to_budget(stages, 0, 0) == 1 and scale_to_budget(stages, 500, 0) == 0.5
    assert scale_to_budget(stages, 0, 110) == 0.5
    assert scale_to_seconds(stages, [2, 3], 130) == pytest.approx(0.5)
    assert scale_to_seconds(stages, [2, 3], -1) == pytest.approx(2 / 260), "a step at least"
    longer, schedule = scale_stages(stages, LinearDecay(warmup=10), 0.5)
    assert [(each.steps, each.offset, each.span) for each in longer] == [(20, 0, 50), (30, 20, 50)]
    assert schedule == LinearDecay(warmup=5)


def test_a_limited_first_share_leaves_the_rest_to_the_others() -> None:
    assert limit_first([0.5, 0.5], 0.5) == [0.5, 0.5] and limit_first([0.25, 0.75], float("inf")) == [0.25, 0.75]
    assert limit_first([0.5, 0.3, 0.2], 0.1) == pytest.approx([0.1, 0.54, 0.36])


@pytest.mark.parametrize("flops", [50, 110, 400, 10_000])
def test_a_plan_finds_the_length_at_which_a_limited_run_takes_its_operations(flops: int) -> None:
    """Steps of the second module take three times as many; 0.4 of the steps are the first's, but 40 at most."""

    def cut(scale: float) -> list[Stage]:
        stretches = cut_phases([(1000, False)], limit_first([0.4, 0.6], 40 / (1000 * scale)))
        return chain_stages([stage(each.steps, flops=2 * each.module + 1) for each in stretches])

    plan = StagePlan(cut, LinearDecay(warmup=100))
    scale = plan.find_scale(lambda stages: scale_to_budget(stages, 0, flops))
    for found in (plan.scaled(scale), plan.stretched(scale).scaled(1.0), plan.stretched(scale / 2).scaled(2.0)):
        stages, schedule = found
        assert sum(each.steps * each.flops for each in stages) == pytest.approx(flops, abs=4)
        assert stages[0].steps == pytest.approx(min(40, 0.4 * flops / 2.2), abs=1)
        assert schedule.warmup == pytest.approx(100 * scale, abs=1)


def test_few_steps_could_be_smaller_ones() -> None:
    assert suggest_rows(33, 512, 256) == 16  # modern-small in 3e14 operations: 1,056 steps of 4,096 tokens
    assert suggest_rows(499, 32, 128) == 15
    assert suggest_rows(500, 512, 256) == 0, "enough"
    assert suggest_rows(300, 16, 128) == 0, "as small as that already"
    assert suggest_rows(1, 512, 256) == 0, "a step of one row is no better"


def test_a_cool_down_falls_from_where_the_schedule_is_to_0() -> None:
    stages, schedule = chain_stages([stage(4), stage(6, fresh=False), stage(5)]), LinearDecay(warmup=0)
    (_, last) = cool_stages(stages, stage=1, begin=2, steps=3)
    assert last.steps == 5 and last.span == 10
    rates = [last.rate(schedule, step) for step in range(5)]
    assert rates == pytest.approx([0.6, 0.5, 0.4, 0.4 * 2 / 3, 0.4 / 3])
    assert [stages[1].rate(schedule, step) for step in range(2)] == rates[:2]
    assert last.progress(4) == 0.8, "what else follows the schedule goes on as planned"


@pytest.mark.parametrize("steps", [1, 7, 20, 33])
def test_a_cool_down_of_a_level_rate_is_the_schedule_that_ends_so(steps: int) -> None:
    """To the last bit; and progress ends at 1, though the run is longer than it was planned."""
    (cooled,) = cool_stages(chain_stages([stage(90)]), stage=0, begin=80, steps=steps)
    level, planned = WarmupStableDecay(warmup=5, decay=0.0), WarmupStableDecay(warmup=5, decay=steps / (80 + steps))
    whole = stage(80 + steps)
    exact = planned.decay * whole.steps == steps  # the share may not be a number that a computer has
    for step in range(80 + steps):
        assert cooled.rate(level, step) == pytest.approx(whole.rate(planned, step), rel=0 if exact else 1e-14)
    assert cooled.progress(80 + steps) == min(1.0, (80 + steps) / 90)
