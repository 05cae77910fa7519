"""How much of each source training reads: shares that the user gives, or a temperature."""

from collections.abc import Mapping, Sequence

from electra.corpus.sources import UNNAMED
from electra.errors import UserError


def parse_weights(weights: Sequence[str], names: Sequence[str]) -> dict[str, float]:
    """Source → weight, from ``NAME=NUMBER`` for each of the sources ``names``; empty if there are no ``weights``.

    Raises:
        UserError: a weight that is not of this form or not positive; a source that is unknown, has two, or none.
    """
    parsed: dict[str, float] = {}
    for weight in weights:
        name, equals, number = weight.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not equals or name not in names or not 0 < value < float("inf"):
            known = ", ".join(names) if names != [UNNAMED] else "none has a name; --data wiki=PATTERN gives one"
            raise UserError(f"--weights {weight}: NAME=NUMBER for each source; the sources: {known}")
        if name in parsed:
            raise UserError(f"--weights {weight}: {name} has a weight already, {parsed[name]:g}")
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

    The shares are those of ``weights`` or, if there are none, of ``tokens`` to the power 1 / ``temperature``. A source
    without a token has no share: what its weight asks for goes to the others, so that the shares make 1.
    """
    if not any(tokens.values()) or (not weights and temperature == 1):
        return {}
    amounts = {
        name: (weights[name] if weights else count ** (1 / temperature)) if count else 0.0
        for name, count in tokens.items()
    }
    return {name: amount / sum(amounts.values()) for name, amount in amounts.items()}
