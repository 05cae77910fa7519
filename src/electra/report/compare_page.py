"""A comparison in words and tables: what was spent, how good the encoders are, which differences mean something."""

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from electra.report.compare import (
    Comparison,
    EncoderResult,
    Spread,
    compute_spread,
    differ,
    find_overtaking,
    format_budget,
    format_number,
)
from electra.report.tables import format_markdown

OWN = ("discriminator/skill", "encoder/accuracy", "encoder/loss", "generator/accuracy")  # of these the first there is
NOT_REACHED = "not reached"
COST_HEADER = ("", "seeds", "FLOPs", "tokens", "tokens/s", "seconds", "its own held-out figure")


class Marks(NamedTuple):
    """How a mean stands in its column. ``best``: no other is better. ``against``: " ▲" or " ▼" where it is better or
    worse than the first objective's by more than the spread, else nothing."""

    best: bool
    against: str


def render_comparison(comparison: Comparison, reference: str, sizes: Comparison | None, about: str) -> str:
    """The whole page in Markdown.

    ``reference``: the objective that the others may overtake. ``sizes``: the comparison of generator sizes, if there is
    one. ``about``: what the page begins with.
    """
    parts = [
        f"# {', '.join(comparison.objectives)} at equal {comparison.unit}",
        about,
        explain_marks(comparison.objectives[0]),
    ]
    for budget in comparison.budgets:
        if any(comparison.results_of(name, budget) for name in comparison.objectives):
            parts += [f"## {format_budget(budget, comparison.unit)}", render_budget(comparison, budget)]
    if len(comparison.objectives) > 1:
        rule = (
            f"The smallest budget at which an objective is better than {reference} by more than the two standard "
            "deviations together, and stays so at all larger ones."
        )
        parts += [f"## Where {reference} is overtaken", rule, render_overtakings(comparison, reference)]
    if sizes:
        rule = f"The generator's width as a fraction of the discriminator's; ▲ ▼ are against {sizes.objectives[0]}."
        title = f"## Size of the generator, {format_budget(sizes.budgets[-1], comparison.unit)}"
        parts += [title, rule, render_budget(sizes, sizes.budgets[-1])]
    return "\n\n".join(parts) + "\n"


def render_budget(comparison: Comparison, budget: float) -> str:
    """Two tables of a budget: what the objectives spent, and how well their encoders do."""
    objectives = [name for name in comparison.objectives if comparison.results_of(name, budget)]
    spent = format_markdown(COST_HEADER, [list_costs(name, comparison.results_of(name, budget)) for name in objectives])
    return f"{spent}\n\n{render_scores(comparison, budget, objectives)}"


def list_costs(name: str, results: Sequence[EncoderResult]) -> list[object]:
    """The row of an objective's results: what was spent and its own held-out figure, means over seeds."""
    mean = {key: statistics.mean(result.cost[key] for result in results) for key in results[0].cost}
    own = next((key for key in OWN if key in results[0].own), "")
    figure = compute_spread([result.own[own] for result in results if own in result.own])
    numbers = [round(mean[key]) for key in ("tokens", "tokens_per_second", "seconds")]
    return [name, len(results), format_number(mean["flops"], 3), *numbers, f"{own} {figure.format()}" if figure else ""]


def render_scores(comparison: Comparison, budget: float, objectives: Sequence[str]) -> str:
    """A row for each objective and each untrained encoder, with the marks that ``explain_marks`` describes."""
    columns = {}
    rows = [*objectives, *comparison.untrained]
    for score in comparison.scores:
        spreads = {name: comparison.spread(name, budget, score) for name in rows}
        columns[score] = mark_cells(spreads, comparison.objectives[0])
    return format_markdown(["", *columns], [[name, *(column[name] for column in columns.values())] for name in rows])


def mark_spreads(spreads: Mapping[str, Spread | None], first: str) -> dict[str, Marks]:
    """Name → the marks of one score: whether its mean is the best, and whether it differs from the first's."""
    best = max((spread.mean for spread in spreads.values() if spread), default=0.0)
    reference, marks = spreads.get(first), {}
    for name, spread in spreads.items():
        against = ""
        if spread and reference and differ(spread, reference):
            against = " ▲" if spread.mean > reference.mean else " ▼"
        marks[name] = Marks(spread is not None and spread.mean == best, against)
    return marks


def mark_cells(spreads: Mapping[str, Spread | None], first: str) -> dict[str, str]:
    """Name → cell of one score in Markdown: ``**`` around the best mean, and the mark against the first."""
    cells, marks = {}, mark_spreads(spreads, first)
    for name, spread in spreads.items():
        cell = spread.format() if spread else ""
        cells[name] = (f"**{cell}**" if marks[name].best else cell) + marks[name].against
    return cells


def explain_marks(first: str) -> str:
    """The paragraph that says how to read the cells of ``render_scores``. ``first``: the objective to compare with."""
    return (
        "Mean ± standard deviation over seeds; larger is better. `**`: the best mean of a column, whatever the spread. "
        f"▲ ▼: better or worse than {first} by more than the two standard deviations together; without a mark the "
        "difference is within the spread, or there is one seed, which has none."
    )


def render_overtakings(comparison: Comparison, reference: str) -> str:
    """A row for each score: the budget from which on each other objective is better than ``reference``."""
    return format_markdown(*list_overtakings(comparison, reference))


def list_overtakings(comparison: Comparison, reference: str) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of ``render_overtakings``."""
    others = [name for name in comparison.objectives if name != reference]
    rows = []
    for score in comparison.scores:
        spreads = {
            name: [comparison.spread(name, budget, score) for budget in comparison.budgets]
            for name in comparison.objectives
        }
        row = [score]
        for name in others:
            index = find_overtaking(spreads[name], spreads[reference])
            row.append(NOT_REACHED if index is None else format_budget(comparison.budgets[index], comparison.unit))
        rows.append(row)
    return [f"overtakes {reference} at", *others], rows
