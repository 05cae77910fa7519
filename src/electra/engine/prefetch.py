"""The next step's rows are read and laid out while this step computes."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

Made = TypeVar("Made")


class Prefetcher(Generic[Made]):
    """Calls ``make(stage, place)``, a pure function that also gives the place after, one place ahead in a thread."""

    def __init__(self, make: Callable[[Any, Any], tuple[Made, Any]]):
        self.make = make
        self.thread = ThreadPoolExecutor(1, "next step's rows")
        self.asked: tuple[Any, Any] = (None, None)  # the stage itself, and the place
        self.coming: Future[tuple[Made, Any]] | None = None

    def take(self, stage: Any, place: Any) -> tuple[Made, Any]:
        """What ``make`` gives for this place. What it raised in the thread is raised here."""
        if self.coming is not None and self.asked[0] is stage and self.asked[1] == place:
            found = self.coming.result()
        else:
            found = self.make(stage, place)
        self.asked = (stage, found[1])
        self.coming = self.thread.submit(self.make, stage, found[1])
        return found
