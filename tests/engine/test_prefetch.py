"""The next step's rows are made while this one computes, and are the ones that would be made then."""

import threading

import pytest

from electra.engine.ahead import Prefetcher


class Counting:
    """Gives twice the place, and the place after it; remembers which thread was asked for what."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, int, bool]] = []

    def make(self, stage: object, place: int) -> tuple[int, int]:
        if place == 7:
            raise ValueError("seven")
        self.asked.append((stage, place, threading.current_thread() is threading.main_thread()))
        return 2 * place, place + 1


def test_what_comes_next_is_made_in_another_thread_and_once() -> None:
    source = Counting()
    ahead = Prefetcher(source.make)
    assert [ahead.take("a", place) for place in range(4)] == [(2 * place, place + 1) for place in range(4)]
    ahead.coming.result()
    assert source.asked == [("a", 0, True), *(("a", place, False) for place in range(1, 5))]


def test_another_place_or_stage_is_made_anew() -> None:
    source = Counting()
    ahead = Prefetcher(source.make)
    ahead.take("a", 0)
    assert ahead.take("a", 5) == (10, 6)
    assert ahead.take("b", 6) == (12, 7)
    made_here = [(stage, place) for stage, place, main in source.asked if main]
    assert made_here == [("a", 0), ("a", 5), ("b", 6)]


def test_what_goes_wrong_in_the_thread_is_raised_when_it_is_its_turn() -> None:
    ahead = Prefetcher(Counting().make)
    assert ahead.take("a", 6) == (12, 7)
    with pytest.raises(ValueError, match="seven"):
        ahead.take("a", 7)
