"""``benchmarks/gpu.py`` on a bare machine: nothing but torch, transformers, safetensors, triton, numpy and jaxtyping is
there, `electra` is not installed, and the GPU is a pretended one.
"""

import json
import os
import re
import subprocess
import venv
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from importlib.metadata import files as files_of
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BARE = ("torch", "transformers", "tokenizers", "safetensors", "triton", "numpy", "jaxtyping")
HARNESS = ("pytest",)  # what the pretended device itself needs
ABSENT = ("pydantic", "tyro", "datasets", "electra", "matplotlib", "sklearn", "scipy", "pyarrow")
# Without what would bring more packages into the bare environment.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
# The device is there from the first line of every process on, those that are forked included.
CUSTOM = """
import os, sys
from contextlib import ExitStack
if "PRETENDED" in os.environ:
    sys.path += os.environ["PRETENDED"].split(os.pathsep)
    from pretended import pretending
    ExitStack().enter_context(pretending())
"""


def needed(names: tuple[str, ...]) -> Iterator[str]:
    """Distributions and what they require, without extras, and without what is to be absent."""
    seen, left = set(), list(names)
    while left:
        name = left.pop()
        if name in seen or name in ABSENT:
            continue
        seen.add(name)
        try:
            wanted = requires(name) or []
        except PackageNotFoundError:
            continue
        yield name
        left += [re.split(r"[\s;<>=!~\[(]", each)[0] for each in wanted if "extra ==" not in each]


@pytest.fixture
def python(tmp_path: Path) -> str:
    """The interpreter of an environment with those packages alone, which are links to the ones here."""
    venv.create(tmp_path / "bare")
    (there,) = (tmp_path / "bare" / "lib").glob("python3*/site-packages")
    installed = Path(str(find_spec("torch").origin)).parents[1]
    for name in needed(BARE + HARNESS):
        for top in {file.parts[0] for file in files_of(name) or () if file.parts[0] != ".."}:
            if (installed / top).exists() and not (there / top).exists():
                (there / top).symlink_to(installed / top)
    (there / "sitecustomize.py").write_text(CUSTOM, encoding="utf-8")
    return str(tmp_path / "bare" / "bin" / "python")


def run(python: str, *arguments: str, pretended: bool = True) -> str:
    """What the benchmark prints; it ends well whatever becomes of an item."""
    device = {"PRETENDED": os.pathsep.join([str(ROOT / "tests"), str(ROOT / "src")])} if pretended else {}
    command = [python, str(ROOT / "benchmarks" / "gpu.py"), *arguments]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, env=ENVIRONMENT | device
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_nothing_else_need_be_installed(python: str, tmp_path: Path) -> None:
    gone = f"from importlib.util import find_spec; assert not any(map(find_spec, {ABSENT}))"
    subprocess.run([python, "-c", gone], check=True, env=ENVIRONMENT)
    names = run(python, "--json", str(tmp_path / "gpu.json"), "--list", pretended=False).splitlines()
    assert "machine" in names and len(names) == len(set(names)) > 50


@pytest.mark.slow
def test_items_are_run_apart_recorded_and_not_run_again(python: str, tmp_path: Path) -> None:
    report, numbers = tmp_path / "gpu.json", "kernels: random numbers are the CPU's"
    report.write_text(json.dumps({numbers: {"numbers": 1, "took_seconds": 0}}), encoding="utf-8")
    wanted = ("random numbers", "CUDA graph: fine-tuning")
    said = run(python, "--json", str(report), "--only", *wanted)
    results = json.loads(report.read_text(encoding="utf-8"))
    assert "1 items done, 1 failed: CUDA graph: fine-tuning" in said
    assert results[numbers]["numbers"] == 1
    graph = results["CUDA graph: fine-tuning"]  # what a GPU alone can do ends with its error, not with the others
    assert graph["error"] == "exit code 1"
    assert "engine.cuda_graphs: only for one process on a GPU" in graph["output"]
    again = run(python, "--json", str(report), "--only", *wanted, "--again", "--minutes-left", "0.1")
    assert "CUDA graph: fine-tuning: no time left" in again and "1 items done, 0 failed" in again


@pytest.mark.slow
def test_two_processes_are_compared_with_one(python: str, tmp_path: Path) -> None:
    """As on a GPU, but that nobody pretends one: gloo would need its memory."""
    report = tmp_path / "gpu.json"
    run(python, "--json", str(report), "--only", "processes: tiny, two", pretended=False)
    results = json.loads(report.read_text(encoding="utf-8"))
    assert [each["furthest"] < 1e-3 for each in results.values()] == [True], results


@pytest.mark.slow
def test_a_step_on_the_device_is_the_step_on_the_cpu(python: str, tmp_path: Path) -> None:
    report = tmp_path / "gpu.json"
    run(python, "--json", str(report), "--only", "small: the GPU against the CPU")
    results = json.loads(report.read_text(encoding="utf-8"))
    for preset in ("small", "modern-small"):
        assert results[f"{preset}: the GPU against the CPU"]["gradients"] < 1e-5
