"""docs/recipes.md: its commands, in the order of the page, with a tiny model and 10,000 times fewer steps.

A block ``bash`` has commands, one a line, whose exit code is 0 unless a comment says another; a block ``sh`` is a
script; a block ``yaml NAME`` is a file.
"""

import contextlib
import os
import re
import shlex
import subprocess
import sys
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pytest

from electra.cli import main
from electra.engine.telemetry import read_metrics
from electra.run_folder import read_json

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+) ?([^\n]*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
SECTIONS = {
    title: BLOCK.findall(text) for title, text in re.findall(r"^## ([^\n]*)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
}
TINY = """
encoder: {hidden_size: 32, embedding_size: 16, layers: 1, heads: 2, intermediate_size: 32, max_positions: 32}
engine: {compile: never, precision: float32, evaluate_every: 0, log_every: 1}
held_out_rows: 8
schedule: {warmup: 1}
"""
SMALLER = {"512": "32", "256": "16", "128": "8", "64": "4", "2.8h": "0.001s"}
COMMAND = "pretrain --preset small"


def shrink(text: str) -> str:
    """A command or a file of the page for a tiny model."""
    text = re.sub(r"step-(\d{4})(\d{4})\b", r"step-0000\1", text)
    text = re.sub(r"(?<![\w-])(\d+)0000\b", r"\1", text)
    text = re.sub(r"(?<![\w.])(512|256|128|64|2\.8h)\b", lambda number: SMALLER[number[1]], text)
    return text if "--config" in text else text.replace(COMMAND, f"{COMMAND} --config tiny.yaml --phases.0.length 8")


def follow(title: str, folder: Path) -> Path:
    """Run the commands of a section, each with the exit code that it says; returns the folder of the runs."""
    lines = [line for kind, _, text in SECTIONS[title] if kind == "bash" for line in text.splitlines()]
    assert lines
    with contextlib.chdir(folder):
        for line in lines:
            code = re.search(r"# exit code (\d+)", line)
            first, *words = shlex.split(shrink(line), comments=True)
            assert first == "electra" and main(words) == (int(code[1]) if code else 0), line
    return folder / "runs"


@pytest.fixture(scope="module")
def folder(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page is read: data/ and the files that it shows."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "data").symlink_to(prepared)
    (folder / "tiny.yaml").write_text(TINY)
    for kind, name, text in chain.from_iterable(SECTIONS.values()):
        if kind == "yaml":
            (folder / name).write_text(TINY + shrink(text))
    return folder


def lines(run: Path, split: str = "train") -> list[dict[str, Any]]:
    return [line for line in read_metrics(run / "metrics.jsonl") if line["split"] == split]


def rates(run: Path) -> list[float]:
    found = [line["learning_rate/generator/rest"] for line in lines(run)]
    return [rate / max(found) for rate in found]


def test_a_run_in_pieces(folder: Path) -> None:
    run = follow("A run that is longer than its machine time", folder) / "s1"
    assert len(lines(run)) == 4 and (run / "final").is_dir()
    (start,) = read_json(run / "environment.json", "")["starts"]
    assert start["step"] == 1


@pytest.mark.slow
def test_branches_that_cool_down(folder: Path) -> None:
    runs = follow("A level learning rate, and branches that cool down", folder)
    assert rates(runs / "level") == [1.0] * 8
    assert rates(runs / "level-40k") == [1.0] * 5  # of one step the first has the whole rate, as in any schedule
    assert rates(runs / "level-80k") == pytest.approx([1.0] * 9 + [0.5])
    assert len(list((runs / "level" / "checkpoints").iterdir())) == 4
    assert (runs / "level-40k" / "final").is_dir() and (runs / "level-80k" / "final").is_dir()


@pytest.mark.slow
def test_longer_rows_at_the_end(folder: Path) -> None:
    run = follow("Longer rows at the end", folder) / "longer"
    assert [line["tokens"] for line in lines(run)] == [16 * 8 * step for step in range(1, 11)], "as many tokens a step"
    assert rates(run)[1:] == pytest.approx([(10 - step) / 9 for step in range(1, 10)]), "one schedule"


def test_a_ramp_of_the_batch(folder: Path) -> None:
    tokens = [line["tokens"] for line in lines(follow("A ramp of the batch", folder) / "ramp")]
    assert [after - before for before, after in pairwise([0, *tokens])] == [32, 32, 64, 64, *[128] * 4]


def start_script(script: str, folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A bash script that finds ``electra`` and the stand-ins for SLURM's programs."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    for name, text in {
        "electra": f'exec {shlex.quote(sys.executable)} -m electra "$@"',
        "scontrol": 'if [ "$1" = requeue ]; then echo "$2" >> requeued; else echo 127.0.0.1; fi',
        "srun": """
export SLURM_NTASKS
for number in $(seq 0 $((SLURM_NTASKS - 1))); do
    SLURM_PROCID=$number SLURM_LOCALID=$number "$@" &
done
highest=0
for job in $(jobs -p); do wait "$job"; code=$?; [ $code -gt $highest ] && highest=$code; done
exit $highest""",
    }.items():
        (programs / name).write_text(f"#!/bin/bash\n{text}\n")
        (programs / name).chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    given = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"} | environment
    return subprocess.run(
        ["bash", "-c", script, "bash", *arguments], cwd=folder, env=given, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_a_loop_goes_on_until_the_run_is_finished(folder: Path) -> None:
    (script,) = (text for kind, _, text in SECTIONS["Exit codes"] if kind == "sh")
    ended = start_script(shrink(script), folder)
    assert ended.returncode == 0 and (folder / "runs" / "s2" / "final").is_dir(), ended.stderr
    assert [line["step"] for line in lines(folder / "runs" / "s2")] == [1, 2, 3, 4]
    assert ended.stdout.count("stopped at step") == 3


@pytest.mark.slow
@pytest.mark.parametrize("tasks", [1, 2])
def test_a_job_puts_itself_into_the_queue_until_the_run_is_finished(folder: Path, tasks: int) -> None:
    """The script with stand-ins for srun, which starts the tasks, and scontrol; SLURM would start it again."""
    script = (ROOT / "examples" / "requeue.sbatch").read_text(encoding="utf-8")
    out = f"runs/b{tasks}"
    words = f"--preset small --config tiny.yaml --phases.0.length 8 --phases.0.steps 3 --data data/ --out {out}"
    slurm = {"SLURM_JOB_ID": f"{os.getpid()}", "SLURM_NTASKS": f"{tasks}", "SLURM_JOB_NODELIST": "here"}
    (folder / "requeued").unlink(missing_ok=True)
    codes = [
        start_script(script, folder, *words.split(), "--stop-after", time, **slurm).returncode
        for time in ("0.001s", "1h")
    ]
    assert codes == [75, 0] and (folder / out / "final").is_dir()
    assert (folder / "requeued").read_text().splitlines() == [slurm["SLURM_JOB_ID"]]
    if tasks > 1:
        return
    mistaken = start_script(script, folder, *words.split(), "--seed", "2", **slurm)
    assert mistaken.returncode == 2 and "seed: 1 there, 2 now" in mistaken.stderr
    assert len((folder / "requeued").read_text().splitlines()) == 1
