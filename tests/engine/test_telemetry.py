"""The lines of a run, read back."""

from pathlib import Path

import pytest

from electra.engine.telemetry import read_metrics
from electra.errors import UserError

ONE, THREE = '{"step": 1, "split": "train"}', '{"step": 3, "split": "train"}'


def test_a_line_that_was_cut_short_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert read_metrics(path) == []
    path.write_text(f'{ONE}\n{THREE}\n{{"st')
    assert [line["step"] for line in read_metrics(path)] == [1, 3]


@pytest.mark.parametrize(
    "damage", ['{"st', "[]", "7", "null", "{}", '{"step": "1", "split": "train"}', '{"step": 1}', "[" * 100_000]
)
def test_a_damaged_line_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f"{ONE}\n{damage}\n{THREE}\n")
    with pytest.raises(UserError, match=r"metrics.jsonl, line 2: damaged; take the line out"):
        read_metrics(path)


def test_a_line_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(b"\xff\xfe\n")
    with pytest.raises(UserError, match=r"metrics.jsonl, line 1: damaged; .*: 'utf-8' codec"):
        read_metrics(tmp_path / "metrics.jsonl")
