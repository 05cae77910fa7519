"""Serving on a CPU: ONNX Runtime in float32 and 8 bits beside torch, and what 8 bits cost a task.

    python benchmarks/serving.py --json results/serving-speed.json --finetuned tuned/ --labelled dev.csv

Encoders with random weights, classic and modern, as wide and deep as ELECTRA-Small unless --layers says otherwise, read
rows of 128 tokens. The sides take turns: transformers' class, our own encoder, both in torch without compilation, and
the two graphs of `electra export --format onnx --onnx.quantize int8`. Milliseconds are medians over the turns.
--finetuned: a model of `electra finetune --tuning.head transformers` for classes; --labelled: a .csv, .tsv, .jsonl or
.parquet with the columns text and label, on which both of its graphs are judged. Needs the extra `serve`.
"""

import argparse
import json
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any, cast

import numpy as np
import onnxruntime
import torch
import transformers

from electra.errors import UserError
from electra.interchange import huggingface
from electra.interchange.encoders import Inputs, load_encoder
from electra.interchange.onnx import GRAPH_FILE, INT8_FILE, OnnxConfig
from electra.interchange.transformers_models import load_with_transformers
from electra.model.config import ClassicConfig, EncoderConfig, ModernConfig
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower
from electra.tasks.datasets.labelled import Columns, load_labelled
from electra.tasks.finetuning.examples import encode_texts
from electra.tasks.metrics import compute_metrics
from electra.tokenization.loading import load_tokenizer
from electra.tokenization.training import train_tokenizer
from electra.workflows.export import ExportConfig, export

LENGTH, BATCHES = 128, (1, 32)
WORD_PIECES = 4000
GRAPHS = {"onnxruntime float32": GRAPH_FILE, "onnxruntime int8": INT8_FILE}
BASE = "transformers"  # what the others are compared with

Figures = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Time the sides, judge the graphs, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", nargs="*", default=["classic", "modern"], choices=["classic", "modern"])
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--finetuned", default="", help="a model with a head of transformers' for classes")
    parser.add_argument("--labelled", default="", help="a file with the columns text and label")
    parser.add_argument("--json", default="", help="write the figures to this file")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    report: Figures = {
        "config": vars(options) | {"length": LENGTH, "finetuned": bool(options.finetuned), "json": ""},
        "commit": run_git("rev-parse", "--short", "HEAD") + ", changed" * bool(run_git("status", "--porcelain")),
        "machine": f"{options.threads} threads, {torch.backends.cpu.get_cpu_capability()}, {platform.machine()}",
        "versions": {each.__name__: each.__version__ for each in (torch, transformers, onnxruntime)},
    }
    report["config"]["labelled"] = Path(options.labelled).name
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        for name in options.encoders:
            report[name] = time_encoder(name, Path(folder) / name, options)
        if options.finetuned:
            report["task"] = judge_graphs(options, Path(folder) / "task")
    print(json.dumps(report, indent=1))
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")


def run_git(*words: str) -> str:
    """What git prints of the checkout that this file is in."""
    command = ["git", "-C", str(Path(__file__).parent), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def time_encoder(name: str, folder: Path, options: argparse.Namespace) -> Figures:
    """Milliseconds of each side at each batch, their medians, and how many times as fast as transformers each is."""
    sides = build_sides(save_random_encoder(name, folder, options.layers), folder, options.threads)
    figures: Figures = {}
    for rows in BATCHES:
        draw = np.random.default_rng(rows)
        ids = draw.integers(5, WORD_PIECES // 2, (rows, LENGTH))
        seconds: dict[str, list[float]] = {side: [] for side in sides}
        for turn in range(options.turns + 2):
            for side, read in sides.items():
                began = time.perf_counter()
                read(ids)
                if turn >= 2:  # the first turns allocate
                    seconds[side].append(time.perf_counter() - began)
        medians = {side: statistics.median(times) for side, times in seconds.items()}
        ratios = {side: round(medians[BASE] / median, 2) for side, median in medians.items()}
        turns = {side: [round(1e3 * each, 2) for each in times] for side, times in seconds.items()}
        milliseconds = {side: round(1e3 * median, 2) for side, median in medians.items()}
        figures[f"batch {rows}"] = {"milliseconds": milliseconds, f"speed beside {BASE}": ratios, "turns": turns}
        print(f"{name}, batch {rows}:", milliseconds, ratios, flush=True)
    return figures


def save_random_encoder(name: str, folder: Path, layers: int) -> Path:
    """Write an encoder with random weights below ``folder``; its folder."""
    folder.mkdir()
    tokenizer = train_tokenizer(topics.values(), WORD_PIECES)
    tokenizer.save(folder / "tokenizer")
    sizes: dict[str, Any] = {"vocab_size": tokenizer.size, "layers": layers}
    config: EncoderConfig = ClassicConfig(**sizes) if name == "classic" else ModernConfig(**sizes)
    torch.manual_seed(0)
    tower = Tower.detection(config, build_embeddings(config))
    huggingface.save_tower(folder / "run" / "encoder", tower, folder / "tokenizer", None)
    return folder / "run" / "encoder"


def build_sides(model: Path, folder: Path, threads: int) -> dict[str, Callable[[np.ndarray], object]]:
    """What reads int64 ids [rows, length], by the names of the sides."""
    theirs = load_with_transformers(model, "AutoModel").eval()
    ours = load_encoder(model)[0].eval()
    with torch.inference_mode(False):
        graphs = export_graphs(model.parent, folder / "onnx")
    sessions = {side: open_session(graphs / file, threads) for side, file in GRAPHS.items()}

    def read_with_transformers(ids: np.ndarray) -> object:
        return theirs(input_ids=torch.from_numpy(ids), attention_mask=torch.ones(ids.shape, dtype=torch.int64))[0]

    def read_with_ours(ids: np.ndarray) -> object:
        read = torch.from_numpy(ids)
        positions = torch.arange(read.shape[1]).expand_as(read)
        return ours.hidden_states(Inputs(read, positions, torch.zeros_like(read), torch.ones_like(read)), None)[-1]

    def read_with_graph(side: str) -> Callable[[np.ndarray], object]:
        return lambda ids: run_graph(sessions[side], {"input_ids": ids, "attention_mask": np.ones_like(ids)})

    return {BASE: read_with_transformers, "electra": read_with_ours} | {side: read_with_graph(side) for side in GRAPHS}


def export_graphs(model: Path, out: Path) -> Path:
    """The folder with both graphs of a model."""
    return export(ExportConfig(run=str(model), out=str(out), format="onnx", onnx=OnnxConfig(quantize="int8")))


def open_session(path: Path, threads: int) -> Any:
    """ONNX Runtime's session, whose threads do not wait busily while another side has its turn."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run_graph(session: Any, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """The first output. Segments are 0 where the inputs do not have them."""
    absent = {"token_type_ids": np.zeros_like(inputs["input_ids"])} | inputs
    return session.run(None, {each.name: absent[each.name] for each in session.get_inputs()})[0]


def judge_graphs(options: argparse.Namespace, out: Path) -> Figures:
    """Accuracy and macro-F1 of both graphs of a fine-tuned model on labelled texts, and how often they agree."""
    with torch.inference_mode(False):
        folder = export_graphs(Path(options.finetuned), out)
    config = json.loads((folder / "config.json").read_text())
    longest = json.loads((folder / "tokenizer_config.json").read_text())["model_max_length"]
    task = load_labelled("labelled", {"train": Path(options.labelled)}, Columns(), "class")
    samples, tokenizer = task.splits["train"], load_tokenizer(folder, needs=())
    texts = encode_texts([(sample.text, sample.pair) for sample in samples], tokenizer, longest)
    names = list(config["id2label"].values())
    if unknown := set(task.labels) - set(names):
        raise UserError(
            f"{options.labelled}: {min(unknown)!r} is no label of the model, which knows {', '.join(names)}"
        )
    gold = np.array([names.index(task.labels[cast(int, sample.label)]) for sample in samples])
    answers = {
        side: np.array(classify(open_session(folder / file, options.threads), texts)) for side, file in GRAPHS.items()
    }
    figures: Figures = {side: compute_metrics(("accuracy", "macro-f1"), gold, given) for side, given in answers.items()}
    first, second = answers.values()
    figures |= {"texts": len(gold), "same answer": float(np.mean(first == second))}
    figures["megabytes"] = {side: round((folder / file).stat().st_size / 1e6, 1) for side, file in GRAPHS.items()}
    print(figures, flush=True)
    return figures


def classify(session: Any, texts: Sequence[tuple[list[int], list[int]]]) -> list[int]:
    """The likeliest class of each text, one at a time."""
    classes = []
    for ids, segments in texts:
        rows = {"input_ids": np.array([ids]), "token_type_ids": np.array([segments])}
        logits = run_graph(session, rows | {"attention_mask": np.ones_like(rows["input_ids"])})
        classes.append(int(logits[0].argmax()))
    return classes


if __name__ == "__main__":
    main()
