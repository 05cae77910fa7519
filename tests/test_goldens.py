"""What the product gives does not change by itself: see ``goldens``."""

import json

import pytest

from compositions import EVERY, NAMES
from goldens import FOLDER, GOLDENS, losses

CLOSE = 1e-4  # of a loss; other vectors and libraries of products moved it by 1e-6


def golden(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("kind", "encoder"), EVERY, ids=NAMES)
def test_losses_are_what_they_were(kind: str, encoder: str) -> None:
    wanted = golden("losses")[f"{kind}-{encoder}"]
    found = losses(kind, encoder)
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        assert found[name] == pytest.approx(values, rel=CLOSE)


@pytest.mark.parametrize("name", [name for name in GOLDENS if name != "losses"])
def test_words_files_and_batches_are_what_they_were(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert GOLDENS[name]() == golden(name)
