"""The learning rate of every layer: the original's numbers, and a whole model's own head."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers

from electra.interchange import encoders
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower
from electra.tasks.finetuning.problem import FineTuned, FineTuning, apply_layer_decay
from finetuning import CLASSIC


def test_layer_rates_are_the_originals(shared: Path) -> None:
    golden = json.loads((shared / "oracle" / "golden_layer_lrs.json").read_text())
    shape = replace(CLASSIC, layers=golden["n_layers"])
    tower = Tower.detection(shape, build_embeddings(shape))
    net = FineTuned(encoders.TowerReader(tower), torch.nn.Linear(32, 2), 0)
    tuning = FineTuning(layer_decay=golden["layer_decay"])
    rates = {each.name: each.scale * golden["learning_rate"] for each in apply_layer_decay(net, tuning)}
    prefixes = {
        "reader.embeddings.": "/embeddings/",
        "reader.encoder.project.": "/embeddings_project/",
        "head.": "task_specific/",
    }
    prefixes |= {f"reader.encoder.layers.{n}.": f"encoder/layer_{n}/" for n in range(golden["n_layers"])}
    for name, rate in rates.items():
        (theirs,) = [theirs for ours, theirs in prefixes.items() if name.startswith(ours)]
        assert rate == pytest.approx(golden["lrs"][theirs], rel=1e-6), name
    published = {each.name: each.scale for each in apply_layer_decay(net, replace(tuning, decay="paper"))}
    assert published["reader.encoder.layers.11.qkv.weight"] == pytest.approx(0.8)


@pytest.mark.parametrize("kind", ["bert", "modernbert"])
def test_a_whole_models_head_has_the_full_rate(kind: str) -> None:
    config, name = {
        "bert": (transformers.BertConfig, "BertForSequenceClassification"),
        "modernbert": (transformers.ModernBertConfig, "ModernBertForSequenceClassification"),
    }[kind]
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
    small = config(vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
                   **special if kind == "modernbert" else {})  # fmt: skip
    net = FineTuned(encoders.WholeModelReader(getattr(transformers, name)(small)), torch.nn.Identity(), 0)
    scales = {each.name.removeprefix("reader.model."): each.scale for each in apply_layer_decay(net, FineTuning())}
    assert scales["classifier.weight"] == 1 and all(scale == 1 for n, scale in scales.items() if n.startswith("head."))
    layers = [scale for n, scale in scales.items() if "layer" in n and ".1." in n]
    embeddings = [scale for n, scale in scales.items() if "embeddings" in n]
    assert layers == [pytest.approx(0.8**2)] * len(layers) and embeddings == [pytest.approx(0.8**4)] * len(embeddings)
    assert layers and embeddings
