"""The next step's rows are made while this step computes, and are the same as if they were made then."""

import threading

import pytest

from electra.engine.prefetch import Prefetcher


class Counting:
    """Makes twice the place; records each call and whether it was in the main thread."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, int, bool]] = []

    def make(self, stage: object, place: int) -> tuple[int, int]:
        if place == 7:
            raise ValueError("seven")
        self.calls.append((stage, place, threading.current_thread() is threading.main_thread()))
        return 2 * place, place + 1


def test_what_comes_next_is_made_in_another_thread_and_once() -> None:
    source = Counting()
    prefetcher = Prefetcher(source.make)
    assert [prefetcher.take("a", place) for place in range(4)] == [(2 * place, place + 1) for place in range(4)]
    prefetcher.next[2].result()
    assert source.calls == [("a", 0, True), *(("a", place, False) for place in range(1, 5))]


def test_another_place_or_stage_is_made_anew() -> None:
    source = Counting()
    prefetcher = Prefetcher(source.make)
    prefetcher.take("a", 0)
    assert prefetcher.take("a", 5) == (10, 6)
    assert prefetcher.take("b", 6) == (12, 7)
    made_in_main = [(stage, place) for stage, place, main in source.calls if main]
    assert made_in_main == [("a", 0), ("a", 5), ("b", 6)]


def test_what_goes_wrong_in_the_thread_is_raised_when_it_is_its_turn() -> None:
    prefetcher = Prefetcher(Counting().make)
    assert prefetcher.take("a", 6) == (12, 7)
    with pytest.raises(ValueError, match="seven"):
        prefetcher.take("a", 7)
