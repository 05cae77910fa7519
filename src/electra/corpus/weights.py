"""How much of each source training reads: shares that the user gives, or a temperature."""

from collections.abc import Mapping, Sequence

from electra.corpus.sources import UNNAMED
from electra.errors import UserError


def parse_weights(weights: Sequence[str], names: Sequence[str]) -> dict[str, float]:
    """Source → weight, from ``NAME=NUMBER`` for each of the sources ``names``; empty if there are no ``weights``.

    Raises:
        UserError: a weight that is not of this form or not positive; a source that is unknown, or has none.
    """
    parsed = {}
    for weight in weights:
        name, equals, number = weight.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not equals or name not in names or not 0 < value < float("inf"):
            known = ", ".join(names) if names != [UNNAMED] else "none has a name; --data wiki=PATTERN gives one"
            raise UserError(f"--weights {weight}: NAME=NUMBER for each source; the sources: {known}")
        parsed[name] = value
    if parsed and (missing := set(names) - set(parsed)):
        raise UserError(f"--weights: {', '.join(sorted(missing))} has none")
    return parsed


def check_temperature(temperature: float, weights: Sequence[str]) -> None:
    """Raise ``UserError`` for a temperature beside weights."""
    if weights and temperature != 1:
        raise UserError("--weights and --temperature: one of the two")


def compute_source_shares(
    weights: Mapping[str, float], temperature: float, tokens: Mapping[str, int]
) -> dict[str, float]:
    """Source → share of the tokens that training reads; empty if each token is read once an epoch.

    The shares are those of ``weights`` or, if there are none, of ``tokens`` to the power 1 / ``temperature``.
    """
    if not weights and temperature == 1:
        return {}
    amounts = weights or {name: count ** (1 / temperature) for name, count in tokens.items()}
    return {name: amount / sum(amounts.values()) for name, amount in amounts.items()}
