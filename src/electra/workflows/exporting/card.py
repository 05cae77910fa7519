"""The model card of an exported folder: its README.md."""

from electra.interchange.huggingface import CARD_FILE
from electra.interchange.views import ModelView
from electra.tokenization import read_settings

SHORTENED = """
## Layers

The lowest {} of {} layers. The head, and the norm before it if there is one, were trained on the states of the last of
all: fine-tune them, or take the states of `AutoModel`.
"""


def format_card(what: ModelView) -> str:
    """The card that the model has already, and which layers were kept."""
    card = what.folder / CARD_FILE
    text = card.read_text(encoding="utf-8") if card.exists() else ""
    if what.keep_layers:
        layers = read_settings(what.folder / "config.json").get("num_hidden_layers")
        text += SHORTENED.format(what.keep_layers, layers)
    return text
