"""The steps of a run: phases cut by shares, one schedule over stages that go on, all of it longer or shorter."""

import pytest
from torch import nn

from electra.engine.optim import LinearDecay
from electra.engine.scaling import chain_stages, cut_phases, scale_stages, scale_to_budget, scale_to_steps
from electra.engine.stages import Stage


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


def test_stages_that_go_on_share_a_schedule() -> None:
    chained = chain_stages([stage(4), stage(6, fresh=False), stage(5)])
    assert [(each.offset, each.span) for each in chained] == [(0, 10), (4, 10), (0, 5)]


def test_a_budget_scales_steps_and_warmup() -> None:
    stages = chain_stages([stage(40), stage(60, fresh=False, flops=3)])
    assert scale_to_budget(stages, 0, 0) == 1 and scale_to_budget(stages, 500, 0) == 0.5
    assert scale_to_budget(stages, 0, 110) == 0.5
    assert scale_to_steps(stages, 110) == pytest.approx(0.5)  # of the first stage's, a third as long as the second's
    longer, schedule = scale_stages(stages, LinearDecay(warmup=10), 0.5)
    assert [(each.steps, each.offset, each.span) for each in longer] == [(20, 0, 50), (30, 20, 50)]
    assert schedule == LinearDecay(warmup=5)
