"""What several tests need: the folder of reference numbers and data that lies beside a developer's checkout."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from typechecker import Calls

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # Triton reads it when it is imported, which torch.compile does too


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with ``oracle/`` and ``data/``; a test that needs it is skipped where it is absent."""
    folder = Path(os.environ.get("ELECTRA_SHARED", Path(__file__).parents[2] / "shared"))
    if not (folder / "oracle").is_dir():
        pytest.skip(f"needs the original implementation's numbers, which are not at {folder}")
    return folder


def pytest_runtest_setup() -> None:
    """Shapes in signatures are checked anew in each test."""
    Calls.test += 1


@pytest.fixture(scope="session", autouse=True)
def unrendered() -> Iterator[None]:
    """No run's curves are rendered, but where a test says ``with rendering()``."""
    from pictures import rendering  # not earlier: what is imported with this file is not checked for shapes

    with rendering(False):
        yield


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data: Python's language reference as the standard library carries it, 1,000 word pieces."""
    from pydoc_data.topics import topics

    from electra.corpus.prepare import PrepareConfig, prepare
    from electra.corpus.train_tokenizer import TokenizerConfig, tokenizer

    folder = tmp_path_factory.mktemp("prepared")
    (folder / "text.txt").write_text("\n\n".join(topics.values()), encoding="utf-8")
    tokenizer(TokenizerConfig(data=(str(folder / "text.txt"),), out=str(folder / "tokenizer"), vocab_size=1000))
    prepare(
        PrepareConfig(
            data=(str(folder / "text.txt"),),
            tokenizer=str(folder / "tokenizer"),
            out=str(folder / "data"),
            held_out=0.1,
        )
    )
    return folder / "data"


@pytest.fixture
def own_objectives() -> Iterator[None]:
    """What a test adds by ``electra.add_objective`` is forgotten after it."""
    from electra.config_types import ByKind
    from electra.objectives.build import OWN_KINDS

    yield
    OWN_KINDS.added = []
    ByKind.changes += 1
