"""The picture of precision and recall: every curve with its name, its level of chance, and not too many points."""

from pathlib import Path

import matplotlib.figure
import numpy as np
import pytest

from electra.report.precision_recall import POINTS, draw_precision_recall
from electra.tasks.frozen.retrieval import compute_retrieval


def test_every_curve_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_from = np.random.default_rng(0)
    labels = draw_from.random(50_000) < 0.1
    curves = {
        name: compute_retrieval(draw_from.normal(size=50_000) + gain * labels, labels)
        for name, gain in (("a", 1), ("b", 3))
    }
    figures: list[matplotlib.figure.Figure] = []
    save = matplotlib.figure.Figure.savefig
    monkeypatch.setattr(
        matplotlib.figure.Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k))[0]
    )
    draw_precision_recall(curves, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    (axes,) = figures[0].axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        f"{name}: average precision {each.average:.3f}" for name, each in curves.items()
    ]
    drawn, chance = axes.lines[::2], axes.lines[1::2]
    for line, level, each in zip(drawn, chance, curves.values(), strict=True):
        x, y = line.get_data()
        assert len(x) == POINTS and (x[0], x[-1], y[-1]) == (1.0, 0.0, 1.0) and y[0] == each.precision[0]
        assert list(level.get_ydata()) == [each.chance] * 2 and level.get_color() == line.get_color()
    assert drawn[0].get_color() != drawn[1].get_color()


def test_a_short_curve_is_drawn_whole(tmp_path: Path) -> None:
    draw_precision_recall(
        {"one": compute_retrieval(np.array([1.0, 2.0]), np.array([False, True]))}, tmp_path / "curve.png"
    )
    assert (tmp_path / "curve.png").stat().st_size
