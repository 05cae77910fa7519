"""The model card of an exported folder: its README.md, as the Hugging Face Hub reads it."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from electra.errors import UserError
from electra.interchange.huggingface import CARD_FILE
from electra.interchange.views import ModelView
from electra.tokenization.settings import read_settings
from electra.workflows.exporting.facts import describe_model
from electra.workflows.exporting.loading import Loading, describe_loading

LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]*")
SHORTENED = """
## Layers

The lowest {} of {} layers. The head, and the norm before it if there is one, were trained on the states of the last of
all: fine-tune them, or take the states of `AutoModel`.
"""
LIMITS = {
    "pretraining": "It was trained to tell which words fit, and for no task: what it says of a word is no judgement of "
    "a text. Fine-tune it before you use it for one.",
    "encoder": "Its vectors were trained for no task. Compare or cluster texts by them only after training for that, "
    "and measure it on data of your own.",
    "mlm": "It continues what it has read, also where that is wrong or hurtful.",
    "finetuned": "The figures above are of this task's data. Measure it on data of your own before you rely on it.",
}
POOLERLESS = (
    " It is written as a BertModel, which more programs know. It has no pooler: `pooler_output` would be made of fresh "
    "weights."
)


@dataclass(frozen=True)
class CardSettings:
    """What a person says of an exported model. ``out``: the name of the folder that was asked for; ``push``: ORG/NAME
    of the Hub, empty if it stays here."""

    format: str
    out: str
    push: str = ""
    licence: str = ""
    languages: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.licence and not LICENCE.fullmatch(self.licence):
            raise UserError(f"licence {self.licence!r}: expected an identifier of the Hub's, such as apache-2.0 or mit")

    def format_address(self, name: str) -> str:
        """Code that lets ``folder`` be where the model is, which lies in the folder ``name`` of ``out``."""
        if not self.push:
            return f'folder = "{self.out}{f"/{name}" if name else ""}"  # where this file lies\n\n'
        within = f' + "/{name}"' if name else ""
        return f'from huggingface_hub import snapshot_download\n\nfolder = snapshot_download("{self.push}"){within}\n\n'


def write_card(what: ModelView, settings: CardSettings, name: str, folder: Path) -> None:
    """Write the README.md of the model that lies in ``folder``, which becomes the folder ``name`` of ``out`` or,
    without a name, ``out`` itself. What the format's module wrote there as README.md becomes a part of it.

    Raises:
        UserError: as ``describe_model``.
    """
    loading = describe_loading(settings.format, what, folder)
    code = settings.format_address(name) + loading.code
    config = read_settings(what.folder / "config.json")
    sections = [format_front_matter(loading, settings), f"# {describe_briefly(what, config)}\n"]
    sections += [f"\nWritten by `electra export`.\n\n## How to load\n\n```python\n{code}```\n"]
    card = folder / CARD_FILE
    sections += [card.read_text(encoding="utf-8")] if card.is_file() else []
    sections += [describe_model(what)]
    if what.keep_layers:
        sections += [SHORTENED.format(what.keep_layers, config.get("num_hidden_layers"))]
    poolerless = POOLERLESS if loading.model_class == "BertModel" else ""
    sections += [f"\n## Limits\n\n{LIMITS[what.view]}{poolerless}\n"]
    licence = settings.licence or "None was given: ask whoever shares this model, and mind that of its data."
    card.write_text("".join([*sections, f"\n## Licence\n\n{licence}\n"]), encoding="utf-8")


def format_front_matter(loading: Loading, settings: CardSettings) -> str:
    """The YAML between two rules at the top. Its values are JSON, which YAML reads."""
    values: dict[str, object] = {"license": settings.licence, "language": list(settings.languages)}
    values |= {"library_name": loading.library, "tags": ["electra", *loading.tags], "pipeline_tag": loading.task}
    lines = "".join(f"{key}: {json.dumps(value)}\n" for key, value in values.items() if value)
    return f"---\n{lines}---\n"


def describe_briefly(what: ModelView, config: dict[str, object]) -> str:
    """The title: which model, of which size."""
    sizes = f"{what.keep_layers or config.get('num_hidden_layers')} layers, {config.get('hidden_size')} wide"
    return f"{what.name}: {config.get('model_type')}, {sizes}, {config.get('vocab_size')} word pieces"


def format_index(names: Iterable[str], settings: CardSettings) -> str:
    """The text of the README.md beside several models, each of which has a card of its own."""
    licence = f'license: "{settings.licence}"\n' if settings.licence else ""
    lines = "".join(f"- [{name}]({name}/README.md)\n" for name in names)
    return f'---\n{licence}tags: ["electra"]\n---\n# {settings.push or settings.out}\n\nThe models of a run:\n\n{lines}'
