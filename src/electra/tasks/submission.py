"""Predictions as others judge them: for GLUE's server a zip with a TSV for each task, for SQuAD's script a JSON."""

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from electra.errors import convert_errors
from electra.files import write_whole
from electra.tasks import answers
from electra.tasks.datasets.glue import GLUE_TASKS


def format_submission(task: str, predictions: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """File name → content, for the splits of a task that the server judges."""
    return {
        name: "index\tprediction\n"
        + "".join(f"{row}\t{format_prediction(value)}\n" for row, value in enumerate(predictions[split]))
        for split, name in GLUE_TASKS[task].submission.items()
        if split in predictions
    }


def format_prediction(value: Any) -> str:
    """A label by its name; a score of STS-B, which is from 0 to 5, with three digits."""
    return f"{min(max(value, 0.0), 5.0):.3f}" if isinstance(value, float) else str(value)


def write_submission(path: Path, content: Mapping[str, str]) -> None:
    """Write the zip whole. Raises ``UserError`` if the disk does not take it."""
    with (
        convert_errors(str(path), OSError),
        write_whole(path) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name, text in sorted(content.items()):
            archive.writestr(name, text)


def write_squad_answers(path: Path, predictions: Sequence[Mapping[str, Any]], threshold: float) -> None:
    """Write id → text, "" where no answer scores better by more than ``threshold``."""
    with convert_errors(str(path), OSError), write_whole(path) as file:
        file.write_text(
            json.dumps(answers.select_answers(predictions, threshold), ensure_ascii=False), encoding="utf-8"
        )
