"""The rules by which differences are marked, on figures made by hand; the tables and pictures that are made of them."""

from pathlib import Path

import pytest

from electra.report import compare_figures
from electra.report.compare import Comparison, EncoderResult, Spread, compute_spread, differ, find_overtaking
from electra.report.compare_page import render_comparison
from electra.report.tables import format_markdown

RANDOM = "random weights"
COST = {"steps": 10, "flops": 1.0e13, "tokens": 5000, "tokens_per_second": 700.0, "seconds": 8.0}
SCORE = "cola: fine-tuned, matthews"


def results(objective: str, budget: float, *scores: float, own: str = "generator/accuracy") -> list[EncoderResult]:
    figures = {} if objective == RANDOM else {own: 0.25}
    cost = COST | {"flops": budget}
    return [
        EncoderResult(objective, budget, seed, cost, figures, {SCORE: score}) for seed, score in enumerate(scores, 1)
    ]


def comparison(seeds: int = 2) -> Comparison:
    """electra begins behind mlm, and is ahead of it from 3e13 on; the twin is never more than a spread ahead."""
    everything = [
        *results(RANDOM, 0, 0.10, 0.12),
        *results("mlm", 1e13, 0.50, 0.52), *results("mlm", 3e13, 0.55, 0.57), *results("mlm", 1e14, 0.60, 0.62),
        *results("electra", 1e13, 0.40, 0.42, own="discriminator/skill"),
        *results("electra", 3e13, 0.60, 0.62, own="discriminator/skill"),
        *results("electra", 1e14, 0.70, 0.72, own="discriminator/skill"),
        *results("twin", 1e13, 0.51, 0.53), *results("twin", 3e13, 0.60, 0.62), *results("twin", 1e14, 0.61, 0.63),
    ]  # fmt: skip
    of_seeds = [result for result in everything if result.seed <= seeds]
    return Comparison(("mlm", "electra", "twin"), (1e13, 3e13, 1e14), "FLOPs", of_seeds)


def test_means_differ_where_they_are_further_apart_than_both_spreads() -> None:
    assert compute_spread([]) is None and compute_spread([0.5]) == Spread(0.5, 0.0, 1)
    assert compute_spread([1.0, 3.0]) == Spread(2.0, pytest.approx(2**0.5), 2)
    assert differ(Spread(0.50, 0.02, 2), Spread(0.55, 0.02, 2)) and differ(Spread(0.55, 0.02, 2), Spread(0.5, 0.02, 2))
    assert not differ(Spread(0.50, 0.03, 2), Spread(0.55, 0.03, 2))
    assert not differ(Spread(0.10, 0.0, 1), Spread(0.90, 0.0, 2)), "one seed has no spread"


def test_one_overtakes_where_it_stays_ahead() -> None:
    low, middle, high = (Spread(mean, 0.01, 3) for mean in (0.3, 0.5, 0.7))
    reference = [middle] * 3
    assert find_overtaking([low, high, high], reference) == 1
    assert find_overtaking([high, high, high], reference) == 0
    assert find_overtaking([high, low, high], reference) == 2
    assert find_overtaking([high, high, low], reference) is None
    assert find_overtaking([low, high, None], reference) is None, "what is not known yet is not ahead"
    assert find_overtaking([low, low, Spread(0.515, 0.01, 3)], reference) is None
    assert find_overtaking([low, low, Spread(0.9, 0.0, 1)], reference) is None


def row(page: str, begins: str, number: int = 0) -> list[str]:
    """The cells of the n-th row that begins so."""
    lines = [line for line in page.splitlines() if line.startswith(f"| {begins} ")]
    return [cell.strip() for cell in lines[number].strip("|").split("|")]


def test_the_page_marks_what_exceeds_the_spread() -> None:
    page = render_comparison(comparison(), "mlm", None, "about it")
    first, last = page.index("## 1e13 FLOPs"), page.index("## 1e14 FLOPs")
    assert "about it" in page and "by more than the two standard deviations together" in page
    at_first, at_last = page[first:last], page[last:]
    assert row(at_first, "mlm") == ["mlm", "2", "1e13", "5,000", "700", "8", "generator/accuracy 0.250 ± 0.000"]
    assert row(at_first, "electra")[-1] == "discriminator/skill 0.250 ± 0.000"
    assert row(at_first, "mlm", 1) == ["mlm", "0.510 ± 0.014"]
    assert row(at_first, "electra", 1) == ["electra", "0.410 ± 0.014 ▼"]
    assert row(at_first, "twin", 1) == ["twin", "**0.520 ± 0.014**"]
    assert row(at_first, RANDOM) == [RANDOM, "0.110 ± 0.014 ▼"]
    assert row(at_last, "electra", 1) == ["electra", "**0.710 ± 0.014** ▲"]
    assert row(at_last, "twin", 1) == ["twin", "0.620 ± 0.014"]
    crossing = page[page.index("## Where mlm is overtaken") :]
    assert row(crossing, "overtakes mlm at")[1:] == ["electra", "twin"]
    assert row(crossing, SCORE)[1:] == ["3e13 FLOPs", "not reached"]


def test_one_seed_marks_nothing_but_the_best() -> None:
    page = render_comparison(comparison(seeds=1), "mlm", None, "")
    assert "**0.700**" in page and "± 0" not in page
    assert not any(mark in line for mark in "▲▼" for line in page.splitlines() if line.startswith("|"))
    assert row(page[page.index("## Where") :], SCORE)[1:] == ["not reached", "not reached"]


def test_half_of_the_results_make_a_page_and_pictures(tmp_path: Path) -> None:
    for count in (2, 3, 4):
        whole = comparison()
        part = Comparison(whole.objectives, whole.budgets, whole.unit, whole.results[:count])
        page = render_comparison(part, "mlm", None, "")
        assert ("## 1e13 FLOPs" in page) == (count > 2) and "## 3e13 FLOPs" not in page
        compare_figures.draw_against_budget(part, tmp_path / "scores.png")
        assert (tmp_path / "scores.png").read_bytes()[:4] == b"\x89PNG"


def test_sizes_have_a_section_and_a_picture(tmp_path: Path) -> None:
    by_size = [*results("generator 0.125", 8, 0.7, 0.72), *results("generator 0.5", 8, 0.6, 0.62)]
    by_size += results(RANDOM, 0, 0)
    sizes = Comparison(("generator 0.125", "generator 0.5"), (8.0,), "minutes", by_size)
    page = render_comparison(Comparison(("electra",), (8.0,), "minutes", by_size[-1:]), "electra", sizes, "")
    assert "## Size of the generator, 8 minutes" in page and "overtaken" not in page
    assert row(page, "generator 0.5", 1)[1] == "0.610 ± 0.014 ▼"
    compare_figures.draw_against_size(sizes, [0.125, 0.5], tmp_path / "sizes.png")
    assert (tmp_path / "sizes.png").read_bytes()[:4] == b"\x89PNG"


def test_a_table_in_markdown() -> None:
    assert format_markdown(["", "a|b"], [["one", 0.5], ["three", 12345]]).splitlines() == [
        "|       |   a\\|b |",
        "| ----- | -----: |",
        "| one   |  0.500 |",
        "| three | 12,345 |",
    ]
