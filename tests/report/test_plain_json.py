"""JSON that any reader takes: Python writes NaN and Infinity, which JSON has not."""

from electra.report.plain_json import format_json


def test_numbers_that_are_not_finite_are_null() -> None:
    value = {"a": [float("nan"), 1.5, ("x", float("-inf"))], "b": {"c": float("inf"), "d": None}, "e": 3}
    assert format_json(value) == '{"a": [null, 1.5, ["x", null]], "b": {"c": null, "d": null}, "e": 3}'
