"""The tests here run on a GPU that is not there."""

from collections.abc import Iterator

import pytest

from pretended import Seen, pretending


@pytest.fixture
def gpu() -> Iterator[Seen]:
    """A pretended device, which the product finds, and what the host waits for."""
    with pretending() as seen:
        yield seen
