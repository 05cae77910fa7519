"""What checks signatures while tests run: beartype, for which a whole number is a number too (PEP 484).

jaxtyping's own wrapper binds the arguments of every call and checks them twice, which took a third of the tests' time.
Here beartype checks arguments and result in one wrapper; jaxtyping adds the context that holds the sizes of a call's
arrays together, where there are arrays. A function with arrays is checked in the first calls of each test: what comes
after is the same call again, at every step of a training.
"""

import inspect
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, Literal, get_args, get_origin

import jaxtyping
from beartype import BeartypeConf, beartype

CHECKED_CALLS = 8  # of each function with arrays, in each test
checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
original = jaxtyping.jaxtyped


def has(annotation: Any, wanted: Callable[[Any], bool]) -> bool:
    """Whether an annotation, or what it is made of, is wanted."""
    parts = annotation if isinstance(annotation, list) else get_args(annotation)  # a list: arguments of a Callable
    parts = () if get_origin(annotation) is Literal else parts
    return wanted(annotation) or any(has(part, wanted) for part in parts)


def is_array(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, jaxtyping.AbstractArray)


class Calls:
    """How often one function was called in the test that runs."""

    test = 0  # which test runs: the same for all functions

    def __init__(self) -> None:
        self.of_test, self.count = -1, 0

    def is_enough(self) -> bool:
        """Count a call. Whether there were enough before it."""
        if self.of_test != Calls.test:
            self.of_test, self.count = Calls.test, 0
        self.count += 1
        return self.count > CHECKED_CALLS


def jaxtyped(function: Any = None, *, typechecker: Callable[[Any], Any]) -> Any:
    """``jaxtyping.jaxtyped``, which itself takes classes, annotations with types' names in strings, and generators of
    arrays."""
    if function is None:
        return partial(jaxtyped, typechecker=typechecker)
    annotations = list(getattr(function, "__annotations__", {}).values())
    named = any(has(annotation, lambda part: isinstance(part, str)) for annotation in annotations)
    arrays = any(has(annotation, is_array) for annotation in annotations)
    if isinstance(function, type) or named or (arrays and inspect.isgeneratorfunction(function)):
        return original(function, typechecker=typechecker)
    strict = typechecker(function)
    if not arrays:
        return strict
    calls = Calls()

    @wraps(strict)
    def in_context(*args: Any, **kwargs: Any) -> Any:
        if calls.is_enough():
            return function(*args, **kwargs)
        with original("context"):
            return strict(*args, **kwargs)

    return in_context


jaxtyping.jaxtyped = jaxtyped
