"""Reads and lays out the next step's rows while this step computes."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

AnyStage = TypeVar("AnyStage")
AnyPlace = TypeVar("AnyPlace")
Made = TypeVar("Made")


class Prefetcher(Generic[AnyStage, AnyPlace, Made]):
    """Calls ``make(stage, place)`` in a thread, one place ahead. ``make`` is a pure function and also returns the place
    after the one that it is given."""

    def __init__(self, make: Callable[[AnyStage, AnyPlace], tuple[Made, AnyPlace]]):
        self.make = make
        self.thread = ThreadPoolExecutor(1, "next step's rows")
        self.next: tuple[AnyStage, AnyPlace, Future[tuple[Made, AnyPlace]]] | None = None  # what is made in the thread

    def take(self, stage: AnyStage, place: AnyPlace) -> tuple[Made, AnyPlace]:
        """What ``make`` returns for this place. An exception in the thread is raised here."""
        if self.next is not None and self.next[0] is stage and self.next[1] == place:
            made, after = self.next[2].result()
        else:
            made, after = self.make(stage, place)
        self.next = (stage, after, self.thread.submit(self.make, stage, after))
        return made, after
