"""Damaged files are refused in one line or, if they are not ours, read as what they now say; ours never silently."""

from pathlib import Path
from typing import Any

import pytest

from subjects import Subject, build_subjects
from trials import FAILURES, Trial, draw_trials

FEW, MANY, MOST = 160, 2000, 10_000


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> list[Subject]:
    return build_subjects(tmp_path_factory.mktemp("subjects"), prepared)


def test_damaged_files_are_told(subjects: list[Subject]) -> None:
    check(subjects, draw_trials(subjects, range(FEW)))


@pytest.mark.slow
def test_many_damaged_files_are_told(subjects: list[Subject], scale: Any) -> None:
    trials = draw_trials(subjects, range(FEW, FEW + scale.choose(MANY, MOST)))
    problems = [str(trial) for trial in trials if trial.verdict in FAILURES]
    scale.write("damaged files", [f"{trial.subject}: {trial.verdict}" for trial in trials], problems)
    check(subjects, trials)


def check(subjects: list[Subject], trials: list[Trial]) -> None:
    """None fails; and the trials are no mere formality: many are refused, some of each kind that we verify."""
    failures = [trial for trial in trials if trial.verdict in FAILURES]
    assert not failures, "\n".join(map(str, failures))
    refused = {trial.subject for trial in trials if trial.verdict == "refused"}
    assert {subject.name for subject in subjects if subject.verified} <= refused
    assert len({trial.damage for trial in trials}) > 10
