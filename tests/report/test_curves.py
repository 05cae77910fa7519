"""The picture of a run: a panel for each kind of figure that there is, training as lines and held-out text as dots."""

from pathlib import Path

import matplotlib.figure
import pytest

from electra.report.curves import draw_curves


def test_every_figure_that_is_there_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        {"tokens": 100 * step, "split": split, "generator/loss": 5.0 - step, "discriminator/auc": 0.5 + step / 10}
        for step in range(3)
        for split in ("train", "held-out")
    ]
    figures: list[matplotlib.figure.Figure] = []
    save = matplotlib.figure.Figure.savefig
    monkeypatch.setattr(
        matplotlib.figure.Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k))[0]
    )
    draw_curves(lines, tmp_path)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG") and len(list(tmp_path.iterdir())) == 1
    panels = {axes.get_title(): [list(line.get_ydata()) for line in axes.lines] for axes in figures[0].axes}
    assert panels == {
        "generator: loss (nats)": [[5, 4, 3]] * 2,
        "discriminator: AUC on replaced tokens": [[0.5, 0.6, 0.7]] * 2,
    }


def test_nothing_is_drawn_of_nothing(tmp_path: Path) -> None:
    draw_curves([], tmp_path)
    assert not list(tmp_path.iterdir())
