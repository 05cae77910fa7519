"""The kernels compile for a GPU that need not be there, and fit into it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is for Linux")

SPILLED = 64  # bytes a thread: more than that would be read and written in every turn of a loop
HOPPER = 227 * 1024  # bytes of shared memory that a block of threads may take


@pytest.mark.compiled
def test_every_kernel_compiles_for_hopper_and_fits() -> None:
    compiles = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    script = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("for_hopper.py"))]
    resources = json.loads(subprocess.run(script, capture_output=True, text=True, check=True, env=compiles).stdout)
    assert len(resources) == 20
    assert {name: used for name, used in resources.items() if used["shared"] > HOPPER // 4} == {}  # four at a time
    assert {name: used for name, used in resources.items() if used["spilled"] > SPILLED} == {}
