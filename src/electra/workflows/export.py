"""``electra export``: a run's towers, or what was fine-tuned, as folders that other programs load."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError

from electra import files
from electra.config import check_ranges
from electra.errors import UserError, convert_errors
from electra.interchange import huggingface_export, onnx
from electra.interchange.huggingface import CARD_FILE, MODEL_KIND
from electra.interchange.onnx import OnnxConfig
from electra.interchange.views import Exporter, ModelView, View
from electra.ranges import CountOrZero
from electra.workflows.exporting import sentences
from electra.workflows.exporting.card import CardSettings, format_index, write_card
from electra.workflows.exporting.push import check_push, push_folder
from electra.workflows.exporting.sentences import SentenceTransformersConfig
from electra.workflows.exporting.sources import find_views

Format = Literal["hf", "onnx", "sentence-transformers"]
# Of towers; what was fine-tuned is written with its head.
DEFAULT_VIEWS: dict[Format, View] = {"hf": "pretraining", "onnx": "encoder", "sentence-transformers": "encoder"}


@dataclass(frozen=True)
class ExportConfig:
    """Write a model as other programs load it: with weights, tokenizer and a model card.

    A run has towers: the encoder that it was for, and those that trained with it. What `electra finetune` wrote has the
    best seed's model.
    """

    run: str = ""
    """Run folder, any folder with discriminator/ and generator/, or what `electra finetune` wrote: its --out, the
    folder of a task or of a seed."""
    out: str = ""
    """Folder to write: the model itself, or discriminator/ and generator/ with --as pretraining."""
    format: Format = "hf"
    """hf: what Hugging Face's AutoModel and AutoTokenizer load. onnx: a graph for ONNX Runtime and its like,
    which need no torch. sentence-transformers: what SentenceTransformer loads, an encoder whose states become one
    vector for each text."""
    as_: Literal["auto", View] = "auto"
    """pretraining: each tower with the head that it was trained with, in a folder of its own. encoder: the encoder
    without a head. mlm: the tower that predicts masked tokens. finetuned: with the head of the task. auto: finetuned
    for what was fine-tuned; for a run, pretraining with --format hf, and the encoder with the others."""
    keep_layers: CountOrZero = 0
    """Keep so many of the layers, the lowest; of a run's towers, those of the first alone. The norm after the last
    layer, which modern encoders have, then follows the last one kept. 0: all."""
    licence: str = ""
    """The licence of the weights for the model card, as the Hub spells it: apache-2.0, mit … Empty: none is given, and
    the card says so."""
    language: tuple[str, ...] = ()
    """The languages of the texts for the model card: en, de …"""
    push: str = ""
    """ORG/NAME: put the folder on the Hugging Face Hub too, when it is written, with the token of `hf auth login` or
    HF_TOKEN."""
    private: bool = False
    """Let nobody else see the repository that --push makes."""
    # The settings of a format are a class of its module, and a field here that is named like the format.
    onnx: OnnxConfig = field(default_factory=OnnxConfig)
    sentence_transformers: SentenceTransformersConfig = field(default_factory=SentenceTransformersConfig)


def choose_exporter(config: ExportConfig) -> Exporter:
    """What writes the format, with the settings that it has: ``partial(module.fill_folder, settings=config.…)``."""
    exporters: dict[Format, Exporter] = {
        "hf": huggingface_export.fill_folder,
        "onnx": partial(onnx.fill_folder, settings=config.onnx),
        "sentence-transformers": partial(sentences.fill_sentences_folder, settings=config.sentence_transformers),
    }
    return exporters[config.format]


def export(config: ExportConfig) -> Path:
    """Write the model, or a folder for each tower, into ``out``, all of it or nothing, and return ``out``.

    Raises:
        UserError: a run that is not finished, a folder that holds something, a view that the run or the format does not
            have, a model of fewer layers, or settings of another format; or it could not be pushed, and then ``out``
            is there.
    """
    check_ranges(config)
    refuse_other_settings(config)
    if not config.run or not config.out:
        raise UserError("what and where? electra export RUN --out FOLDER")
    run, out, fill_folder = Path(config.run), Path(config.out), choose_exporter(config)
    view = None if config.as_ == "auto" else config.as_
    views = find_views(run, view, config.keep_layers, DEFAULT_VIEWS[config.format])
    refuse_taken(out, views)
    settings = CardSettings(config.format, out.name, config.push, config.licence, config.language)
    if config.push:
        check_push(config.push)
    views, lines = sentences.choose_depths(views, config.sentence_transformers)
    with convert_errors(str(out), OSError, SafetensorError), files.write_whole_folder(out, "export") as whole:
        for name, what in views.items():
            with make_folder(whole, name) as folder:
                lines += fill_folder(what, folder)
                write_card(what, settings, name, folder)
        if "" not in views:
            (whole / CARD_FILE).write_text(format_index(views, settings), encoding="utf-8")
    print(*(f"{out / name}: {what.name}, as {what.view}" for name, what in views.items()), *lines, sep="\n")
    if config.push:
        print(f"pushed: {push_folder(out, config.push, config.private)}")
    return out


def refuse_other_settings(config: ExportConfig) -> None:
    """Raise ``UserError`` if settings are changed that are those of another format than is written."""
    for each in fields(config):
        value, name = getattr(config, each.name), each.name.replace("_", "-")
        changed = is_dataclass(value) and not isinstance(value, type) and value != type(value)()
        if changed and name != config.format:
            raise UserError(f"--{name}.…: settings of --format {name}, and this is --format {config.format}")


def refuse_taken(out: Path, names: Mapping[str, ModelView]) -> None:
    """Raise ``UserError`` if ``out`` holds something, or one of the folders to write."""
    for name in filter(None, names):
        if (out / name).exists():
            raise UserError(f"{out / name}: is there already; choose another --out")
    if not files.is_vacant(out):
        raise UserError(f"{out}: holds something already; choose another --out")


@contextmanager
def make_folder(whole: Path, name: str) -> Iterator[Path]:
    """Give the folder of one model to fill: one of this name within ``whole``, or ``whole`` itself."""
    if not name:
        yield whole
        return
    with files.write_whole_folder(whole / name, MODEL_KIND) as folder:
        yield folder
