"""Encoders side by side: means over seeds, which of them differ by more than their spread, where one overtakes another.

*Spread* is the standard deviation over seeds. Two means differ if they are further apart than both spreads together.
The spread of one seed is not known, and nothing is said to differ from it.
"""

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Unit = Literal["FLOPs", "minutes"]


@dataclass(frozen=True)
class EncoderResult:
    """What one encoder cost and scored.

    ``budget``: what its training was given; 0 for an encoder that had none. ``cost``: flops, tokens,
    tokens_per_second and seconds that were spent. ``own``: the objective's held-out figures. ``scores``: what makes
    objectives comparable, by name; larger is better.
    """

    objective: str
    budget: float
    seed: int
    cost: Mapping[str, float]
    own: Mapping[str, float]
    scores: Mapping[str, float]


class Spread(NamedTuple):
    """Mean and standard deviation of a figure over seeds; the deviation of one seed is 0."""

    mean: float
    deviation: float
    seeds: int

    def format(self) -> str:
        """The text of a table's cell: 0.510 ± 0.014, or the mean alone if there is one seed."""
        return f"{self.mean:.3f}" + (f" ± {self.deviation:.3f}" if self.seeds > 1 else "")


@dataclass(frozen=True)
class Comparison:
    """The results so far of objectives at rising budgets, and of encoders before any training; the other objectives are
    compared with the first."""

    objectives: tuple[str, ...]
    budgets: tuple[float, ...]
    unit: Unit
    results: Sequence[EncoderResult]

    @property
    def scores(self) -> list[str]:
        """The names of the scores."""
        return list(dict.fromkeys(name for result in self.results for name in result.scores))

    @property
    def untrained(self) -> list[str]:
        """The names of the encoders that had no training: random weights, counted embeddings."""
        return list(dict.fromkeys(result.objective for result in self.results if not result.budget))

    def results_of(self, objective: str, budget: float) -> list[EncoderResult]:
        """The results of an objective at a budget; those of an untrained encoder are the same at each."""
        key = (objective, 0.0 if objective in self.untrained else budget)
        return [result for result in self.results if (result.objective, result.budget) == key]

    def spread(self, objective: str, budget: float, score: str) -> Spread | None:
        """A score over seeds; None if there is no result with it."""
        return compute_spread(
            [result.scores[score] for result in self.results_of(objective, budget) if score in result.scores]
        )


def compute_spread(values: Sequence[float]) -> Spread | None:
    """Mean and standard deviation; None if there are no values."""
    if not values:
        return None
    return Spread(statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0, len(values))


def differ(one: Spread, other: Spread) -> bool:
    """Whether two means are further apart than both deviations together, each of more than one seed."""
    apart = abs(one.mean - other.mean) > one.deviation + other.deviation
    return apart and min(one.seeds, other.seeds) > 1


def find_overtaking(challenger: Sequence[Spread | None], reference: Sequence[Spread | None]) -> int | None:
    """The number of the first budget from which on the challenger is better at each by more than the spread.

    Both are given by rising budgets, None where there is no result. None: there is no such budget.
    """
    ahead = [
        bool(one and other and one.mean > other.mean and differ(one, other))
        for one, other in zip(challenger, reference, strict=True)
    ]
    return next((index for index in range(len(ahead)) if all(ahead[index:])), None)


def format_budget(budget: float, unit: Unit) -> str:
    """A budget as people write it: 3e13 FLOPs, 8 minutes."""
    return f"{format_number(budget)} {unit}"


def format_number(number: float, digits: int = 6) -> str:
    """A number to some digits, its exponent as people write it: 3e13, not 3e+13."""
    return re.sub(r"e\+0*", "e", f"{number:.{digits}g}")
