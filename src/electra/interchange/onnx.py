"""Models as ONNX graphs, for readers without torch: ``model.onnx`` beside config.json and the tokenizer.

The graph is that of transformers' class for the folder, so its outputs are those that the folder gives in transformers:
``last_hidden_state`` of an encoder, ``logits``, or ``start_logits`` and ``end_logits``. It has the operations of ONNX
23 for attention and rotary positions, which ONNX Runtime computes as one kernel each.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from electra import files
from electra.errors import UserError, convert_errors
from electra.extras import import_extra
from electra.interchange import huggingface_export
from electra.interchange.encoders import count_unused_positions
from electra.interchange.finetuned import HEAD_FILE
from electra.interchange.folders import WEIGHTS_FILE
from electra.interchange.transformers_models import load_with_transformers
from electra.interchange.views import ModelView
from electra.tokenization.settings import read_settings

GRAPH_FILE, INT8_FILE = "model.onnx", "model_int8.onnx"
NEEDED = ("onnx", "onnxscript", "onnxruntime")
OPSET = 23  # the first with Attention and RotaryEmbedding
OUTPUTS = ("last_hidden_state", "logits", "start_logits", "end_logits")
ROTARY = ("modernbert",)  # models whose positions, one row for all texts, ONNX wants for each text
TRACED = (2, 8)  # rows and length of the example; neither may be 1, which would be taken for a constant
COMPARED = ((1, 1), (1, 9), (3, 40), (2, 300))  # rows and lengths; longer than a local window, with padding and without
CLOSE = 1e-4  # by how much ONNX Runtime's outputs may differ from torch's, or that share of the largest output

Quantization = Literal["none", "int8"]
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class OnnxConfig:
    """How the graph's weights are stored."""

    quantize: Quantization = "none"
    """none: float32, in model.onnx. int8: in model_int8.onnx too, with the matrices of products in 8 bits and what they
    are multiplied with rounded to 8 bits while it runs; judge it by a task's score."""


def fill_folder(what: ModelView, folder: Path, settings: OnnxConfig) -> list[str]:
    """Write model.onnx, config.json and the tokenizer into ``folder``; returns how far ONNX Runtime is from torch.

    Raises:
        UserError: as ``huggingface_export.fill_folder``; the extra ``serve`` is missing; a head that is none of
            transformers' classes; a model that torch cannot export, or whose graph gives other outputs.
    """
    for module in NEEDED:
        import_extra(module, "serve", "--format onnx")
    if (what.folder / HEAD_FILE).exists() and what.view == "finetuned":
        raise UserError(
            f"{what.folder / HEAD_FILE}: a head that transformers has no class for, and --format onnx writes what its "
            "classes compute; fine-tune with --tuning.head transformers, or export --as encoder"
        )
    huggingface_export.fill_folder(what, folder)
    model = ExportedModel(load_exported(folder))
    write_graph(model, folder / GRAPH_FILE)
    files.remove_files(folder, [WEIGHTS_FILE], keep_folder=True)
    lines = [compare_with_torch(model, folder / GRAPH_FILE, CLOSE)]
    if settings.quantize == "int8":
        write_int8(folder / GRAPH_FILE, folder / INT8_FILE)
        lines.append(compare_with_torch(model, folder / INT8_FILE, float("inf")))
    return lines


def load_exported(folder: Path) -> Any:
    """The model in a folder that was just written, in the class that its config.json names."""
    (name,) = read_settings(folder / "config.json")["architectures"]
    return load_with_transformers(folder, name)


class ExportedModel(nn.Module):
    """A model of transformers' as a function of the graph's inputs, in their order, to its outputs."""

    def __init__(self, model: Any):
        """``model``: what transformers' ``from_pretrained`` returned."""
        super().__init__()
        self.model = model
        config = model.config
        self.segments: int = getattr(config, "type_vocab_size", 0)
        self.rotary = config.model_type in ROTARY
        self.vocab_size: int = config.vocab_size
        self.longest: int = config.max_position_embeddings - count_unused_positions(model)
        self.inputs = ["input_ids", "attention_mask", *["token_type_ids"] * (self.segments > 1)]
        with torch.no_grad():
            given = self.run_model(*(torch.from_numpy(value) for value in self.draw_inputs(1, 4).values()))
        self.outputs = [name for name in OUTPUTS if name in given]

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """The outputs, float32, of ids, mask (1: a token, 0: padding) and segments, int64 [rows, length]."""
        given = self.run_model(input_ids, attention_mask, token_type_ids)
        return tuple(given[name] for name in self.outputs)

    def run_model(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Any:
        """All that transformers' model returns, by name."""
        options = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        if self.rotary:
            rows, length = input_ids.shape
            options["position_ids"] = torch.arange(length, device=input_ids.device)[None].expand(rows, length)
        return self.model(input_ids=input_ids, attention_mask=attention_mask, return_dict=True, **options)

    def draw_inputs(self, rows: int, length: int) -> Arrays:
        """Random inputs, int64 [rows, length]; each row but the first ends in more padding than that above it."""
        draw = np.random.default_rng((rows, length))
        kept = length - np.arange(rows)[:, None] * (length // (2 * rows))
        values = {
            "input_ids": draw.integers(0, self.vocab_size, (rows, length)),
            "attention_mask": (np.arange(length) < kept).astype(np.int64),
            "token_type_ids": draw.integers(0, max(self.segments, 1), (rows, length)),
        }
        return {name: values[name] for name in self.inputs}


def write_graph(model: ExportedModel, path: Path) -> None:
    """Write the graph, with any numbers of rows and of tokens. Raises ``UserError`` if torch cannot export it."""
    rows, length = TRACED
    example = tuple(torch.from_numpy(value) for value in model.draw_inputs(rows, min(length, model.longest)).values())
    dynamic = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=model.longest)}
    kind = model.model.config.model_type
    with (
        quiet_exporter(),
        torch.no_grad(),
        convert_errors(f"{path.parent}: {kind}: torch cannot export this", Exception),
    ):
        program = torch.onnx.export(
            model, example, dynamo=True, opset_version=OPSET, verbose=False,
            input_names=model.inputs, output_names=model.outputs, dynamic_shapes=(dynamic,) * len(example),
        )  # fmt: skip
        assert program is not None
        program.save(path)


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Let torch's exporter and ONNX Runtime's quantizer not report what a user can do nothing about."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def write_int8(source: Path, path: Path) -> None:
    """Write a graph anew with the matrices of its products in 8 bits, a scale for each column."""
    quantization = import_extra("onnxruntime.quantization", "serve", "--onnx.quantize int8")
    with quiet_exporter(), convert_errors(f"{source}: onnxruntime cannot quantize this", Exception):
        quantization.quantize_dynamic(
            source, path, op_types_to_quantize=["MatMul"], per_channel=True, reduce_range=True
        )


def compare_with_torch(model: ExportedModel, path: Path, most: float) -> str:
    """A line that says by how much ONNX Runtime's outputs for a graph differ from torch's, padding left out.

    Raises:
        UserError: they differ by more than ``most``, or by more than that share of the largest output.
    """
    session = open_session(path)
    largest, difference = 0.0, 0.0
    for rows, length in COMPARED:
        arrays = model.draw_inputs(rows, min(length, model.longest))
        with torch.no_grad():
            ours = [value.numpy() for value in model(*map(torch.from_numpy, arrays.values()))]
        for given, expected in zip(session.run(model.outputs, arrays), ours, strict=True):
            if not np.isfinite(given).all():
                raise UserError(f"{path}: onnxruntime gives numbers that are not finite for {rows} × {length} tokens")
            seen = select_tokens(arrays, expected)
            largest = max(largest, float(np.abs(expected[seen]).max()))
            difference = max(difference, float(np.abs(given[seen] - expected[seen]).max()))
    size = f"{path.stat().st_size / 1e6:.1f} MB"
    if difference > most * max(1.0, largest):
        raise UserError(
            f"{path}: onnxruntime's outputs, up to {largest:.1f}, differ from torch's by {difference:.1e}; expected "
            f"{most:g} at most"
        )
    return (
        f"{path.name}: {size}, {' '.join(model.inputs)} → {' '.join(model.outputs)}; differs from torch by at most "
        f"{difference:.1e} in outputs up to {largest:.1f}"
    )


def select_tokens(arrays: Mapping[str, np.ndarray], output: np.ndarray) -> np.ndarray:
    """Which of an output's values are of tokens, not padding, as an index: all rows, if it has one value for a text."""
    mask = arrays["attention_mask"] > 0
    return mask if output.shape[:2] == mask.shape else np.ones(len(output), dtype=bool)


def open_session(path: Path) -> Any:
    """ONNX Runtime's session of a graph, on the CPU."""
    onnxruntime = import_extra("onnxruntime", "serve", "reading an ONNX graph")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
