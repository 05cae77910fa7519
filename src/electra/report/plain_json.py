"""A result as JSON that any reader takes."""

import json
import math
from collections.abc import Mapping


def format_json(value: object) -> str:
    """A result in one line of JSON. Numbers that are not finite, which JSON has not, become null."""
    return json.dumps(replace_infinite(value), allow_nan=False)


def replace_infinite(value: object) -> object:
    """The value with None in place of each number that is not finite."""
    if isinstance(value, Mapping):
        return {name: replace_infinite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [replace_infinite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
