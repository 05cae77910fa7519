"""Fine-tuned models as Hugging Face folders: whole ones for transformers' classes, or an encoder with the head beside.

A head that is one of transformers' classes' is saved within its model, so that ``pipeline`` gives our predictions. The
paper's other heads are saved as ``head.safetensors`` beside an encoder that ``AutoModel`` loads.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import save_file
from torch import Tensor, nn

from electra import files
from electra import tokenization as vocabularies
from electra.errors import convert_errors
from electra.interchange.encoders import (
    TowerReader,
    TransformersReader,
    WholeModelReader,
    load_with_transformers,
    quiet_transformers,
)
from electra.interchange.huggingface import MODEL_KIND, TOKENIZER_FILES
from electra.interchange.huggingface_names import tensor_names
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower

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
    """What transformers wants to know of a task. ``labels``: empty for a score, and for answers within a text."""

    model: HeadKind
    labels: tuple[str, ...] = ()
    problem_type: ProblemType = ""


def load_whole_model(folder: Path, task: HeadSpec) -> WholeModelReader:
    """The encoder in ``folder`` in transformers' class for a task, its head fresh if the folder has none."""
    return WholeModelReader(load_with_transformers(folder, AUTO_CLASSES[task.model], **head_settings(task)))


def head_settings(task: HeadSpec) -> dict[str, Any]:
    """What a config says of a task."""
    outputs = len(task.labels) or (2 if task.model == "question-answering" else 1)  # starts and ends; a score
    names = dict(enumerate(task.labels)) or {index: f"LABEL_{index}" for index in range(outputs)}
    said: dict[str, Any] = {"id2label": names, "label2id": {name: index for index, name in names.items()}}
    return said | ({"problem_type": task.problem_type} if task.problem_type else {})


def save_finetuned(
    folder: Path, source: Path, reader: TowerReader | TransformersReader, head: nn.Module, task: HeadSpec
) -> bool:
    """Write ``folder`` whole, with the tokenizer of ``source``, the folder that the encoder came from; whether
    transformers' class for the task loads all of it.

    ``head``: its parameters' names are transformers' own where that class has such a head.

    Raises:
        UserError: something else is there, or the disk does not take the files.
    """
    with (
        quiet_transformers(),
        convert_errors(str(folder), OSError),
        files.write_whole_folder(folder, MODEL_KIND) as partial,
    ):
        known = isinstance(reader, WholeModelReader)
        if isinstance(reader, TowerReader):
            known = save_tower_reader(partial, source, reader, head, task)
        else:
            reader.model.save_pretrained(partial)
        if not known:
            save_file(head_parameters(head), partial / HEAD_FILE)
            (partial / HEAD_SETTINGS_FILE).write_text(json.dumps({"model": task.model} | head_settings(task), indent=1))
        for name in TOKENIZER_FILES:
            if (source / name).exists():
                shutil.copyfile(source / name, partial / name)
    return known


def save_tower_reader(folder: Path, source: Path, reader: TowerReader, head: nn.Module, task: HeadSpec) -> bool:
    """Write the model; whether the head is in it."""
    import transformers

    vocabularies.refuse_code(source)
    config = transformers.AutoConfig.from_pretrained(source, local_files_only=True, trust_remote_code=False)
    prefix, tensors = encoder_tensors(reader)
    own = head_parameters(head)
    for name, value in head_settings(task).items():
        setattr(config, name, value)
    if reader.family == "modern":
        config.classifier_pooling = "cls"
    theirs = getattr(transformers, AUTO_CLASSES[task.model]).from_config(config, trust_remote_code=False)
    if theirs.state_dict().keys() == tensors.keys() | own.keys():
        theirs.load_state_dict(tensors | own)
        theirs.save_pretrained(folder)
        return True
    bare = transformers.AutoModel.from_config(config, trust_remote_code=False)
    bare.load_state_dict({name.removeprefix(prefix): value for name, value in tensors.items()})
    bare.save_pretrained(folder)
    return False


def head_parameters(head: nn.Module) -> dict[str, Tensor]:
    """A head's parameters by the names that they have in its ``body``."""
    return {name.removeprefix("body."): value.detach().cpu().clone() for name, value in head.named_parameters()}


def encoder_tensors(reader: TowerReader) -> tuple[str, dict[str, Tensor]]:
    """What transformers' classes call their encoder, and its tensors."""
    tower = Tower.detection(reader.config, build_embeddings(reader.config))
    tower.embeddings, tower.encoder = reader.embeddings, reader.encoder
    prefix = "electra." if reader.family == "classic" else "model."
    values, tensors = dict(tower.named_parameters()), dict[str, Tensor]()
    for ours, names in tensor_names(tower).items():
        if not ours.startswith("head."):
            parts = values[ours].detach().cpu().chunk(len(names))
            tensors |= {name: part.clone() for name, part in zip(names, parts, strict=True)}
    return prefix, tensors
