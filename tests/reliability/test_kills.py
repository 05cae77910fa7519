"""Work that was killed ends as work that was not: forty kills here, a thousand in the campaign."""

from pathlib import Path
from typing import Any

import pytest

from kills import kill_and_finish, measure_work
from work import build_work, make_inputs

FEW, MOST = 5, 140  # trials of each piece of work; each has one to three kills


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_what_was_killed_ends_as_if_nothing_had_been(tmp_path: Path, prepared: Path, scale: Any) -> None:
    inputs = tmp_path / "inputs"
    make_inputs(inputs, prepared)
    trials = []
    for work in build_work(inputs):
        intact, seconds = measure_work(work, inputs, tmp_path / work.name)
        assert intact
        for seed in range(scale.choose(FEW, MOST)):
            trials.append(kill_and_finish(work, inputs, tmp_path / f"{work.name}-{seed}", seed, intact, seconds))
    problems = [str(trial) for trial in trials if trial.problem]
    outcomes = [
        f"{trial.work}: {'ended otherwise' if trial.problem else 'as if nothing had been'}"
        for trial in trials
        for _ in range(trial.kills)
    ]
    scale.write("kills", outcomes, problems)
    assert not problems, "\n".join(problems)
    assert sum(trial.kills for trial in trials) >= 20
