"""Predictions for others to judge: for GLUE's server a zip with a TSV for each task, for SQuAD's script a JSON."""

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from electra.errors import convert_errors
from electra.files import write_whole
from electra.tasks.answers import AnswerPrediction, select_answers
from electra.tasks.datasets.glue import GLUE_TASKS


def format_submission(task: str, predictions: Mapping[str, Sequence[str | float]]) -> dict[str, str]:
    """File name → content, for the splits of a task that the server judges. ``predictions``: by split and row."""
    return {
        name: "index\tprediction\n"
        + "".join(f"{row}\t{format_prediction(value)}\n" for row, value in enumerate(predictions[split]))
        for split, name in GLUE_TASKS[task].submission.items()
        if split in predictions
    }


def format_prediction(value: str | float) -> str:
    """A class by its name; a score, cut to STS-B's range of 0 to 5, with three digits."""
    return f"{min(max(value, 0.0), 5.0):.3f}" if isinstance(value, float) else str(value)


def write_submission(path: Path, content: Mapping[str, str]) -> None:
    """Write a zip of files (name → content), whole or not at all. Raises ``UserError`` if it cannot be written."""
    with (
        convert_errors(str(path), OSError),
        write_whole(path) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name, text in sorted(content.items()):
            archive.writestr(name, text)


def write_squad_answers(path: Path, predictions: Sequence[AnswerPrediction], threshold: float) -> None:
    """Write question id → text as JSON, "" if no answer scores better by more than ``threshold``.

    Raises:
        UserError: the file cannot be written.
    """
    answers = json.dumps(select_answers(predictions, threshold), ensure_ascii=False)
    with convert_errors(str(path), OSError), write_whole(path) as file:
        file.write_text(answers, encoding="utf-8")
