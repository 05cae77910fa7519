"""Exported folders in the libraries that serve encoders, each in an environment of its own.

``python benchmarks/servers.py --environments FOLDER [--only NAME …] [--json FILE]`` makes tiny models with random
weights, exports them, builds an environment for each library on top of the one that runs this (about a minute and
100 MB each; kept in FOLDER), loads every model there, and prints which class was loaded and how far its outputs are
from those of this environment's transformers. docs/serving.md is made of this table.
"""

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from server_checks import EXPECTED_FILE, TEXTS

from electra.engine.optim import AdamW
from electra.interchange import huggingface
from electra.model.config import ClassicConfig, EncoderConfig, ModernConfig
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower
from electra.report.tables import format_table
from electra.tasks.finetuning.problem import FineTuning
from electra.tokenization.training import train_tokenizer
from electra.workflows.export import ExportConfig, export
from electra.workflows.finetune import FinetuneConfig, finetune

ROOT = Path(__file__).parents[1]
CHECKS = Path(__file__).with_name("server_checks.py")
BUILT = ".complete"  # lists what was installed
# Weights so large that a wrong setting shows, and thetas that are nobody's default.
SIZES: dict[str, Any] = {
    "vocab_size": 1000, "hidden_size": 64, "layers": 4, "heads": 2, "intermediate_size": 96, "max_positions": 512,
    "init_std": 0.2,
}  # fmt: skip
ENCODERS: dict[str, EncoderConfig] = {
    "classic": ClassicConfig(**SIZES, embedding_size=32),
    "classic-wide": ClassicConfig(**SIZES, embedding_size=64),  # what export writes as BertModel
    "modern": ModernConfig(**SIZES, global_theta=30000.0, local_theta=2000.0),
}
TUNED = ("classic", "modern")  # which of them are fine-tuned too
MODELS = (*ENCODERS, *(f"{name}-finetuned" for name in TUNED))
TUNING = FineTuning(epochs=2, rows=8, length=64, head="transformers", optimizer=AdamW(learning_rate=1e-3))


@dataclass(frozen=True)
class Environment:
    """A library and what is installed for it. ``loads``: the models that it must load, of those below; the others it
    refuses. ``alone``: packages that come without what they ask for. ``close``: by how much outputs may differ."""

    library: str
    requirements: tuple[str, ...]
    loads: tuple[str, ...] = tuple(ENCODERS)
    alone: tuple[str, ...] = ()
    close: float = 1e-5


ENVIRONMENTS = {
    "transformers-4.48": Environment("transformers", ("transformers==4.48.3",), MODELS),
    "transformers-4.57": Environment("transformers", ("transformers==4.57.6",), MODELS),
    "sentence-transformers": Environment("sentence-transformers", ("sentence-transformers==6.2.0",)),
    "setfit": Environment("setfit", ("setfit==1.2.0", "sentence-transformers==6.2.0")),
    # PyLate's index for retrieval, fast-plaid, wants torch 2.11 at most; its models do not need it.
    "pylate": Environment(
        "pylate",
        (
            "sentence-transformers==5.3.0",
            "transformers==5.3.0",
            "ujson==5.12.0",
            "ninja==1.11.1.4",
            "fastkmeans==0.5.0",
        ),
        alone=("pylate==1.6.0",),
    ),
    "gliner": Environment("gliner", ("gliner==0.2.29",)),
    "model2vec": Environment("model2vec", ("model2vec[distill]==0.10.0",)),
    "curated-transformers": Environment(
        "curated-transformers", ("curated-transformers==2.0.1",), ("classic", "classic-wide")
    ),
    "spacy": Environment("spacy", ("spacy==3.8.18", "spacy-curated-transformers==0.3.1"), ("classic-wide",)),
    # mlx[cpu] is for Linux. Its ModernBERT computes GELU by tanh, which is only near to what the encoder learned with.
    "mlx": Environment("mlx-embeddings", ("mlx[cpu]==0.32.4", "mlx-embeddings==0.1.0"), ("modern",), close=2e-3),
}


def make_models(folder: Path) -> Iterator[Path]:
    """Export an encoder of each kind and a fine-tuned model of two of them; write what transformers gives beside."""
    tokenizer = folder / "tokenizer"
    pages = (page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("*.md")))
    train_tokenizer(pages, SIZES["vocab_size"]).save(tokenizer)
    rows = [{"text": text, "label": label} for text, label in [(TEXTS[0], "short"), (TEXTS[1], "long")] * 8]
    with (folder / "texts.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, ["text", "label"])
        table.writeheader()
        table.writerows(rows)
    for name, shape in ENCODERS.items():
        torch.manual_seed(0)
        source = folder / "runs" / name
        huggingface.save_tower(
            source / "discriminator", Tower.detection(shape, build_embeddings(shape)), tokenizer, None
        )
        yield write_expected(export(ExportConfig(run=str(source), out=str(folder / name), as_="encoder")))
        if name in TUNED:
            tuned, texts = folder / "tuned" / name, str(folder / "texts.csv")
            finetune(FinetuneConfig(model=str(source), out=str(tuned), train=texts, dev=texts, tuning=TUNING))
            yield write_expected(export(ExportConfig(run=str(tuned), out=str(folder / f"{name}-finetuned"))))


def write_expected(folder: Path) -> Path:
    """Write the outputs of this environment's transformers into the folder of a model, and return the folder."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    arrays: dict[str, Any] = {}
    tuned = folder.name not in ENCODERS
    kind = transformers.AutoModelForSequenceClassification if tuned else transformers.AutoModel
    output, name = ("logits", "logits") if tuned else ("last_hidden_state", "states")
    model = kind.from_pretrained(folder).eval()
    for index, text in enumerate(TEXTS):
        inputs = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            arrays |= {f"ids{index}": inputs["input_ids"].numpy(), f"{name}{index}": model(**inputs)[output].numpy()}
    np.savez(folder / EXPECTED_FILE, **arrays)
    return folder


def build_environment(folder: Path, environment: Environment) -> Path:
    """Install a library on top of this environment, unless that was done; return the Python that has it."""
    python, wanted = folder / "bin" / "python", json.dumps([environment.requirements, environment.alone])
    built = folder / BUILT
    if built.exists() and built.read_text() == wanted:
        return python
    subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", folder], check=True)
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout.strip()
    (Path(packages) / "below.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pins = folder / "pins.txt"
    pins.write_text(f"torch=={torch.__version__}\n")
    install: list[str | Path] = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "-c", pins]
    subprocess.run([*install, *environment.requirements], check=True)
    if environment.alone:
        subprocess.run([*install, "--no-deps", *environment.alone], check=True)
    built.write_text(wanted)
    return python


def try_library(name: str, environment: Environment, python: Path, models: list[Path]) -> list[dict[str, Any]]:
    """Load the models in an environment; a record for each, with the versions that are there."""
    library = environment.library
    ask = f"from importlib.metadata import version; print(version({library!r}), version('transformers'))"
    found = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout.split()
    asked = [model for model in models if library == "transformers" or model.name in ENCODERS]
    quiet = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    ended = subprocess.run([python, CHECKS, library, *asked], capture_output=True, text=True, env=quiet, check=False)
    records = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith('{"folder"')]
    if len(records) != len(asked):
        raise RuntimeError(f"{name}: {ended.stderr[-2000:]}")
    for record in records:
        record["as expected"] = (
            record.get("difference", np.inf) <= environment.close or record["folder"] not in environment.loads
        )
    return [{"library": library, "version": found[0], "transformers": found[1]} | record for record in records]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--environments", type=Path, required=True, help="folder to build and keep environments in")
    parser.add_argument("--only", nargs="+", choices=list(ENVIRONMENTS), default=list(ENVIRONMENTS))
    parser.add_argument("--json", type=Path, help="file to write the table into")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = list(make_models(Path(folder)))
        records = try_library("here", Environment("transformers", (), MODELS), Path(sys.executable), models)
        for name in options.only:
            python = build_environment(options.environments.absolute() / name, ENVIRONMENTS[name])
            records += try_library(name, ENVIRONMENTS[name], python, models)
            print(f"tried: {name}", flush=True)
    rows = [
        [each["library"], each["version"], each["transformers"], each["folder"], each.get("loaded", "no"),
         f"{each['difference']:.1e}" if "difference" in each else each["error"][:60]]
        for each in records
    ]  # fmt: skip
    print(format_table(["library", "version", "transformers", "folder", "loaded", "difference"], rows))
    if options.json:
        commit: list[str | Path] = ["git", "-C", ROOT, "rev-parse", "--short", "HEAD"]
        about = {
            "command": "python benchmarks/servers.py --environments environments --json results/serving.json",
            "commit": subprocess.run(commit, capture_output=True, text=True, check=True).stdout.strip(),
            "machine": f"{os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}, {platform.machine()}",
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers that gave what is compared with": transformers.__version__,
            "close": {name: each.close for name, each in ENVIRONMENTS.items()},
        }
        options.json.write_text(json.dumps(about | {"tried": records}, indent=1) + "\n")
    if not all(each["as expected"] for each in records):
        sys.exit("a model that a library used to load does not load, or gives other outputs")


if __name__ == "__main__":
    main()
