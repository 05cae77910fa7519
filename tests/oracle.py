"""The original implementation's variables beside this project's parameters: one table of names, both ways.

``pairs`` serves values, gradients and values after a step alike: each parameter with what the original has for it, in
this project's layout (weights [outputs, inputs], queries, keys and values in one matrix).
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from electra.model.blocks import ClassicLayer
from electra.model.config import ClassicConfig
from electra.model.embeddings import ClassicEmbeddings, Embeddings
from electra.model.encoder import Encoder
from electra.model.heads import ClassicDetectionHead, TokenHead
from electra.model.initial import Dense
from electra.objectives.build import CorpusFacts, Electra, Electric, Mlm, Objective
from electra.objectives.corrupt import Generate
from electra.objectives.generators import MaskedGenerator, TwoTowers
from electra.objectives.pretrainer import Pretrainer

Arrays = Mapping[str, np.ndarray]

CLS, SEP, MASK = 101, 102, 103
OBJECTIVES: dict[str, Objective] = {
    "parity_small_ordered": Electra(),
    "parity_mlm": Mlm(),
    "parity_dup": Electra(mask_rate=0.25, choose="with-replacement"),
    "parity_untied_emb": Electra(embeddings="own"),
    "parity_uniform_gen": Electra(generator="uniform"),
    "parity_twotower": Electra(generator="two-tower"),
    "parity_electric_dup": Electric(mask_rate=0.25, choose="with-replacement"),
}

EMBEDDINGS = {
    "tokens.weight": ["word_embeddings"],
    "positions.weight": ["position_embeddings"],
    "segments.weight": ["token_type_embeddings"],
    "norm.weight": ["LayerNorm/gamma"],
    "norm.bias": ["LayerNorm/beta"],
}
LAYER = {
    "qkv.weight": [f"attention/self/{part}/kernel" for part in ("query", "key", "value")],
    "qkv.bias": [f"attention/self/{part}/bias" for part in ("query", "key", "value")],
    "output.weight": ["attention/output/dense/kernel"],
    "output.bias": ["attention/output/dense/bias"],
    "attention_norm.weight": ["attention/output/LayerNorm/gamma"],
    "attention_norm.bias": ["attention/output/LayerNorm/beta"],
    "up.weight": ["intermediate/dense/kernel"],
    "up.bias": ["intermediate/dense/bias"],
    "down.weight": ["output/dense/kernel"],
    "down.bias": ["output/dense/bias"],
    "norm.weight": ["output/LayerNorm/gamma"],
    "norm.bias": ["output/LayerNorm/beta"],
}
TOKEN_HEAD = {
    "dense.weight": ["dense/kernel"],
    "dense.bias": ["dense/bias"],
    "norm.weight": ["LayerNorm/gamma"],
    "norm.bias": ["LayerNorm/beta"],
    "bias": ["output_bias"],
}
DETECTION_HEAD = {
    "dense.weight": ["dense/kernel"],
    "dense.bias": ["dense/bias"],
    "classifier.weight": ["dense_1/kernel"],
    "classifier.bias": ["dense_1/bias"],
}
TABLES: dict[type, Mapping[str, list[str]]] = {
    ClassicEmbeddings: EMBEDDINGS,
    Dense: {"weight": ["kernel"], "bias": ["bias"]},
    ClassicLayer: LAYER,
    TokenHead: TOKEN_HEAD,
    ClassicDetectionHead: DETECTION_HEAD,
}


def encoders(pretrainer: Pretrainer) -> dict[str, tuple[Embeddings, Encoder]]:
    """Every tower's embeddings and encoder, by the tower's name in the original; the one that is kept comes first."""
    found = {"electra": (pretrainer.encoder.embeddings, pretrainer.encoder.encoder)}
    generator = pretrainer.corrupt.generator if isinstance(pretrainer.corrupt, Generate) else None
    if isinstance(generator, MaskedGenerator):
        found["generator"] = generator.tower.embeddings, generator.tower.encoder
    elif isinstance(generator, TwoTowers):
        found["generator_ltr"] = generator.embeddings, generator.left
        found["generator_rtl"] = generator.embeddings, generator.right
    return found


def heads(pretrainer: Pretrainer) -> dict[str, nn.Module]:
    """Every head by its name in the original."""
    if not isinstance(pretrainer.corrupt, Generate):
        return {"generator_predictions": pretrainer.encoder.head}
    found: dict[str, nn.Module] = {"discriminator_predictions": pretrainer.encoder.head}
    generator = pretrainer.corrupt.generator
    if isinstance(generator, MaskedGenerator):
        found["generator_predictions"] = generator.tower.head
    elif isinstance(generator, TwoTowers):
        found["cloze_predictions"] = generator.head
    return found


def modules(pretrainer: Pretrainer) -> dict[str, nn.Module]:
    """The modules that ``TABLES`` knows, by their scope in the original; embeddings that two towers read once."""
    found = heads(pretrainer)
    for name, (embeddings, encoder) in encoders(pretrainer).items():
        if embeddings not in found.values():
            found[f"{name}/embeddings"] = embeddings
        if isinstance(encoder.project, nn.Linear):
            found[f"{name}/embeddings_project"] = encoder.project
        found |= {f"{name}/encoder/layer_{index}": layer for index, layer in enumerate(encoder.layers)}
    return found


def pairs(npz: Arrays, prefix: str, pretrainer: Pretrainer) -> list[tuple[str, nn.Parameter, Tensor]]:
    """(the original's name, the parameter, the original's array) for every parameter.

    ``prefix`` is "var0/", "grad/", "step1/" and the like. No parameter is left, and no array under the prefix.
    """
    found = [pair for scope, module in modules(pretrainer).items() for pair in section(npz, prefix + scope, module)]
    assert {id(value) for _, value, _ in found} == {id(value) for value in pretrainer.parameters()}
    assert {name for names, _, _ in found for name in names.split(" ")} == {n for n in npz if n.startswith(prefix)}
    return found


def section(npz: Arrays, scope: str, module: nn.Module) -> Iterator[tuple[str, nn.Parameter, Tensor]]:
    """The pairs of one module: kernels turned over, parts of one matrix joined."""
    parameters, table = dict(module.named_parameters()), TABLES[type(module)]
    assert parameters.keys() == table.keys()
    for ours, theirs in table.items():
        names = [f"{scope}/{name}" for name in theirs]
        arrays = [npz[name].T if name.endswith("kernel") else npz[name] for name in names]
        yield " ".join(names), parameters[ours], torch.from_numpy(np.concatenate(arrays))


@torch.no_grad()
def load_variables(npz: Arrays, prefix: str, pretrainer: Pretrainer) -> None:
    """Give every parameter the original's value."""
    for _, value, array in pairs(npz, prefix, pretrainer):
        value.copy_(array)


def named_values(pretrainer: Pretrainer) -> Iterator[tuple[str, Tensor]]:
    """(the original's name, this project's value of it), queries, keys and values apart."""
    nothing = defaultdict(lambda: np.zeros(1, np.float32))
    for joined, value, _ in pairs(nothing, "", pretrainer):
        parts = joined.split(" ")
        yield from zip(parts, value.detach().chunk(len(parts)), strict=True)


class Case:
    """One file of the original's numbers: ``npz``, ``config`` of the encoder, and the ``pretrainer`` of an objective
    with its variables.

    ``objective`` is what the file was made with unless another is given that computes the same.
    """

    def __init__(self, shared: Path, name: str, objective: Objective | None = None):
        with np.load(shared / "oracle" / f"{name}.npz") as npz:
            self.npz: dict[str, np.ndarray] = {key: npz[key] for key in npz.files}
        self.meta: dict[str, Any] = json.loads(str(self.npz["meta_json"]))
        settings = self.meta["config"]
        shape = settings["model_hparam_overrides"]
        self.config = ClassicConfig(
            vocab_size=settings["vocab_size"],
            hidden_size=shape["hidden_size"],
            layers=shape["num_hidden_layers"],
            heads=shape["num_attention_heads"],
            intermediate_size=shape["intermediate_size"],
            embedding_size=settings["embedding_size"],
            max_positions=shape["max_position_embeddings"],
            dropout=0.0,
            attention_dropout=0.0,
        )
        self.objective = objective or OBJECTIVES[name]
        self.pretrainer: Pretrainer = self.objective.build(self.config, CorpusFacts(MASK), seed=1)
        load_variables(self.npz, "var0/", self.pretrainer)

    def tensor(self, name: str) -> Tensor:
        """An array of the file; whole numbers as int64."""
        array = self.npz[name]
        return torch.from_numpy(array.astype(np.int64) if array.dtype == np.int32 else array)

    def rows(self, ids: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The arguments of ``Tower.hidden``: the ids of that name, positions, segments, documents."""
        documents = self.tensor("in/input_mask")
        positions = torch.arange(documents.shape[1]).expand_as(documents)
        return self.tensor(ids), positions, self.tensor("in/segment_ids"), documents
