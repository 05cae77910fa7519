"""How what was exported is loaded: the code on its model card, and the words by which the Hub files it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from electra.interchange.finetuned import HEAD_FILE, HEAD_SETTINGS_FILE
from electra.interchange.onnx import GRAPH_FILE
from electra.interchange.views import ModelView
from electra.tokenization.settings import read_settings

TEXT = "The chef ate the meal."


@dataclass(frozen=True)
class Loading:
    """``library`` and ``task`` are the Hub's library_name and pipeline_tag. ``code`` loads the model that lies in
    ``folder``, and runs as it stands."""

    library: str
    task: str
    code: str
    tags: tuple[str, ...] = ()
    model_class: str = ""


PIPELINES = {
    "MaskedLM": "fill-mask",
    "SequenceClassification": "text-classification",
    "TokenClassification": "token-classification",
}


def describe_transformers(what: ModelView, folder: Path) -> Loading:
    """For a folder that transformers loads: with a pipeline or the class for the head that config.json names."""
    (model_class,) = read_settings(folder / "config.json")["architectures"]
    ending = model_class.partition("For")[2]
    detects = what.view == "pretraining" and ending != "MaskedLM"
    tags = ("replaced-token-detection",) if detects else ()
    if task := PIPELINES.get(ending):
        code = read_with_pipeline(task, choose_text(task, folder))
        return Loading("transformers", task, code, tags, model_class)
    if ending == "QuestionAnswering":
        code = read_with_class("AutoModelForQuestionAnswering", f'"Who ate?", "{TEXT}"', "start_logits")
        return Loading("transformers", "question-answering", code, tags, model_class)
    if ending == "PreTraining":
        code = read_with_class("AutoModelForPreTraining", f'"{TEXT}"', "logits.sigmoid()")
        return Loading("transformers", "", code, tags, model_class)
    code = read_with_class("AutoModel", f'"{TEXT}"', "last_hidden_state")
    if (folder / HEAD_FILE).is_file():
        code += f"# The head's tensors are in {HEAD_FILE}, its labels in {HEAD_SETTINGS_FILE}.\n"
    return Loading("transformers", "feature-extraction", code, tags, model_class)


def read_with_pipeline(task: str, text: str) -> str:
    """Code that reads a text with a pipeline of transformers'."""
    return f'from transformers import pipeline\n\nprint(pipeline("{task}", folder)("{text}"))\n'


def read_with_class(auto: str, texts: str, output: str) -> str:
    """Code that reads what is in ``texts``, one or two strings, with one of transformers' ``Auto…`` classes."""
    return (
        f"import torch\nfrom transformers import {auto}, AutoTokenizer\n\n"
        f"tokenizer, model = AutoTokenizer.from_pretrained(folder), {auto}.from_pretrained(folder).eval()\n"
        f'batch = tokenizer({texts}, truncation=True, return_tensors="pt")\n'
        f"with torch.no_grad():\n    print(model(**batch).{output})\n"
    )


def choose_text(task: str, folder: Path) -> str:
    """A text for the example: with a mask, if masked tokens are to be guessed."""
    mask = read_settings(folder / "tokenizer_config.json").get("mask_token")
    return TEXT.replace("chef", str(mask)) if task == "fill-mask" else TEXT


ONNX_CODE = """import numpy as np
import onnxruntime
from tokenizers import Tokenizer

session = onnxruntime.InferenceSession(folder + "/{graph}")
text = Tokenizer.from_file(folder + "/tokenizer.json").encode("{text}")
columns = {{"input_ids": text.ids, "attention_mask": text.attention_mask, "token_type_ids": text.type_ids}}
print(session.run(None, {{each.name: np.array([columns[each.name]]) for each in session.get_inputs()}}))
"""


def describe_onnx(what: ModelView, folder: Path) -> Loading:
    """For a folder with a graph: what the model is for is what it is for in transformers."""
    theirs = describe_transformers(what, folder)
    code = ONNX_CODE.format(graph=GRAPH_FILE, text=choose_text(theirs.task, folder))
    return Loading("onnx", theirs.task, code, (*theirs.tags, "onnx"), theirs.model_class)


def describe_sentence_transformers(what: ModelView, folder: Path) -> Loading:
    """For a folder that sentence-transformers loads."""
    code = (
        "from sentence_transformers import SentenceTransformer\n\n"
        f'print(SentenceTransformer(folder).encode(["{TEXT}", "A meal was eaten."]))\n'
    )
    (model_class,) = read_settings(folder / "config.json")["architectures"]
    return Loading("sentence-transformers", "sentence-similarity", code, ("feature-extraction",), model_class)


# Each format has a function here: (the model, the folder that was filled) → Loading.
LOADINGS: dict[str, Callable[[ModelView, Path], Loading]] = {
    "hf": describe_transformers,
    "onnx": describe_onnx,
    "sentence-transformers": describe_sentence_transformers,
}


def describe_loading(format: str, what: ModelView, folder: Path) -> Loading:
    """How the model in ``folder``, which was written in a format, is loaded."""
    return LOADINGS[format](what, folder)
