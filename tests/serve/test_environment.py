"""The extra ``serve`` resolves beside what CI pins: nothing of the environment below it is replaced."""

from importlib.metadata import distribution, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["torch", "transformers", "tokenizers", "numpy", "huggingface_hub"])
def test_pins_stand(name: str) -> None:
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    assert version(name).split("+")[0] == pins[name]
    assert ".venv-serve" not in str(distribution(name).locate_file(""))
