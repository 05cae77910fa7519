"""What ``electra export --format hf`` writes: transformers, in a process of its own, computes what we compute."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from electra.errors import UserError
from electra.interchange import encoders, huggingface
from electra.interchange.encoders import Inputs, TowerReader
from electra.interchange.finetuned import HeadSpec, save_finetuned
from electra.interchange.huggingface_export import fill_folder
from electra.interchange.views import ModelView, View
from electra.model.config import EncoderConfig
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower
from electra.tasks.finetuning.examples import ExampleBatch
from electra.tasks.finetuning.heads import build_text_logits
from electra.tasks.finetuning.problem import FineTuning
from electra.tokenization.loading import load_tokenizer
from electra.tokenization.training import train_tokenizer
from finetuning import CLASSIC, MODERN, sentences

SHAPES: dict[str, EncoderConfig] = {
    "classic": CLASSIC,
    "square": replace(CLASSIC, embedding_size=32),  # without a projection
    "modern": replace(MODERN, global_theta=30_000.0, local_theta=2_000.0, local_window=8),
}
TEXTS = [text for text, _ in sentences(4, 9)] + ["", "alpha [SEP] w1 [MASK]"]
CLASSES = {
    ("encoder", "classic"): "ElectraModel",
    ("encoder", "square"): "BertModel",
    ("encoder", "modern"): "ModernBertModel",
    ("mlm", "classic"): "ElectraForMaskedLM",
    ("mlm", "modern"): "ModernBertForMaskedLM",
    ("pretraining", "classic"): "ElectraForPreTraining",
    ("pretraining", "modern"): "ModernBertForTokenClassification",
    ("finetuned", "classic"): "ElectraForSequenceClassification",
    ("finetuned", "modern"): "ModernBertForSequenceClassification",
}
CASES = [(view, shape, layers) for view, shape in CLASSES for layers in (0, 1)]
# As a user reads a folder: torch, transformers and nothing of ours.
THEIRS = """
import json, sys, numpy, torch, transformers
for folder, texts in json.load(sys.stdin):
    name, = json.load(open(f"{folder}/config.json"))["architectures"]
    options = {"add_pooling_layer": False} if name == "BertModel" else {}
    model, report = getattr(transformers, name).from_pretrained(folder, output_loading_info=True, **options)
    assert not any(report.values()), report
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        output = model.eval()(**batch)[0]
    numpy.savez(f"{folder}/said.npz", output=output, **batch)
assert not any(name.startswith("electra") for name in sys.modules)
"""


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer([text for text, _ in sentences(300, 0)], 120).save(folder)
    return folder


def build(role: str, shape: str) -> Tower:
    """A tower with random weights, biases and gains too."""
    config = SHAPES[shape]
    torch.manual_seed(0)
    tower = (Tower.token if role == "generator" else Tower.detection)(config, build_embeddings(config))
    for name, value in tower.named_parameters():
        if value.dim() == 1:
            nn.init.normal_(value, 1.0 if name.endswith("norm.weight") else 0.0, 0.1)
    return tower


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory, tokens: Path) -> dict[tuple[str, str], Path]:
    """What a run leaves: each shape's towers, and one that was fine-tuned, by what is to be written of it."""
    folder, found = tmp_path_factory.mktemp("runs"), {}
    for shape in SHAPES:
        for role in ("generator", "discriminator"):
            huggingface.save_tower(folder / shape / role, build(role, shape), tokens, None, "electra")
        reader = TowerReader(build("discriminator", shape))
        source, spec = folder / shape / "discriminator", HeadSpec("sequence-classification", ("no", "yes"))
        head = fresh_head(reader)
        assert save_finetuned(folder / shape / "tuned", source, reader, head, spec, 24)
        found |= {(view, shape): source for view in ("encoder", "pretraining")}
        found |= {("mlm", shape): folder / shape / "generator", ("finetuned", shape): folder / shape / "tuned"}
    return found


def fresh_head(reader: TowerReader) -> nn.Module:
    """Its weights are not so small that all texts get the same logits."""
    torch.manual_seed(1)
    head = build_text_logits(reader, FineTuning(head="transformers"), 2)
    with torch.no_grad():
        for value in head.parameters():
            value.mul_(10)
    return head


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, sources: dict) -> dict[tuple[str, str, int], Path]:
    """Every case as a folder, with what transformers said of the texts, all of them by one process."""
    folders = {}
    for view, shape, layers in CASES:
        folder = folders[view, shape, layers] = tmp_path_factory.mktemp(f"{view}-{shape}")
        assert fill_folder(ModelView(sources[view, shape], view, layers), folder) == []
    asked = json.dumps([[str(folder), TEXTS] for folder in folders.values()])
    done = subprocess.run([sys.executable, "-c", THEIRS], input=asked, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return folders


@torch.no_grad()
def ours(view: str, shape: str, layers: int, inputs: Inputs) -> Tensor:
    """The output that our own modules give."""
    tower = build("generator" if view == "mlm" else "discriminator", shape)
    if layers:
        tower.keep_layers(layers)
    hidden = tower.hidden(*inputs)
    if view == "encoder":
        return hidden
    if view == "mlm":
        return tower.token_logits(hidden.flatten(0, 1)).unflatten(0, hidden.shape[:2])
    if view == "pretraining":
        return tower.head.labels(hidden) if shape == "modern" else tower.detection_logits(hidden)  # type: ignore[operator]
    rows = len(hidden)
    batch = ExampleBatch(*inputs, torch.zeros(rows, 2, dtype=torch.int32), {}, torch.tensor(rows))
    return fresh_head(TowerReader(build("discriminator", shape)))([hidden], batch, None)


@pytest.mark.parametrize(("view", "shape", "layers"), CASES)
def test_transformers_computes_what_we_do(view: str, shape: str, layers: int, written: dict, tokens: Path) -> None:
    folder = written[view, shape, layers]
    assert json.loads((folder / "config.json").read_text())["architectures"] == [CLASSES[view, shape]]
    with np.load(folder / "said.npz") as said:
        theirs, ids, mask = (torch.from_numpy(said[name]) for name in ("output", "input_ids", "attention_mask"))
        segments = torch.from_numpy(said["token_type_ids"]) if "token_type_ids" in said else 0 * ids
    tokenizer = load_tokenizer(tokens)
    if view != "mlm":  # whose masks are masks
        framed = [[2, *row, 3] for row in tokenizer.encode(TEXTS)]
        assert [row[: int(seen.sum())].tolist() for row, seen in zip(ids, mask, strict=True)] == framed
    expected = ours(view, shape, layers, Inputs(ids, torch.arange(ids.shape[1]).expand_as(ids), segments, mask))
    seen = mask.bool() if view != "finetuned" else slice(None)
    assert theirs[seen].std() > 1e-3, "outputs that say nothing compare nothing"
    torch.testing.assert_close(theirs[seen], expected[seen], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("view", "shape", "layers"), CASES)
def test_older_readers_find_what_they_ask_for(view: str, shape: str, layers: int, written: dict) -> None:
    folder = written[view, shape, layers]
    said = json.loads((folder / "config.json").read_text())
    ids = {name: said[f"{name}_token_id"] for name in ("pad", "cls", "sep", "bos", "eos")}
    assert ids == {"pad": 0, "cls": 2, "sep": 3, "bos": 2, "eos": 3}
    assert said["num_hidden_layers"] == (layers or 2) and said.get("num_labels") == (2 if view == "finetuned" else None)
    if shape == "modern":
        assert (said["global_rope_theta"], said["local_rope_theta"]) == (30_000.0, 2_000.0)
        assert said["rope_parameters"]["sliding_attention"]["rope_theta"] == 2_000.0
        assert said["global_attn_every_n_layers"] == 3
    told = json.loads((folder / "tokenizer_config.json").read_text())
    assert told["tokenizer_class"] == "PreTrainedTokenizerFast" and told["split_special_tokens"] == (view != "mlm")
    assert told["model_max_length"] == (24 if view == "finetuned" else 48)
    assert not [name for name in load_file(folder / "model.safetensors") if "pooler" in name]


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    """The folder, with its config.json edited."""
    settings = json.loads((folder / "config.json").read_text())
    edit(settings)
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


def test_each_spelling_of_thetas_is_read_and_two_that_differ_are_refused(tmp_path: Path, tokens: Path) -> None:
    huggingface.save_tower(tmp_path / "new", build("discriminator", "modern"), tokens, None)
    thetas = (30_000.0, 2_000.0)
    for spelling in (("rope_parameters",), ("global_rope_theta", "local_rope_theta")):
        huggingface.save_tower(tmp_path / "one", build("discriminator", "modern"), tokens, None)
        config = huggingface.load_tower(
            change(tmp_path / "one", lambda said, left=spelling: [said.pop(k) for k in left])
        ).config
        assert (config.global_theta, config.local_theta) == thetas  # type: ignore[union-attr]
    change(tmp_path / "new", lambda said: said.update(local_rope_theta=10_000.0))
    for read in (huggingface.load_tower, encoders.load_encoder):
        with pytest.raises(
            UserError, match="local_rope_theta is 10000.0, but rope_theta of sliding_attention .* 2000.0"
        ):
            read(tmp_path / "new")


def test_a_bare_encoder_of_ours_is_read_as_one(written: dict) -> None:
    for shape in SHAPES:
        reader, tokenizer = encoders.load_encoder(written["encoder", shape, 1])
        assert len(reader.sizes) == 2 and tokenizer.size <= 120


@pytest.mark.parametrize("view", ["finetuned", "encoder"])
@pytest.mark.parametrize(
    ("tensors", "complaint"),
    [
        ({"electra.encoder.layer.1.output.dense.bias": None}, "missing tensors: .*layer.1.output.dense.bias$"),
        (
            {"electra.encoder.layer.7.output.dense.bias": torch.zeros(1)},
            "unknown tensors: .*layer.7.output.dense.bias$",
        ),
        ({"electra.embeddings.LayerNorm.weight": torch.zeros(17)}, r"LayerNorm.weight: found \[17\], expected \[16\]"),
    ],
    ids=["missing", "unknown", "of another shape"],
)
def test_weights_that_do_not_match_are_refused(
    tmp_path: Path, sources: dict, view: View, tensors: dict[str, Tensor | None], complaint: str
) -> None:
    shutil.copytree(sources["finetuned", "classic"], tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    changed = {name: value for name, value in (load_file(path) | tensors).items() if value is not None}
    save_file(changed, path)
    with pytest.raises(UserError, match=complaint):
        fill_folder(ModelView(tmp_path / "model", view), tmp_path)
