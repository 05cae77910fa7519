"""Code that comes with a folder is never run, whatever stands on standard input."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers

from electra.tokenization.training import train_tokenizer
from processes import run_python

CODE = "import pathlib\npathlib.Path({ran!r}).write_text('ran')\nfrom transformers import {base} as Mine\n"


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small encoder of transformers' with a tokenizer."""
    folder = tmp_path_factory.mktemp("theirs")
    config = transformers.BertConfig(
        vocab_size=60, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(folder)
    train_tokenizer([f"one two three four {n % 7} and {n % 5} more" for n in range(50)], 60).save(folder)
    return folder


def change(path: Path, **keys: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def with_a_tokenizer(folder: Path) -> None:
    auto_map = {"AutoTokenizer": ["mine.Mine", "mine.Mine"]}
    change(folder / "tokenizer_config.json", tokenizer_class="Mine", auto_map=auto_map)


def with_a_model(folder: Path) -> None:
    auto_map = {"AutoConfig": "mine.Mine", "AutoModel": "mine.Mine", "AutoModelForMaskedLM": "mine.Mine"}
    change(folder / "config.json", model_type="mine", auto_map=auto_map)


def with_kernels(folder: Path) -> None:
    change(folder / "config.json", attn_implementation="someone/attention")


@pytest.mark.parametrize("told", [with_a_tokenizer, with_a_model, with_kernels])
@pytest.mark.parametrize(
    "command",
    [
        "prepare --data - --tokenizer {folder} --out {out}",
        "tokenizer --existing {folder} --out {out}",
        "finetune {folder} --train {csv} --dev {csv} --out {out}",
        "evaluate {folder} --task minimal-pairs --data {csv}",
    ],
    ids=lambda command: command.split()[0],
)
def test_a_folder_that_needs_code_is_refused_in_a_line(theirs: Path, tmp_path: Path, told, command: str) -> None:
    folder, ran = tmp_path / "folder", tmp_path / "ran"
    shutil.copytree(theirs, folder)
    told(folder)
    (folder / "mine.py").write_text(CODE.format(ran=str(ran), base="BertConfig"))
    (tmp_path / "a.csv").write_text("text,label\none,a\ntwo,b\n")
    words = command.format(folder=folder, out=tmp_path / "out", csv=tmp_path / "a.csv").split()
    code = f"import sys; from electra.cli import main; sys.exit(main({words!r}))"
    ended = run_python(code, "y\none two three four\n")
    assert not ran.exists()
    assert ended.code == 2 and ended.out == "", ended.err
    (said,) = [line for line in ended.err.splitlines() if line.startswith("electra: error:")]
    assert said.endswith("this model needs code of its own, which is not run") and str(folder) in said
    assert ended.err.count("\n") == 1 and not (tmp_path / "out").exists()
