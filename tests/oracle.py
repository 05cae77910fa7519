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

from electra.model.config import ClassicConfig, generator_config
from electra.model.embeddings import Shared
from electra.model.encoder import Tower
from electra.model.heads import TokenHead

Arrays = Mapping[str, np.ndarray]

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


def pairs(
    npz: Arrays, prefix: str, embeddings: nn.Module, generator: Tower | None, discriminator: Tower | None
) -> Iterator[tuple[str, nn.Parameter, Tensor]]:
    """(the original's name, the parameter, the original's array) for every parameter of the embeddings and towers.

    ``prefix`` is "var0/", "grad/", "step1/" and the like. The MLM cases have one tower, named electra, with the head of
    a generator: give it as ``generator`` alone.
    """
    yield from section(npz, f"{prefix}electra/embeddings/", embeddings, EMBEDDINGS)
    if generator is not None:
        yield from tower(npz, prefix, "generator" if discriminator is not None else "electra", generator)
    if discriminator is not None:
        yield from tower(npz, prefix, "electra", discriminator)


def load_variables(
    npz: Arrays, prefix: str, embeddings: nn.Module, generator: Tower | None, discriminator: Tower | None
) -> None:
    """Give every parameter the original's value. Every variable under ``prefix`` is used, and no parameter is left."""
    found = list(pairs(npz, prefix, embeddings, generator, discriminator))
    parts = [part for part in (embeddings, generator, discriminator) if part is not None]
    wanted = {id(value) for part in parts for value in part.parameters()}
    assert {id(value) for _, value, _ in found} == wanted
    used = {name for names, _, _ in found for name in names.split(" ")}
    assert used == {name for name in npz if name.startswith(prefix)}
    with torch.no_grad():
        for _, value, array in found:
            value.copy_(array)


def tower(npz: Arrays, prefix: str, name: str, tower: Tower) -> Iterator[tuple[str, nn.Parameter, Tensor]]:
    """The pairs of a tower's encoder and head."""
    if isinstance(tower.encoder.project, nn.Linear):
        table = {"weight": ["kernel"], "bias": ["bias"]}
        yield from section(npz, f"{prefix}{name}/embeddings_project/", tower.encoder.project, table)
    for index, layer in enumerate(tower.encoder.layers):
        yield from section(npz, f"{prefix}{name}/encoder/layer_{index}/", layer, LAYER)
    if isinstance(tower.head, TokenHead):
        yield from section(npz, f"{prefix}generator_predictions/", tower.head, TOKEN_HEAD)
    else:
        yield from section(npz, f"{prefix}discriminator_predictions/", tower.head, DETECTION_HEAD)


def section(
    npz: Arrays, prefix: str, module: nn.Module, table: Mapping[str, list[str]]
) -> Iterator[tuple[str, nn.Parameter, Tensor]]:
    """The pairs of one module: kernels turned over, parts of one matrix joined."""
    parameters = dict(module.named_parameters())
    assert parameters.keys() == table.keys()
    for ours, theirs in table.items():
        names = [prefix + name for name in theirs]
        arrays = [npz[name].T if name.endswith("kernel") else npz[name] for name in names]
        yield " ".join(names), parameters[ours], torch.from_numpy(np.concatenate(arrays))


def named_values(
    embeddings: nn.Module, generator: Tower | None, discriminator: Tower | None
) -> Iterator[tuple[str, Tensor]]:
    """(the original's name, this project's value of it), queries, keys and values apart."""
    nothing = defaultdict(lambda: np.zeros(1, np.float32))
    for joined, value, _ in pairs(nothing, "", embeddings, generator, discriminator):
        parts = joined.split(" ")
        yield from zip(parts, value.detach().chunk(len(parts)), strict=True)


class Case:
    """One file of the original's numbers: ``npz``, ``config`` of the encoder, and the towers with its variables.

    ``generator`` and ``discriminator`` share ``embeddings``; the MLM case has no discriminator.
    """

    def __init__(self, shared: Path, name: str):
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
        sharing = Shared(self.config)
        self.embeddings, self.discriminator = sharing.discriminator, None
        if settings["electra_objective"]:
            small = generator_config(self.config, settings["generator_hidden_size"], settings["generator_layers"])
            self.generator = Tower.token(small, self.embeddings)
            self.discriminator = Tower.detection(self.config, self.embeddings)
        else:
            self.generator = Tower.token(self.config, self.embeddings)
        load_variables(self.npz, "var0/", self.embeddings, self.generator, self.discriminator)

    def tensor(self, name: str) -> Tensor:
        """An array of the file; whole numbers as int64."""
        array = self.npz[name]
        return torch.from_numpy(array.astype(np.int64) if array.dtype == np.int32 else array)

    def rows(self, ids: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The arguments of ``Tower.hidden``: the ids of that name, positions, segments, documents."""
        documents = self.tensor("in/input_mask")
        positions = torch.arange(documents.shape[1]).expand_as(documents)
        return self.tensor(ids), positions, self.tensor("in/segment_ids"), documents
