"""Tables of a comparison: what the objectives cost and scored at each budget, and where one is overtaken."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from electra.errors import UserError, convert_errors
from electra.report.compare import Comparison, EncoderResult, format_budget
from electra.report.compare_page import COST_HEADER, explain_marks, list_costs, list_overtakings, mark_spreads
from electra.report.html.content import ReportTable
from electra.run_folder import read_json
from electra.strict_json import parse_json, require_shape
from electra.workflows.compare.compare import SCORES_FILE
from electra.workflows.compare.plan import CONFIG
from electra.workflows.compare.runs import COSTS
from electra.workflows.reporting.evaluations import Table, spread_cell

REFERENCE = "mlm"  # the objective that others may overtake, if it is there


@dataclass(frozen=True)
class ScoreLine:
    """A line of a comparison's file of scores, as JSON has it, without the folder in which the encoder lay then."""

    objective: str
    budget: float
    seed: int
    cost: dict[str, float]
    own: dict[str, float]
    scores: dict[str, float]


def tabulate_comparison(folder: Path) -> Iterator[Table]:
    """The tables of a comparison, as far as it has come.

    Raises:
        UserError: a file that is damaged.
    """
    if not (folder / SCORES_FILE).is_file():
        return
    comparison = read_comparison(folder)
    for budget in comparison.budgets:
        yield from tabulate_budget(comparison, budget, folder.name)
    if len(comparison.objectives) > 1 and len(comparison.budgets) > 1:
        reference = REFERENCE if REFERENCE in comparison.objectives else comparison.objectives[0]
        header, rows = list_overtakings(comparison, reference)
        about = "The smallest budget from which on an objective is better by more than both standard deviations."
        yield "evaluations", ReportTable(f"{folder.name}: where {reference} is overtaken", header, rows, about)


def read_comparison(folder: Path) -> Comparison:
    """The results so far, objectives and budgets in their order."""
    path, results = folder / SCORES_FILE, list[EncoderResult]()
    with convert_errors(str(path), OSError, ValueError):
        lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        where = f"{path}, line {number}"
        content = require_shape(parse_json(line, where), dict[str, Any], where)
        score = require_shape({name: content[name] for name in content if name != "folder"}, ScoreLine, where)
        if missing := [name for name in COSTS if name not in score.cost]:
            raise UserError(f"{where}: cost: {missing[0]} is missing")
        results.append(EncoderResult(score.objective, score.budget, score.seed, score.cost, score.own, score.scores))
    config = read_json(folder / CONFIG, "its settings are needed") if (folder / CONFIG).is_file() else {}
    objectives = tuple(dict.fromkeys(result.objective for result in results if result.budget))
    budgets = tuple(sorted({result.budget for result in results if result.budget}))
    return Comparison(objectives, budgets, "minutes" if config.get("equal") == "time" else "FLOPs", results)


def tabulate_budget(comparison: Comparison, budget: float, name: str) -> Iterator[Table]:
    """Two tables of a budget: what was spent, and how good the encoders are."""
    title = f"{name}: {format_budget(budget, comparison.unit)}"
    objectives = [each for each in comparison.objectives if comparison.results_of(each, budget)]
    costs = [list_costs(each, comparison.results_of(each, budget)) for each in objectives]
    yield "evaluations", ReportTable(f"{title}, spent", ("objective", *COST_HEADER[1:]), costs)
    columns, rows = {}, [*objectives, *comparison.untrained]
    for score in comparison.scores:
        spreads = {each: comparison.spread(each, budget, score) for each in rows}
        marks = mark_spreads(spreads, comparison.objectives[0])
        columns[score] = {
            each: spread_cell(spread, best=marks[each].best, mark=marks[each].against)
            for each, spread in spreads.items()
        }
    cells = [[each, *(column[each] for column in columns.values())] for each in rows]
    about = explain_marks(comparison.objectives[0]).replace("`**`: the", "Bold: the")
    yield "evaluations", ReportTable(f"{title}, scores", ("objective", *columns), cells, about)
