"""Exported graphs in ONNX Runtime give what the same folders give in transformers, at any number of rows and tokens."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers

from electra.errors import UserError
from electra.interchange import huggingface, huggingface_export
from electra.interchange import onnx as graphs
from electra.interchange.encoders import Inputs, load_encoder
from electra.interchange.finetuned import HeadSpec, save_finetuned
from electra.interchange.onnx import GRAPH_FILE, INT8_FILE, OnnxConfig
from electra.interchange.views import ModelView
from electra.tasks.finetuning.examples import encode_texts
from electra.tasks.finetuning.heads import build_text_logits, mean_pool
from electra.tasks.finetuning.problem import FineTuning
from electra.tokenization.loading import load_tokenizer
from electra.tokenization.training import train_tokenizer
from electra.workflows.export import ExportConfig, export
from electra.workflows.finetune import finetune
from finetuning import CLASSIC, MODERN, TUNING, config, exported, sentences, write_csv

SCRIPT = Path(__file__).parents[2] / "examples" / "serve_onnx.py"
WITHOUT = """
import runpy, sys
sys.modules |= dict.fromkeys(["torch", "transformers", "electra"])  # importing them raises
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
KEPT = 2  # of three layers, the second of them local
ENCODER = replace(MODERN, layers=3, local_window=8, global_every=2)
ODD = ["w1 w2 alpha w3", "", "w4 [SEP] w5 [MASK]", "w6 " * 60]
SHAPES = ((1, 1), (1, 2), (1, 48), (2, 8), (3, 19), (40, 33))


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer([text for text, _ in sentences(300, 0)], 120).save(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory, tokens: Path) -> tuple[Path, Path]:
    """A modern tower, and the lowest layers of its encoder as a graph."""
    folder = tmp_path_factory.mktemp("encoder")
    source = exported(folder / "run" / "encoder", ENCODER, tokens)
    out = export(ExportConfig(run=str(source.parent), out=str(folder / "out"), format="onnx", keep_layers=KEPT))
    return source, out


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory, tokens: Path) -> tuple[Path, Path]:
    """A classic tower that was fine-tuned, by the folder of its only task, and its graphs."""
    folder = tmp_path_factory.mktemp("classifier")
    split = {"train": sentences(240, 1), "dev": sentences(60, 2)}
    files = {
        name: write_csv(
            folder / f"{name}.csv", [{"body": text, "topic": "yes" if there else "no"} for text, there in rows]
        )
        for name, rows in split.items()
    }
    source = exported(folder / "start", CLASSIC, tokens)
    finetune(config(source, folder / "tuned", files, tuning=replace(TUNING, head="transformers")))
    asked = ExportConfig(
        run=str(folder / "tuned"), out=str(folder / "out"), format="onnx", onnx=OnnxConfig(quantize="int8")
    )
    return folder / "tuned" / "train" / "seed-1", export(asked)


def draw_batch(session: Any, rows: int, length: int) -> dict[str, np.ndarray]:
    """Inputs of which every second row ends in padding, more than a local window sees."""
    draw = np.random.default_rng(rows * length)
    mask = np.ones((rows, length), dtype=np.int64)
    mask[1::2, (length + 2) // 3 :] = 0
    values = {
        "input_ids": draw.integers(5, 120, (rows, length)),
        "attention_mask": mask,
        "token_type_ids": draw.integers(0, 2, (rows, length)),
    }
    return {each.name: values[each.name] for each in session.get_inputs()}


def compare(session: Any, model: Any) -> None:
    """The outputs of a graph are those of a model of transformers'."""
    for rows, length in SHAPES:
        arrays = draw_batch(session, rows, length)
        with torch.no_grad():
            expected = model(**{name: torch.from_numpy(value) for name, value in arrays.items()})[0].numpy()
        (given,) = session.run(None, arrays)
        assert given.dtype == np.float32 and np.isfinite(given).all()
        read = arrays["attention_mask"] > 0 if given.ndim == 3 else np.ones(rows, dtype=bool)
        np.testing.assert_allclose(given[read], expected[read], atol=1e-5, rtol=1e-4)


def run_without_torch(script: Path, *arguments: object, text: str = "", within: Path | None = None) -> str:
    """What a script prints in a process without torch and transformers."""
    command = [sys.executable, "-c", WITHOUT, str(script), *map(str, arguments)]
    ended = subprocess.run(command, input=text, capture_output=True, text=True, check=False, cwd=within)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def serve(*arguments: object, text: str) -> list[Any]:
    """What the example prints for some sentences."""
    return [json.loads(line) for line in run_without_torch(SCRIPT, *arguments, text=text).splitlines()]


def test_an_encoder_is_what_transformers_computes_at_any_size(encoder: tuple[Path, Path], tmp_path: Path) -> None:
    source, out = encoder
    session = graphs.open_session(out / GRAPH_FILE)
    assert [(each.name, each.type, each.shape) for each in session.get_inputs()] == [
        ("input_ids", "tensor(int64)", ["batch", "length"]),
        ("attention_mask", "tensor(int64)", ["batch", "length"]),
    ]
    (output,) = session.get_outputs()
    assert (output.name, output.type, output.shape) == ("last_hidden_state", "tensor(float)", ["batch", "length", 32])
    operations = Counter(node.op_type for node in onnx.load(out / GRAPH_FILE).graph.node)
    assert operations["Attention"] == KEPT and operations["RotaryEmbedding"] == 2 * KEPT
    huggingface_export.fill_folder(ModelView(source, "encoder", KEPT), tmp_path)
    compare(session, transformers.AutoModel.from_pretrained(tmp_path, local_files_only=True))
    assert not (out / "model.safetensors").exists() and "lowest 2 of 3 layers" in (out / "README.md").read_text()


def test_an_encoder_is_served_without_torch(encoder: tuple[Path, Path]) -> None:
    source, out = encoder
    reader, tokenizer = load_encoder(source, keep_layers=KEPT)
    vectors = np.array(serve(out, text="\n".join(ODD)))
    texts = encode_texts([(text, None) for text in ODD], tokenizer, reader.longest)
    for (ids, segments), vector in zip(texts, vectors, strict=True):
        read, length = torch.tensor([ids]), len(ids)
        inputs = Inputs(read, torch.arange(length)[None], torch.tensor([segments]), torch.ones_like(read))
        with torch.no_grad():
            expected = mean_pool(reader.hidden_states(inputs, None)[-1], inputs.documents)
        np.testing.assert_allclose(vector, expected[0].numpy(), atol=1e-5)


def test_the_code_on_the_card_runs_without_torch(encoder: tuple[Path, Path], tmp_path: Path) -> None:
    _, out = encoder
    (tmp_path / "card.py").write_text((out / "README.md").read_text().split("```python\n")[1].split("```")[0])
    assert "array([[[" in run_without_torch(tmp_path / "card.py", within=out.parent)


def test_what_was_fine_tuned_is_served_without_torch_in_float32_and_in_8_bits(classifier: tuple[Path, Path]) -> None:
    seed, out = classifier
    dev = sentences(60, 2)
    text, gold = "\n".join(text for text, _ in dev), ["yes" if there else "no" for _, there in dev]
    ours = json.loads((seed / "predictions.json").read_text())["dev"]
    float32, int8 = ([answer["label"] for answer in serve(out, graph, text=text)] for graph in (GRAPH_FILE, INT8_FILE))
    assert float32 == ours
    scores = [np.mean([one == other for one, other in zip(labels, gold, strict=True)]) for labels in (float32, int8)]
    assert scores[0] > 0.9 and scores[1] >= scores[0] - 0.05, scores
    pipe = transformers.pipeline("text-classification", str(seed / "model"), device="cpu", truncation=True)
    for theirs, mine in zip(pipe(ODD), serve(out, text="\n".join(ODD)), strict=True):
        assert theirs["label"] == mine["label"] and abs(theirs["score"] - mine["score"]) < 1e-5


@pytest.fixture
def stray() -> str:
    """Texts one of which has a line separator of Unicode's, which ends no line."""
    return "the chef\u2028ate\na meal\n"


def test_several_labels_are_served_as_the_pipeline_gives_them(tokens: Path, tmp_path: Path, stray: str) -> None:
    source = exported(tmp_path / "start", CLASSIC, tokens)
    reader, _ = load_encoder(source)
    logits = build_text_logits(reader, FineTuning(head="transformers"), 3)
    head = HeadSpec("sequence-classification", ("x", "y", "z"), "multi_label_classification")
    save_finetuned(tmp_path / "model", source, reader, logits, head, 24)
    out = export(ExportConfig(run=str(tmp_path / "model"), out=str(tmp_path / "out"), format="onnx"))
    pipe = transformers.pipeline("text-classification", str(tmp_path / "model"), device="cpu", top_k=None)
    served = serve(out, text=stray)
    assert len(served) == 2
    for theirs, mine in zip(pipe(stray.strip().split("\n")), served, strict=True):
        likely = {each["label"]: each["score"] for each in theirs if each["score"] > 0.5}
        assert {each["label"]: each["score"] for each in mine} == pytest.approx(likely, abs=1e-5)


def test_what_says_something_of_tokens_is_not_served_as_of_sentences(tokens: Path, tmp_path: Path, stray: str) -> None:
    source = exported(tmp_path / "discriminator", replace(CLASSIC, layers=1), tokens)
    out = export(ExportConfig(run=str(source), out=str(tmp_path / "out"), format="onnx", as_="pretraining"))
    command = [sys.executable, "-c", WITHOUT, str(SCRIPT), str(out)]
    ended = subprocess.run(command, input=stray, capture_output=True, text=True, check=False)
    assert ended.returncode == 1 and ended.stdout == ""
    assert "is not served here: it says something of tokens, not of sentences" in ended.stderr


def test_a_fine_tuned_head_is_what_transformers_computes_at_any_size(classifier: tuple[Path, Path]) -> None:
    seed, out = classifier
    session = graphs.open_session(out / GRAPH_FILE)
    assert [each.name for each in session.get_inputs()] == ["input_ids", "attention_mask", "token_type_ids"]
    (output,) = session.get_outputs()
    assert (output.name, output.shape) == ("logits", ["batch", 2])
    compare(session, transformers.AutoModelForSequenceClassification.from_pretrained(seed / "model"))
    products = Counter(node.op_type for node in onnx.load(out / INT8_FILE).graph.node)
    assert products["MatMulInteger"] > 4 * CLASSIC.layers and not products["MatMul"]
    assert (out / INT8_FILE).stat().st_size < (out / GRAPH_FILE).stat().st_size


def test_a_discriminator_has_a_logit_for_each_token(tokens: Path, tmp_path: Path) -> None:
    source = exported(tmp_path / "discriminator", replace(CLASSIC, layers=1), tokens)
    out = export(ExportConfig(run=str(source), out=str(tmp_path / "out"), format="onnx", as_="pretraining"))
    session = graphs.open_session(out / GRAPH_FILE)
    assert [(each.name, each.shape) for each in session.get_outputs()] == [("logits", ["batch", "length"])]
    arrays = draw_batch(session, 2, 13)
    tower = huggingface.load_tower(source)
    ids, mask, segments = (torch.from_numpy(value) for value in arrays.values())
    with torch.no_grad():
        expected = tower.detection_logits(tower.hidden(ids, torch.arange(13).expand(2, 13), segments, mask))
    (given,) = session.run(None, arrays)
    np.testing.assert_allclose(given[mask > 0], expected[mask > 0].numpy(), atol=1e-6)


def test_a_graph_that_gives_other_outputs_is_refused(encoder: tuple[Path, Path], tmp_path: Path, tokens: Path) -> None:
    source = exported(tmp_path / "encoder", replace(ENCODER, layers=KEPT, local_window=10), tokens)
    huggingface_export.fill_folder(ModelView(source, "encoder"), tmp_path)
    model = graphs.ExportedModel(graphs.load_exported(tmp_path))
    with pytest.raises(UserError, match=r"model.onnx: onnxruntime's outputs, .* differ from torch's by .*; expected 0"):
        graphs.compare_with_torch(model, encoder[1] / GRAPH_FILE, graphs.CLOSE)


@pytest.mark.parametrize("wrong", ["extra", "head", "weights", "ids", "format"])
def test_what_cannot_be_written_leaves_nothing(
    wrong: str, tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = exported(tmp_path / "discriminator", MODERN, tokens)
    asked = ExportConfig(run=str(source), out=str(tmp_path / "out"), format="onnx")
    if wrong == "extra":
        monkeypatch.setitem(sys.modules, "onnxscript", None)
        message = r"--format onnx needs the package onnxscript; pip install 'electra\[serve\]'"
    elif wrong == "head":
        (source / "head.safetensors").write_bytes(b"")
        settings = json.loads((source / "config.json").read_text())
        (source / "config.json").write_text(json.dumps(settings | {"architectures": ["ModernBertModel"]}))
        asked = replace(asked, as_="finetuned")
        message = r"head.safetensors: a head that transformers has no class for.* --tuning.head transformers"
    elif wrong == "weights":
        settings = json.loads((source / "config.json").read_text())
        (source / "config.json").write_text(json.dumps(settings | {"intermediate_size": 40}))
        message = r"model.safetensors: model.layers.0.mlp.Wi.weight: found .*\[96, 32\], expected float32 \[80, 32\]"
    elif wrong == "ids":
        tokenizer = load_tokenizer(source)
        tokenizer.backend.add_tokens([f"<{number}>" for number in range(121 - tokenizer.size)])
        tokenizer.save(source)
        message = r"its tokenizer has 121 ids \(the last is .*\), but its model has 120 embeddings"
    else:
        asked = replace(asked, format="hf", onnx=OnnxConfig(quantize="int8"))
        message = r"--onnx.…: settings of --format onnx, and this is --format hf"
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=message):
        export(asked)
    assert sorted(tmp_path.iterdir()) == before
