"""Encoders side by side: means over seeds, which of them differ by more than their spread, where one overtakes another.

*Spread* is the standard deviation over seeds. Two means differ where they are further apart than both spreads together;
with one seed nothing is known of the spread, and nothing is said to differ.
"""

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

RANDOM = "random weights"

Unit = Literal["FLOPs", "minutes"]


@dataclass(frozen=True)
class EncoderResult:
    """What came of one encoder. ``budget``: what its training was given; 0 for random weights, which had none.

    ``cost``: flops, tokens, tokens_per_second and seconds that were spent. ``own``: the objective's held-out figures.
    ``scores``: what makes objectives comparable, by name; larger is better.
    """

    objective: str
    budget: float
    seed: int
    cost: Mapping[str, float]
    own: Mapping[str, float]
    scores: Mapping[str, float]


class Spread(NamedTuple):
    """Values over seeds."""

    mean: float
    deviation: float
    seeds: int

    def said(self) -> str:
        """For a table's cell."""
        return f"{self.mean:.3f}" + (f" ± {self.deviation:.3f}" if self.seeds > 1 else "")


@dataclass(frozen=True)
class Comparison:
    """Objectives, the first of which the others are held against, at rising budgets, and the results so far."""

    objectives: tuple[str, ...]
    budgets: tuple[float, ...]
    unit: Unit
    results: Sequence[EncoderResult]

    @property
    def scores(self) -> list[str]:
        """The names of the scores."""
        return list(dict.fromkeys(name for result in self.results for name in result.scores))

    def of(self, objective: str, budget: float) -> list[EncoderResult]:
        """The results of an objective at a budget; random weights are the same at each."""
        wanted = (objective, 0.0 if objective == RANDOM else budget)
        return [result for result in self.results if (result.objective, result.budget) == wanted]

    def spread(self, objective: str, budget: float, score: str) -> Spread | None:
        """A score over seeds, if it is there."""
        return compute_spread([result.scores[score] for result in self.of(objective, budget) if score in result.scores])


def compute_spread(values: Sequence[float]) -> Spread | None:
    """Mean and standard deviation, if there are values."""
    if not values:
        return None
    return Spread(statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0, len(values))


def differ(one: Spread, other: Spread) -> bool:
    """See the rule above."""
    apart = abs(one.mean - other.mean) > one.deviation + other.deviation
    return apart and min(one.seeds, other.seeds) > 1


def find_overtaking(challenger: Sequence[Spread | None], reference: Sequence[Spread | None]) -> int | None:
    """The first of rising budgets from which on the challenger is better at each by more than the spread."""
    ahead = [
        bool(one and other and one.mean > other.mean and differ(one, other))
        for one, other in zip(challenger, reference, strict=True)
    ]
    return next((index for index in range(len(ahead)) if all(ahead[index:])), None)


def format_budget(budget: float, unit: Unit) -> str:
    """A budget as people write it: 3e13 FLOPs, 8 minutes."""
    return f"{format_number(budget)} {unit}"


def format_number(number: float, digits: int = 6) -> str:
    """3e13 in place of 3e+13."""
    return re.sub(r"e\+0*", "e", f"{number:.{digits}g}")
