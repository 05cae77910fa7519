"""docs/serving.md: its commands and programs, in the order of the page, give what the encoder computes here.

A fenced block ``bash`` has commands, one a line; a block ``python`` is a program. What is to be read is in ``vectors``,
``answers`` or ``states``. A block ``python NAME`` is for a library that this environment does not have: those are tried
by benchmarks/servers.py.
"""

import contextlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from electra.cli import main
from electra.interchange.encoders import Inputs, load_encoder
from electra.tasks.finetuning.examples import encode_texts
from electra.tokenization.training import train_tokenizer
from electra.workflows.finetune import finetune
from finetuning import MODERN, TUNING, config, exported, sentences, write_csv

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)([^\n]*)\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [line for kind, _, text in BLOCKS if kind == "bash" for line in text.splitlines()]
PROGRAMS = [text for kind, library, text in BLOCKS if kind == "python" and not library]
RUN_PROGRAMS = """
import json, sys
results = []
for program in json.load(sys.stdin):
    names = {}
    exec(program, names)
    read = {name: names[name] for name in ("states", "vectors", "answers") if name in names}
    results.append({name: getattr(value, "tolist", lambda: value)() for name, value in read.items()})
print(json.dumps(results))
"""
TEXTS = ["w1 w2 alpha", "w3 omega [MASK] é"]  # what the page's two sentences are replaced by: this vocabulary is small


def run(script: str, given: Any, folder: Path) -> str:
    """What a script prints in a process of its own that is given JSON on standard input."""
    command = [sys.executable, "-W", "error::DeprecationWarning:__main__", "-c", script]
    ended = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, cwd=folder, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page is read: runs/s1, ft/ and examples/, and what its export commands write."""
    folder = tmp_path_factory.mktemp("page")
    train_tokenizer([text for text, _ in sentences(300, 0)], 120).save(folder / "tokens")
    start = exported(folder / "runs" / "s1" / "discriminator", replace(MODERN, init_std=0.2), folder / "tokens")
    rows = [{"body": text, "topic": "yes" if there else "no"} for text, there in sentences(40, 1)]
    files = {name: write_csv(folder / f"{name}.csv", rows) for name in ("train", "dev")}
    finetune(config(start, folder / "ft", files, tuning=replace(TUNING, epochs=1, head="transformers")))
    shutil.copytree(ROOT / "examples", folder / "examples")
    asked = [shlex.split(line, comments=True)[1:] for line in COMMANDS if line.startswith("electra ")]
    with contextlib.chdir(folder):
        for words in asked:
            main(words)
    return folder


@pytest.fixture(scope="module")
def states(folder: Path) -> list[np.ndarray]:
    """What the encoder of runs/s1 computes of each text: (tokens, width)."""
    reader, tokenizer = load_encoder(folder / "runs" / "s1" / "discriminator")
    found = []
    for ids, segments in encode_texts([(text, None) for text in TEXTS], tokenizer, reader.longest):
        read = torch.tensor([ids])
        inputs = Inputs(read, torch.arange(len(ids))[None], torch.tensor([segments]), torch.ones_like(read))
        with torch.no_grad():
            found.append(reader.hidden_states(inputs, None)[-1][0].numpy())
    return found


def test_programs_give_our_outputs(folder: Path, states: list[np.ndarray]) -> None:
    asked = PROGRAMS
    for old, new in zip(re.findall(r'"([^"]*\.)"', PROGRAMS[0]), TEXTS, strict=True):
        asked = [program.replace(json.dumps(old), json.dumps(new)) for program in asked]
    lines = run(RUN_PROGRAMS, asked, folder).splitlines()
    for program, result in zip(asked, json.loads(lines[-1]), strict=True):
        for name, value in result.items():
            if name == "states":
                for given, wanted in zip(value, states, strict=True):
                    np.testing.assert_allclose(given[: len(wanted)], wanted, atol=1e-5)
            elif name == "vectors":
                np.testing.assert_allclose(value, [wanted.mean(0) for wanted in states], atol=1e-5)
            else:
                assert {answer["label"] for answer in value} <= {"yes", "no"}
        assert result, f"nothing to compare in\n{program}"


def test_a_graph_is_served_by_the_example(folder: Path, states: list[np.ndarray]) -> None:
    (command,) = (line for line in COMMANDS if "serve_onnx.py" in line)
    (folder / "texts.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    ended = subprocess.run(
        command.replace("python ", f"{shlex.quote(sys.executable)} "),
        shell=True,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    vectors = [json.loads(line) for line in ended.stdout.splitlines()]
    np.testing.assert_allclose(vectors, [wanted.mean(0) for wanted in states], atol=1e-4)


def test_the_table_is_what_was_tried() -> None:
    """Each library of results/serving.json stands in the page with the version that was tried."""
    tried = json.loads((ROOT / "results" / "serving.json").read_text(encoding="utf-8"))["tried"]
    assert all(each["as expected"] for each in tried)
    for library, version in {(each["library"], each["version"]) for each in tried}:
        assert re.search(rf"\b{re.escape(version)}\b", PAGE), f"{library} {version} is not in the page"
