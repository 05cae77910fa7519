"""The best checkpoint so far, by a figure of the held-out split."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from electra.errors import UserError

# Figures by the last part of their names. Those that tell nothing alone (a rate, recall without precision) are in none.
SMALLER_IS_BETTER = ("loss",)
LARGER_IS_BETTER = (
    "accuracy", "sampled_accuracy", "skill", "auc", "best", "last", "f1", "macro-f1", "micro-f1", "exact", "matthews",
    "pearson", "spearman",
)  # fmt: skip

Best = dict[str, Any]  # JSON: figure, its value, step; empty as long as there is none


def last_part(figure: str) -> str:
    """``discriminator/skill`` → ``skill``."""
    return figure.rpartition("/")[2]


def refuse_undirected_figure(figure: str) -> None:
    """Raise ``UserError`` for a figure of which nothing says whether more or less of it is better."""
    if last_part(figure) not in SMALLER_IS_BETTER + LARGER_IS_BETTER:
        raise UserError(
            f"engine.keep_best: {figure!r} is no figure by which a checkpoint is better; its last part would be one of "
            f"{', '.join(SMALLER_IS_BETTER)} (the less the better), {', '.join(LARGER_IS_BETTER)} (the more)"
        )


def refuse_missing_figure(figure: str, names: Iterable[str]) -> None:
    """Raise ``UserError`` for a figure that is not among the ``names`` of those that an evaluation gives."""
    if figure not in (names := set(names)):
        usable = sorted(name for name in names if last_part(name) in SMALLER_IS_BETTER + LARGER_IS_BETTER)
        raise UserError(
            f"engine.keep_best: there is no figure {figure!r} of held-out text; there are {', '.join(usable)}"
        )


def choose_best(best: Best, figure: str, figures: Mapping[str, float], step: int) -> Best:
    """The best so far after an evaluation at ``step``. One of another figure does not count; of equals the first."""
    value = figures.get(figure, math.nan)
    if not math.isfinite(value):
        return best
    sign = -1 if last_part(figure) in SMALLER_IS_BETTER else 1
    if best.get("figure") == figure and sign * value <= sign * best["value"]:
        return best
    return {"figure": figure, "value": value, "step": step}
