"""The figures of an evaluation as a file: what `electra evaluate --out` writes, and `electra report` shows."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from electra import files
from electra.errors import UserError, convert_errors
from electra.run_folder import read_json, write_json
from electra.strict_json import require_shape

SIGN = b'"holds": "electra evaluation"'  # by which a file of ours is known


@dataclass(frozen=True)
class Evaluation:
    """What was evaluated, as it was asked, and the figures: model → figure → value. They may not be finite."""

    holds: Literal["electra evaluation"]
    format: Literal[1]
    task: str
    data: str
    rows: int
    limit: int
    scores: dict[str, dict[str, float]]


def write_evaluation(path: Path, evaluation: Evaluation) -> None:
    """Write an evaluation, whole or not at all. Only a file of ours is replaced.

    Raises:
        UserError: another file is there, or the disk does not take it.
    """
    files.refuse_foreign_file(path, SIGN)
    with convert_errors(str(path), OSError, ValueError):
        write_json(path, asdict(evaluation), indent=1)


def read_evaluation(path: Path) -> Evaluation:
    """An evaluation read back. Raises ``UserError`` for a file that is not as ``write_evaluation`` wrote it."""
    content: Mapping[str, Any] = read_json(path, "evaluate again")
    if content.get("holds") != "electra evaluation":
        raise UserError(f"{path}: no evaluation; `electra evaluate … --out {path.name}` writes one")
    return require_shape(content, Evaluation, f"{path}: damaged; evaluate again")
