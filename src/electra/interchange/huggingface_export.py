"""Models as folders that Hugging Face's ``Auto…`` classes load: towers, bare encoders, fine-tuned models."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from transformers import BertConfig, PretrainedConfig

from electra.errors import UserError
from electra.interchange import huggingface
from electra.interchange.encoders import LAYER_NUMBER, count_unused_positions
from electra.interchange.finetuned import AUTO_CLASSES, HEAD_FILE, HEAD_SETTINGS_FILE
from electra.interchange.folders import WEIGHTS_FILE
from electra.interchange.huggingface_names import CLASSIC_KEYS, transformers_config
from electra.interchange.spellings import complete_config
from electra.interchange.tokenizer_files import write_tokenizer
from electra.interchange.transformers_models import load_with_transformers, quiet_transformers
from electra.interchange.views import ModelView, View
from electra.model.config import ClassicConfig
from electra.model.encoder import Tower
from electra.tokenization.settings import read_settings

POOLER = "pooler."  # how the names of tensors begin that BertModel has and no encoder needs


def fill_folder(what: ModelView, folder: Path) -> list[str]:
    """Write config.json, model.safetensors and the tokenizer into ``folder``; returns no lines.

    Raises:
        UserError: as ``huggingface.load_tower``, ``load_with_transformers`` and ``write_tokenizer``; too few layers.
    """
    WRITERS[what.view](what, folder)
    return []


def write_tower(what: ModelView, folder: Path) -> None:
    """Write a tower with its head."""
    tower = load_shortened(what)
    huggingface.fill_tower_folder(folder, tower, what.folder, huggingface.read_objective(what.folder))


def write_encoder(what: ModelView, folder: Path) -> None:
    """Write an encoder without a head: a tower's as ElectraModel, BertModel or ModernBertModel; any other as
    ``AutoModel`` loads it."""
    if not huggingface.is_tower(what.folder):
        write_with_transformers(what, folder, "AutoModel")
        return
    tower = load_shortened(what)
    config = bare_config(tower)
    config.save_pretrained(folder)
    save_tokenizer(what.folder, folder, config)
    prefix, tensors = huggingface.encoder_tensors(tower)
    bare = {name.removeprefix(prefix): value for name, value in tensors.items()}
    save_file(bare, folder / WEIGHTS_FILE, {"format": "pt"})


def write_finetuned(what: ModelView, folder: Path) -> None:
    """Write a fine-tuned model in the class that it was saved in; the paper's heads beside it, as they are."""
    write_with_transformers(what, folder, find_auto_class(what.folder))
    for name in (HEAD_FILE, HEAD_SETTINGS_FILE):
        if (what.folder / name).exists():
            shutil.copyfile(what.folder / name, folder / name)


WRITERS: dict[View, Callable[[ModelView, Path], None]] = {
    "pretraining": write_tower,
    "mlm": write_tower,
    "encoder": write_encoder,
    "finetuned": write_finetuned,
}


def load_shortened(what: ModelView) -> Tower:
    """The tower, with the layers that are kept. Raises ``UserError`` as ``load_tower`` and ``Tower.keep_layers``."""
    tower = huggingface.load_tower(what.folder)
    if what.keep_layers:
        tower.keep_layers(what.keep_layers)
    return tower


def bare_config(tower: Tower) -> PretrainedConfig:
    """The config of a tower's encoder alone. A classic one without a projection is a BERT: more programs know that."""
    config = transformers_config(tower)
    if isinstance(tower.config, ClassicConfig) and tower.config.embedding_size == tower.config.hidden_size:
        sizes = {key: getattr(config, key) for key in CLASSIC_KEYS.values() if key != "embedding_size"}
        config = BertConfig(**sizes, pad_token_id=None, dtype="float32")
    config.architectures = [{"bert": "BertModel", "electra": "ElectraModel"}.get(config.model_type, "ModernBertModel")]
    return config


def find_auto_class(folder: Path) -> str:
    """The ``Auto…`` class for the head of the model in a folder; ``AutoModel`` if it has none of those we save."""
    classes = read_settings(folder / "config.json").get("architectures") or [""]
    ending = str(classes[0]).partition("For")[2]
    return next((auto for auto in AUTO_CLASSES.values() if auto == f"AutoModelFor{ending}"), "AutoModel")


def write_with_transformers(what: ModelView, folder: Path, auto: str) -> None:
    """Write a model as one of transformers' ``Auto…`` classes loads it, without weights that the class makes anew.

    Raises:
        UserError: the folder has not all of its weights, but for a pooler's, or others, or some of another shape.
    """
    told = {"output_loading_info": True, "ignore_mismatched_sizes": True}  # which are refused here, by their names
    model, report = load_with_transformers(what.folder, auto, what.keep_layers, **told)
    missing = set(report["missing_keys"])
    unknown = {name for name in report["unexpected_keys"] if not is_left_out(name, what)}
    for word, names in (("missing", {name for name in missing if not name.startswith(POOLER)}), ("unknown", unknown)):
        if names:
            raise UserError(f"{what.folder / WEIGHTS_FILE}: {word} tensors: {huggingface.shorten_list(names)}")
    for name, found, expected in report["mismatched_keys"]:
        raise UserError(f"{what.folder / WEIGHTS_FILE}: {name}: found {list(found)}, expected {list(expected)}")
    with quiet_transformers():
        tensors = {name: value for name, value in model.state_dict().items() if name not in missing}
        model.save_pretrained(folder, state_dict=tensors)
    save_tokenizer(what.folder, folder, model.config, count_unused_positions(model))


def is_left_out(name: str, what: ModelView) -> bool:
    """Whether a tensor of the folder belongs to a layer that is not kept, or to a head that is not wanted."""
    layer = LAYER_NUMBER.search(name)
    if layer:
        return bool(what.keep_layers) and int(layer[1]) >= what.keep_layers
    return what.view == "encoder"


def save_tokenizer(source: Path, folder: Path, config: Any, unused: int = 0) -> None:
    """Write the tokenizer of ``source``, which goes on cutting texts where it did, and complete config.json.

    ``unused``: how many of the model's positions no text has.
    """
    longest = read_settings(source / "tokenizer_config.json").get("model_max_length")
    most = config.max_position_embeddings - unused
    cut = min(longest, most) if longest else most
    segments = getattr(config, "type_vocab_size", 0) > 1
    complete_config(folder, write_tokenizer(source, folder, config.vocab_size, cut, segments))
