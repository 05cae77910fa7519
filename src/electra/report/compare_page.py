"""A comparison in words and tables: what was spent, how good the encoders are, which differences mean something."""

import statistics
from collections.abc import Mapping, Sequence

from electra.report.compare import (
    RANDOM,
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


def render_comparison(found: Comparison, reference: str, sizes: Comparison | None, about: str) -> str:
    """All of it in Markdown. ``reference``: the objective that the others may overtake; ``sizes``: of the generator."""
    parts = [f"# {', '.join(found.objectives)} at equal {found.unit}", about, explain_marks(found.objectives[0])]
    for budget in found.budgets:
        if any(found.of(name, budget) for name in found.objectives):
            parts += [f"## {format_budget(budget, found.unit)}", render_budget(found, budget)]
    if len(found.objectives) > 1:
        how = (
            f"The smallest budget at which an objective is better than {reference} by more than the two standard "
            "deviations together, and stays so at all larger ones."
        )
        parts += [f"## Where {reference} is overtaken", how, render_overtakings(found, reference)]
    if sizes:
        how = f"The generator's width as a fraction of the discriminator's; ▲ ▼ are against {sizes.objectives[0]}."
        title = f"## Size of the generator, {format_budget(sizes.budgets[-1], found.unit)}"
        parts += [title, how, render_budget(sizes, sizes.budgets[-1])]
    return "\n\n".join(parts) + "\n"


def render_budget(found: Comparison, budget: float) -> str:
    """Two tables of a budget: what the objectives spent, and how well their encoders do."""
    there = [name for name in found.objectives if found.of(name, budget)]
    header = ["", "seeds", "FLOPs", "tokens", "tokens/s", "seconds", "its own held-out figure"]
    spent = format_markdown(header, [list_costs(name, found.of(name, budget)) for name in there])
    return f"{spent}\n\n{render_scores(found, budget, there)}"


def list_costs(name: str, results: Sequence[EncoderResult]) -> list[object]:
    """A row: means over seeds."""
    mean = {key: statistics.mean(result.cost[key] for result in results) for key in results[0].cost}
    own = next((key for key in OWN if key in results[0].own), "")
    figure = compute_spread([result.own[own] for result in results if own in result.own])
    numbers = [round(mean[key]) for key in ("tokens", "tokens_per_second", "seconds")]
    return [name, len(results), format_number(mean["flops"], 3), *numbers, f"{own} {figure.said()}" if figure else ""]


def render_scores(found: Comparison, budget: float, there: Sequence[str]) -> str:
    """A row for each objective and one for random weights, with the marks that ``explain_marks`` explains."""
    columns = {}
    rows = [*there, RANDOM]
    for score in found.scores:
        spreads = {name: found.spread(name, budget, score) for name in rows}
        columns[score] = mark_cells(spreads, found.objectives[0])
    return format_markdown(["", *columns], [[name, *(column[name] for column in columns.values())] for name in rows])


def mark_cells(spreads: Mapping[str, Spread | None], first: str) -> dict[str, str]:
    """Name → cell of one score: ``**`` around the best mean, ▲ ▼ where it is better or worse than the first."""
    best = max((spread.mean for spread in spreads.values() if spread), default=0.0)
    against, cells = spreads.get(first), {}
    for name, spread in spreads.items():
        said = spread.said() if spread else ""
        if spread and spread.mean == best:
            said = f"**{said}**"
        if spread and against and differ(spread, against):
            said += " ▲" if spread.mean > against.mean else " ▼"
        cells[name] = said
    return cells


def explain_marks(first: str) -> str:
    """How to read the cells of ``render_scores``."""
    return (
        "Mean ± standard deviation over seeds; larger is better. `**`: the best mean of a column, whatever the spread. "
        f"▲ ▼: better or worse than {first} by more than the two standard deviations together; without a mark the "
        "difference is within the spread, or there is one seed, which has none."
    )


def render_overtakings(found: Comparison, reference: str) -> str:
    """For each score and objective the budget from which on it is better than ``reference``."""
    others = [name for name in found.objectives if name != reference]
    rows = []
    for score in found.scores:
        series = {name: [found.spread(name, budget, score) for budget in found.budgets] for name in found.objectives}
        at = [find_overtaking(series[name], series[reference]) for name in others]
        rows.append([score, *(NOT_REACHED if i is None else format_budget(found.budgets[i], found.unit) for i in at)])
    return format_markdown([f"overtakes {reference} at", *others], rows)
