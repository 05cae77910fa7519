"""What is asked of every module here that writes a model for other programs, each in a format of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from electra.interchange.folders import TOWERS

# pretraining: a tower with the head that it was trained with. encoder: without any head. mlm: with a head for masked
# tokens. finetuned: with the head of a task.
View = Literal["pretraining", "encoder", "mlm", "finetuned"]


@dataclass(frozen=True)
class ModelView:
    """A model as it is to be written. ``folder`` holds it with its tokenizer: a tower of ours, or what was fine-tuned.

    ``keep_layers``: how many of its layers, the lowest; 0: all.
    """

    folder: Path
    view: View
    keep_layers: int = 0

    @property
    def name(self) -> str:
        """What the model is in words: the tower's name, if it is one of a run's."""
        return self.folder.name if self.folder.name in TOWERS else "model"


# It fills a folder, new and empty but for ``electra.json``, and returns lines for the person who asked: what was
# measured of what it wrote. A README.md that it writes becomes a part of the model card. It raises UserError for a view
# that the format does not have.
Exporter = Callable[[ModelView, Path], list[str]]
