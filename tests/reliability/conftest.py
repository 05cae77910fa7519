"""The campaign: with ``--campaign FILE`` the slow tests make thousands of trials, and write what came of them."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from electra.engine.telemetry import describe_start
from electra.run_folder import read_json, write_json


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--campaign", default="", help="file to write; kills, faults and damaged files by the thousand")


@dataclass(frozen=True)
class Scale:
    """How many trials a slow test makes, and where what came of them goes. ``record``: None outside a campaign."""

    record: Path | None

    def choose(self, few: int, many: int) -> int:
        """``many`` in a campaign."""
        return many if self.record else few

    def write(self, what: str, outcomes: Iterable[str], problems: Iterable[str]) -> None:
        """Add a count of each outcome to the file, and the problems in words."""
        if self.record is None:
            return
        before = read_json(self.record, "remove it") if self.record.exists() else {"environment": describe_start()}
        counts, commit = Counter(outcomes), describe_start()["commit"]
        found = {"outcomes": dict(sorted(counts.items())), "problems": list(problems)}
        entry = {"commit": commit, "trials": counts.total()} | found
        write_json(self.record, before | {what: entry}, indent=1)


@pytest.fixture
def scale(request: pytest.FixtureRequest) -> Scale:
    campaign = request.config.getoption("--campaign", default="")
    return Scale(Path(campaign) if campaign else None)
