"""Fine-tuned models as Hugging Face folders: whole ones for transformers' classes, or an encoder with the head beside.

A head that is one of transformers' classes', or can be spelled as one, is saved within its model, so that ``pipeline``
gives our predictions. The paper's other heads are saved as ``head.safetensors`` beside an encoder that ``AutoModel``
loads.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from electra import files
from electra.errors import convert_errors
from electra.interchange.encoders import TowerReader, TransformersReader, WholeModelReader
from electra.interchange.huggingface import MODEL_KIND, encoder_tensors
from electra.interchange.spellings import complete_config
from electra.interchange.tokenizer_files import write_tokenizer
from electra.interchange.transformers_models import load_with_transformers, quiet_transformers, shorten_config
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower
from electra.tokenization.settings import refuse_code

HeadKind = Literal["sequence-classification", "token-classification", "question-answering"]
AUTO_CLASSES: dict[HeadKind, str] = {
    "sequence-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "question-answering": "AutoModelForQuestionAnswering",
}
ProblemType = Literal["single_label_classification", "multi_label_classification", "regression", ""]
HEAD_FILE = "head.safetensors"
HEAD_SETTINGS_FILE = "head.json"


@dataclass(frozen=True)
class HeadSpec:
    """What transformers' config says of a head. ``labels``: empty for a score, and for answers within a text.

    ``units``: the scores that outputs of 0 and 1 stand for. ``pooling``: what stands for a text, as a modern encoder's
    config says it.
    """

    model: HeadKind
    labels: tuple[str, ...] = ()
    problem_type: ProblemType = ""
    units: tuple[float, float] = (0.0, 1.0)
    pooling: Literal["cls", "mean"] = "cls"


def load_whole_model(folder: Path, spec: HeadSpec, keep_layers: int = 0) -> WholeModelReader:
    """The encoder in ``folder`` in transformers' class for such a head, which is fresh if the folder has none.

    ``keep_layers``: how many of its layers, the lowest; 0: all.
    """
    auto = AUTO_CLASSES[spec.model]
    return WholeModelReader(load_with_transformers(folder, auto, keep_layers, **head_settings(spec)))


def head_settings(spec: HeadSpec) -> dict[str, object]:
    """The keys of config.json that describe the head."""
    outputs = len(spec.labels) or (2 if spec.model == "question-answering" else 1)  # starts and ends; a score
    names = dict(enumerate(spec.labels)) or {index: f"LABEL_{index}" for index in range(outputs)}
    settings: dict[str, object] = {"id2label": names, "label2id": {name: index for index, name in names.items()}}
    return settings | ({"problem_type": spec.problem_type} if spec.problem_type else {})


def save_finetuned(
    folder: Path, source: Path, reader: TowerReader | TransformersReader, head: nn.Module, spec: HeadSpec, length: int
) -> bool:
    """Write ``folder`` whole, with the tokenizer of ``source``, the folder that the encoder came from.

    ``length``: the tokens to which texts were cut, which the tokenizer then says, so that ``pipeline(…,
    truncation=True)`` cuts them so. ``head``: its parameters have transformers' own names if one of its classes has
    such a head. Return whether the head is within the model, so that transformers' class loads all of it; otherwise it
    is written beside the model.

    Raises:
        UserError: something else is there, or the disk does not take the files.
    """
    with (
        quiet_transformers(),
        convert_errors(str(folder), OSError),
        scale_output(find_last_layer(reader, head), spec.units),
        files.write_whole_folder(folder, MODEL_KIND) as partial,
    ):
        if isinstance(reader, TowerReader):
            head_within = save_tower_reader(partial, source, reader, head, spec)
        else:
            reader.model.save_pretrained(partial)
            head_within = isinstance(reader, WholeModelReader)
        if not head_within:
            save_file(head_parameters(head), partial / HEAD_FILE)
            about = {"model": spec.model} | head_settings(spec)
            (partial / HEAD_SETTINGS_FILE).write_text(json.dumps(about, indent=1))
        special_ids = write_tokenizer(source, partial, reader.vocab_size, length, reader.segments)
        complete_config(partial, special_ids)
    return head_within


def find_last_layer(reader: TowerReader | TransformersReader, head: nn.Module) -> nn.Linear:
    """The linear layer that gives a head's outputs: the last of the head, or of that within the model."""
    if isinstance(reader, WholeModelReader):
        return reader.list_head_layers()[-1]
    return [module for module in head.modules() if isinstance(module, nn.Linear)][-1]


@contextmanager
def scale_output(layer: nn.Linear, units: tuple[float, float]) -> Iterator[None]:
    """Let a linear layer give scores in their own units while they are written, as ``units`` in ``HeadSpec``."""
    low, high = units
    before = {name: value.detach().clone() for name, value in layer.named_parameters()}
    with torch.no_grad():
        for value in layer.parameters():
            value.mul_(high - low)
        if low:
            layer.bias.add_(low)
    try:
        yield
    finally:
        with torch.no_grad():
            for name, value in layer.named_parameters():
                value.copy_(before[name])


def save_tower_reader(folder: Path, source: Path, reader: TowerReader, head: nn.Module, spec: HeadSpec) -> bool:
    """Write our encoder with the head, in transformers' class for both, or else without. Return whether it is in."""
    import transformers

    refuse_code(source)
    shape = shorten_config(source, reader.config.layers)
    config = transformers.AutoConfig.from_pretrained(source, local_files_only=True, trust_remote_code=False, **shape)
    prefix, encoder = encoder_tensors(as_tower(reader))
    parameters = head_parameters(head)
    if reader.family == "classic" and spec.model == "sequence-classification" and spec.pooling == "cls":
        parameters = spell_linear(parameters, reader.config.hidden_size)
    tensors = encoder | parameters
    for name, value in head_settings(spec).items():
        setattr(config, name, value)
    if reader.family == "modern":
        config.classifier_pooling = spec.pooling
    model = getattr(transformers, AUTO_CLASSES[spec.model]).from_config(config, trust_remote_code=False)
    if model.state_dict().keys() == tensors.keys():
        model.load_state_dict(tensors)
        model.save_pretrained(folder)
        return True
    bare = transformers.AutoModel.from_config(config, trust_remote_code=False)
    bare.load_state_dict({name.removeprefix(prefix): value for name, value in encoder.items()})
    bare.save_pretrained(folder)
    return False


def head_parameters(head: nn.Module) -> dict[str, Tensor]:
    """Copies of a head's parameters on the CPU, by name; a prefix ``body.`` is left out."""
    return {name.removeprefix("body."): value.detach().cpu().clone() for name, value in head.named_parameters()}


def spell_linear(parameters: dict[str, Tensor], width: int) -> dict[str, Tensor]:
    """A linear head as ElectraForSequenceClassification has one, dense → GELU → out_proj, with the same outputs.

    gelu(x) − gelu(−x) = x: dense computes Wx + b and its negative, out_proj takes one from the other. Given back as
    they are: parameters of another head, and outputs that are too many for the ``width`` of dense.
    """
    weight, bias = parameters.get("linear.weight"), parameters.get("linear.bias")
    if weight is None or bias is None or weight.shape[1] != width or 2 * len(weight) > width:
        return parameters
    outputs = len(weight)
    dense, dense_bias, out = torch.zeros(width, width), torch.zeros(width), torch.zeros(outputs, width)
    dense[: 2 * outputs], dense_bias[: 2 * outputs] = torch.cat([weight, -weight]), torch.cat([bias, -bias])
    out[:, : 2 * outputs] = torch.cat([torch.eye(outputs), -torch.eye(outputs)], dim=1)
    head = {"dense.weight": dense, "dense.bias": dense_bias, "out_proj.weight": out}
    return {f"classifier.{name}": value for name, value in head.items()} | {"classifier.out_proj.bias": 0 * bias}


def as_tower(reader: TowerReader) -> Tower:
    """A tower with the reader's embeddings and encoder, and a fresh head."""
    tower = Tower.detection(reader.config, build_embeddings(reader.config))
    tower.embeddings, tower.encoder = reader.embeddings, reader.encoder
    return tower
