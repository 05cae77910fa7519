"""The lines of a run, read back."""

from pathlib import Path

import pytest

from electra.engine.telemetry import read_metrics
from electra.errors import UserError


def test_a_line_that_was_cut_short_is_left_out_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert read_metrics(path) == []
    path.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert read_metrics(path) == [{"step": 1}, {"step": 2}]
    path.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(UserError, match=r"metrics.jsonl, line 2: damaged"):
        read_metrics(path)
