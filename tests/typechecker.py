"""What checks signatures while tests run: beartype, for which a whole number is a number too (PEP 484).

jaxtyping's own wrapper binds the arguments of every call and checks them twice, which took a third of the tests' time.
Here beartype checks arguments and result in one wrapper; jaxtyping adds the context that holds the sizes of a call's
arrays together, where there are arrays.
"""

import inspect
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, Literal, get_args, get_origin

import jaxtyping
from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
original = jaxtyping.jaxtyped


def has(annotation: Any, wanted: Callable[[Any], bool]) -> bool:
    """Whether an annotation, or what it is made of, is wanted."""
    parts = annotation if isinstance(annotation, list) else get_args(annotation)  # a list: arguments of a Callable
    parts = () if get_origin(annotation) is Literal else parts
    return wanted(annotation) or any(has(part, wanted) for part in parts)


def is_array(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, jaxtyping.AbstractArray)


def jaxtyped(function: Any = None, *, typechecker: Callable[[Any], Any]) -> Any:
    """``jaxtyping.jaxtyped``, which itself takes classes, generators and annotations with types' names in strings."""
    if function is None:
        return partial(jaxtyped, typechecker=typechecker)
    annotations = list(getattr(function, "__annotations__", {}).values())
    named = any(has(annotation, lambda part: isinstance(part, str)) for annotation in annotations)
    if isinstance(function, type) or inspect.isgeneratorfunction(function) or named:
        return original(function, typechecker=typechecker)
    function = typechecker(function)
    if not any(has(annotation, is_array) for annotation in annotations):
        return function

    @wraps(function)
    def in_context(*args: Any, **kwargs: Any) -> Any:
        with original("context"):
            return function(*args, **kwargs)

    return in_context


jaxtyping.jaxtyped = jaxtyped
