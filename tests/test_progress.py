"""The progress of long work stands on standard error alone."""

import sys

import pytest

from electra.progress import Progress
from terminal import Terminal


def test_a_bar_is_drawn_beside_the_results(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """Standard error is a terminal, standard output a file: what is printed goes there while the bar is drawn."""
    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    with Progress("work", 4, "steps") as progress:
        for step in (1, 2):
            progress.update(step)
            print(f'{{"step": {step}}}')
    assert capsys.readouterr().out == '{"step": 1}\n{"step": 2}\n'
    assert "work: 2/4 steps" in screen.getvalue()
