"""examples/: each as it stands, with a tiny model. Bash runs the scripts with a stand-in that writes down the commands,
which are run here: a process for each would take longer than all that they do. requeue.sbatch is run by
test_recipes_page.py, what serves without torch by tests/serve.
"""

import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from electra import recipes
from electra.cli import main
from electra.config import load_config
from electra.engine.telemetry import read_metrics
from electra.recipes import apply_preset

README = Path(__file__).parents[2] / "README.md"
EXAMPLES = README.with_name("examples")
TINY = """
encoder: {hidden_size: 32, layers: 2, heads: 2, intermediate_size: 32, max_positions: 64}
engine: {compile: never, precision: float32, evaluate_every: 0, log_every: 1}
held_out_rows: 8
schedule: {warmup: 1}
phases: [{steps: 2, length: 16, rows: 4}]
"""
FLAGS = ("--preset", "modern-tiny", "--config", "tiny.yaml")
STAND_INS = {
    "electra": """printf '%s\\0' "$@" >> commands; printf '\\n' >> commands""",
    "srun": 'exec "$@"',
    "torchrun": """while [ $# -gt 0 ] && [ "$1" != electra ]; do shift; done; "$@" """,
    "scontrol": "echo node7",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the examples are run: text, a config of a tiny model, and stand-ins for the programs."""
    from pydoc_data.topics import topics

    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(TINY)
    Path("text.txt").write_text("\n\n".join(list(topics.values())[:20]), encoding="utf-8")
    Path("bin").mkdir()
    for name, text in STAND_INS.items():
        program = Path("bin", name)
        program.write_text(f"#!/bin/bash\n{text}\n")
        program.chmod(0o755)
    return tmp_path


def run_script(name: str, *arguments: str) -> list[list[str]]:
    """Have bash run an example, then run the commands that it gave. Returns them."""
    given = os.environ | {"PATH": f"{Path('bin').absolute()}:{os.environ['PATH']}"}
    slurm = {"SLURM_JOB_NODELIST": "node[7-8]", "SLURM_NNODES": "2", "SLURM_JOB_ID": "1", "SLURM_CPUS_PER_TASK": "2"}
    subprocess.run(["bash", EXAMPLES / name, *arguments], env=given | slurm, check=True)
    commands = [line.split("\0")[:-1] for line in Path("commands").read_text().splitlines()]
    for words in commands:
        assert main(words) == 0, words
    return commands


def run_python(name: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run an example as ``python NAME …``, in this process. Returns its exit code."""
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    try:
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_own_corpus_then_continued(folder: Path) -> None:
    commands = run_script("own_corpus.sh", "text.txt", "work", *FLAGS)
    assert [words[0] for words in commands] == ["tokenizer", "prepare", "data", "pretrain", "evaluate", "export"]
    assert json.loads(Path("work/hub/config.json").read_text())["architectures"] == ["ModernBertModel"]
    Path("commands").unlink()
    again = run_script("own_corpus.sh", "text.txt", "work", *FLAGS)
    assert [words[0] for words in again] == ["prepare", "data", "pretrain", "evaluate"], "what is there is taken"
    Path("commands").unlink()
    run_script("continue_encoder.sh", "work/hub", "text.txt", "more", *FLAGS[2:])
    first, *_, last = read_metrics(Path("more/run/metrics.jsonl"))
    assert first["step"] == 0 and last["step"] == 2, "the held-out loss before the first step, and a run"
    assert Path("more/hub/model.safetensors").is_file()


def test_own_corpus_from_python(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    assert run_python("own_corpus.py", monkeypatch, "text.txt", "work", *FLAGS, "--hours", "0.0001") == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("cosine of two sentences: ")
    assert Path("work/hub/model.safetensors").is_file()


def test_own_task(folder: Path, classic: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    for name, count in (("train", 16), ("dev", 8)):
        rows = [f"a good one {number},good\nthe bad one {number},bad\n" for number in range(count)]
        Path(f"{name}.csv").write_text("text,label\n" + "".join(rows))
    Path("new.txt").write_text("a good one\nthe bad one\n")
    assert (
        run_python("own_task.py", monkeypatch, str(classic), "train.csv", "dev.csv", "new.txt", "work", "--seeds=1")
        == 0
    )
    found = [line.split("\t") for line in capsys.readouterr().out.splitlines()[-2:]]
    assert [text for _, _, text in found] == ["a good one", "the bad one"]
    assert {label for label, _, _ in found} <= {"good", "bad"}


@pytest.mark.usefixtures("own_objectives")
def test_a_new_objective(folder: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["pretrain", *FLAGS, "--objective.kind", "focal-electra", "--objective.embeddings", "own", "--data"]
    words += [str(prepared), "--out"]
    assert main([*words, "without"]) == 2, "the package does not know it"
    assert run_python("new_objective.py", monkeypatch, *words, "run", "--objective.gamma", "1") == 0
    assert json.loads(Path("run/config.json").read_text())["objective"]["gamma"] == 1
    assert read_metrics(Path("run/metrics.jsonl"))[-1]["step"] == 2
    assert run_python("new_objective.py", monkeypatch, *words, "run", "--objective.gamma", "1") == 0, "goes on"
    assert run_python("new_objective.py", monkeypatch, "pretrain", "--objective.kind=focal-electra", "--help") == 0


def test_several_machines(folder: Path, prepared: Path) -> None:
    (words,) = run_script("several_machines.sbatch", *FLAGS, "--data", str(prepared), "--out", "run")
    assert words[0] == "pretrain" and Path("run/final").is_dir()


def test_the_readme_from_text_to_a_vector(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commands and its lines of Python as they stand, but for the size of the model."""
    page = README.read_text(encoding="utf-8")
    section = page[page.index("## Your own encoder") : page.index("## A real run")]
    commands = [shlex.split(line)[1:] for line in re.findall(r"^    (electra .*)$", section, re.MULTILINE)]
    assert [words[0] for words in commands] == ["tokenizer", "prepare", "pretrain", "finetune", "export"]
    Path("corpus").mkdir()
    Path("text.txt").rename("corpus/text.txt")
    for name in ("my", "more"):
        rows = [f"a good one {number},good\nthe bad one {number},bad\n" for number in range(8)]
        Path(f"{name}.csv").write_text("text,label\n" + "".join(rows))
    for words in commands:
        tiny = ["--config", "tiny.yaml"] if words[0] == "pretrain" else []
        assert main([{"8": "0.0001", "3": "1"}.get(word, word) for word in words] + tiny) == 0, words
    monkeypatch.setattr(
        recipes, "apply_preset", lambda config, name: load_config(apply_preset(config, name), "tiny.yaml")
    )
    (block,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(block.replace("hours=8", "hours=0.0001"), str(README), "exec"), names)
    assert names["vectors"].shape == (1, 32)


def test_every_example_is_in_the_list() -> None:
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert all(f"({path.name})" in listed for path in EXAMPLES.iterdir() if path.suffix in {".py", ".sh", ".sbatch"})
