"""The curves of a report: thinned without losing a spike, and told apart by colour and dashes."""

import pytest

from electra.report.html.charts import list_ticks, place_points
from electra.report.html.content import CurveLine
from electra.report.html.figures import LineStyle, choose_line_styles, list_chart_figures
from electra.report.html.thinning import thin_line
from reported import make_run


@pytest.mark.parametrize("most", [40, 400, 1000])
def test_the_lowest_and_the_highest_points_stay(most: int) -> None:
    values: list[float | None] = [1.0 + 0.001 * (step % 7) for step in range(100_000)]
    values[31_415], values[77_777], values[3] = 50.0, -50.0, 2.5
    steps, thin = thin_line(CurveLine(range(100_000), values), most)
    assert len(steps) <= 1.5 * most and steps[0] == 0 and steps[-1] == 99_999 and list(steps) == sorted(set(steps))
    found = dict(zip(steps, thin, strict=True))
    assert found[31_415] == 50.0 and found[77_777] == -50.0 and found[3] == 2.5
    assert sum(step < 1000 for step in steps) > most / 8, "a logarithmic axis shows the beginning"


def test_a_gap_stays_a_gap() -> None:
    values: list[float | None] = [1.0] * 1000
    values[500:600] = [None] * 100
    steps, thin = thin_line(CurveLine(range(1000), values), 60)
    assert None in thin and all(500 <= step < 600 for step, value in zip(steps, thin, strict=True) if value is None)
    assert thin_line(CurveLine([1, 2], [None, 0.123456789]), 60) == CurveLine([1, 2], [None, 0.12346])
    assert place_points(CurveLine([0, 10], [None, 1.0]), 0.0, 2.0, 10)[0] is None


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-0.003, 0.0041), (6.9, 8.3), (1e9, 1.9e9), (-5, 500)])
def test_ticks_are_two_to_five_round_numbers_within(low: float, high: float) -> None:
    ticks = list_ticks(low, high)
    assert 2 <= len(ticks) <= 6 and low <= ticks[0] and ticks[-1] <= high
    assert all(len(f"{abs(tick):e}".split("e")[0].rstrip("0")) <= 4 for tick in ticks)


def test_seeds_share_a_colour_while_there_are_enough() -> None:
    seeds = [make_run(number, "a", group=f"group {number // 2}") for number in range(6)]
    assert choose_line_styles(seeds) == [LineStyle(number // 2, number % 2) for number in range(6)]
    many = [make_run(number, "a") for number in range(33)]
    styles = choose_line_styles(many)
    assert len(set(styles[:32])) == 32 and styles[32] == styles[0]


def test_main_figures_come_first_and_keep_their_task() -> None:
    run = make_run(0, "a")
    line = run.curves["generator/loss"]["train"]
    run.curves.update({"cola: loss": {"train": line}, "learning_rate": {"train": line}})  # type: ignore[attr-defined]
    figures = list_chart_figures([run])
    assert [figure.name for figure in figures] == [
        "generator/loss", "discriminator/auc", "cola: loss", "learning_rate", "other/a",
    ]  # fmt: skip
    assert figures[2].title == "cola: loss of a target" and [each.main for each in figures] == [True] * 3 + [False] * 2
