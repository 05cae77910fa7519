"""Shapes of JSON: told without pydantic, with the place at which a value is another one."""

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from electra.errors import UserError
from electra.strict_json import require_shape


@dataclass(frozen=True)
class Place:
    row: int
    share: float


RIGHT: list[tuple[Any, Any]] = [
    ({"a": 1}, dict),
    ([1], list),
    ("a", str),
    (1, float),
    (1.5, float),
    (True, bool),
    (None, Any),
    ({}, dict[str, int]),
    ({"a": [1, "b"]}, dict[str, list[int | str]]),
    ("train", Literal["train", "dev"]),
    ({"a": {"b": 2}}, dict[str, Any]),
]
WRONG = {
    "list": ([], dict, "expected an object, found"),
    "true": (True, int, "expected a whole number, found True"),
    "true as a share": (True, float, "expected a number, found True"),
    "text": ("1", int, "expected a whole number, found '1'"),
    "none": (None, str, "expected text, found None"),
    "in a list": ({"a": [1, "b"]}, dict[str, list[int]], r"a\[1\]: expected a whole number, found 'b'"),
    "in a union": ([1, {}], list[int | str], r"\[1\]: expected a whole number, found {}"),
    "another name": ("tset", Literal["train", "test"], "expected one of train, test, found 'tset'"),
    "a key": ({"tset": 1}, dict[Literal["train", "test"], int], "tset: expected one of train, test"),
    "a field": ({"row": 1, "share": "x"}, Place, "share: expected a number, found 'x'"),
    "a field too many": ({"row": 1, "share": 1, "x": 0}, Place, "expected an object with row, share"),
    "a field too few": ({"row": 1}, Place, "expected an object with row, share"),
    "deeper": ({"a": {"row": 1.5, "share": 1}}, dict[str, Place], "a.row: expected a whole number, found 1.5"),
}


@pytest.mark.parametrize(("content", "shape"), RIGHT)
def test_what_has_the_shape_is_given_back(content: Any, shape: Any) -> None:
    assert require_shape(content, shape, "here") is content


@pytest.mark.parametrize("name", WRONG)
def test_what_has_another_shape_is_told_with_its_place(name: str) -> None:
    content, shape, words = WRONG[name]
    with pytest.raises(UserError, match=f"^here: {words}"):
        require_shape(content, shape, "here")


def test_a_dataclass_is_made_of_what_fits() -> None:
    assert require_shape({"row": 3, "share": 1}, Place, "here") == Place(3, 1)
