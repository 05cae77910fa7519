"""What the operating system refuses is told in one line, and the same command then goes on to the same end."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from electra.errors import UserError
from faults import ERRORS, EVENTS, Fault, Injector
from work import Work, build_work, make_inputs

FEW, MANY, MOST = 16, 200, 1000
KINDS = list(itertools.product(EVENTS, ERRORS))
NUMBERS = (0, 0, 1, 2, 5, 11, 23)  # of the event that fails
INJECTOR = Injector()

Pieces = dict[str, tuple[Work, dict[str, str]]]  # each piece of work, and what it ends with if nothing disturbs it


class Disturbed(NamedTuple):
    """What came of a fault: ``happened``: whether it did; ``problem``: empty if all is as it should be."""

    work: str
    fault: Fault
    happened: bool
    problem: str

    def __str__(self) -> str:
        return f"{self.work}, {self.fault}: {self.problem or ('told' if self.happened else 'did not happen')}"


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Pieces:
    place = tmp_path_factory.mktemp("faults")
    make_inputs(place / "inputs", prepared)
    ended = {}
    for work in build_work(place / "inputs"):
        work.run(place / work.name)
        ended[work.name] = work, work.summarize(place / work.name)
    return ended


def test_faults_are_told_and_gone_on_from(pieces: Pieces, tmp_path: Path) -> None:
    few = {name: piece for name, piece in pieces.items() if name != "compare"}  # which takes the longest
    check(list(disturb_all(few, range(FEW), tmp_path)))


@pytest.mark.slow
def test_many_faults_are_told_and_gone_on_from(pieces: Pieces, tmp_path: Path, scale: Any) -> None:
    disturbed = list(disturb_all(pieces, range(FEW, FEW + scale.choose(MANY, MOST)), tmp_path))
    kinds = [f"{each.work}, {each.fault.name}: {'told' if each.happened else 'did not happen'}" for each in disturbed]
    scale.write("faults", kinds, [str(each) for each in disturbed if each.problem])
    check(disturbed)


def check(disturbed: Sequence[Disturbed]) -> None:
    """No problem; and most of the faults happened."""
    problems = [str(each) for each in disturbed if each.problem]
    assert not problems, "\n".join(problems)
    assert sum(each.happened for each in disturbed) > len(disturbed) / 4


def disturb_all(pieces: Pieces, seeds: Sequence[int], place: Path) -> Iterator[Disturbed]:
    """A fault for each seed, in a piece of work that the seed draws."""
    for seed in seeds:
        draw, (event, error) = Random(seed), KINDS[seed % len(KINDS)]
        work, intact = pieces[draw.choice(sorted(pieces))]
        fault = Fault(event, draw.choice(NUMBERS), error)
        problem = disturb(work, place / f"fault-{seed}", fault, intact)
        yield Disturbed(work.name, fault, INJECTOR.happened, problem)


def disturb(work: Work, out: Path, fault: Fault, intact: dict[str, str]) -> str:
    """Work with a fault, then without; what is wrong with it, if anything."""
    try:
        with INJECTOR.plant(fault, out):
            work.run(out)
    except UserError as error:
        if "\n" in str(error) or "a planted fault" not in str(error):
            return f"not one line that says it: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    try:
        work.run(out)
    except UserError as error:
        return f"it cannot be gone on from: {error}"
    return "" if work.summarize(out) == intact else "it ends otherwise"
