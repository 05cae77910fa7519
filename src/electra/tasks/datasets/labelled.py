"""A task of one's own: texts or pairs with classes, scores or labels, from files with named columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from electra.errors import UserError
from electra.tasks.datasets.records import Record, get_field_text, read_records
from electra.tasks.datasets.samples import Kind, Label, Sample, Task

MOST_CLASSES = 200  # different labels; more look like scores, or like a column of texts
METRICS_OF_KIND: Mapping[Kind, tuple[str, ...]] = {
    "class": ("accuracy", "macro-f1"),
    "score": ("spearman", "pearson"),
    "labels": ("micro-f1", "macro-f1", "accuracy"),
}


@dataclass(frozen=True)
class Columns:
    """What stands where. ``separator``: between the labels of a sample that may have several."""

    text: str = "text"
    pair: str = ""
    label: str = "label"
    separator: str = ","


def load_labelled(
    name: str, files: Mapping[str, Path], columns: Columns, kind: Kind | Literal["auto"] = "auto"
) -> Task:
    """The task in a file for each split; its labels are those of the train split, sorted. test need not have labels.

    ``auto``: score if the train split has numbers with a fraction, else class.

    Raises:
        UserError: a file that cannot be read, a column that is not there, a row without a field, a label that the train
            split does not have, or one that is no number where numbers are wanted.
    """
    rows = {split: list(read_records(path)) for split, path in files.items()}
    for split, records in rows.items():
        if not records:
            raise UserError(f"{files[split]}: no rows")
    train_labels = [get_field_text(record, columns.label, where) for where, record in rows["train"]]
    kind = guess_kind(train_labels) if kind == "auto" else kind
    labels = () if kind == "score" else collect_labels(train_labels, kind, columns, files["train"])

    def build_sample(record: Record, where: str, labelled: bool) -> Sample:
        text = get_field_text(record, columns.text, where)
        pair = get_field_text(record, columns.pair, where) if columns.pair else None
        if not labelled:
            return Sample(text, pair)
        return Sample(
            text, pair, parse_label(get_field_text(record, columns.label, where), kind, labels, columns, where)
        )

    splits = {
        split: [build_sample(record, where, split != "test" or columns.label in record) for where, record in records]
        for split, records in rows.items()
    }
    return Task(name, kind, labels, METRICS_OF_KIND[kind], splits)


def guess_kind(labels: Sequence[str]) -> Kind:
    """score if all labels are numbers and one has a fraction, else class."""
    try:
        return "score" if any(float(label) != int(float(label)) for label in labels) else "class"
    except ValueError:
        return "class"


def collect_labels(labels: Sequence[str], kind: Kind, columns: Columns, path: Path) -> tuple[str, ...]:
    """The different labels of a file, sorted. Raises ``UserError`` for fewer than two classes, or too many labels."""
    names = {part for label in labels for part in (split_labels(label, columns) if kind == "labels" else [label])}
    if kind == "class" and len(names) < 2:
        raise UserError(
            f"{path}: all rows have the {columns.label} {next(iter(names))!r}; there is nothing to tell apart"
        )
    if len(names) > MOST_CLASSES:
        raise UserError(
            f"{path}: {len(names)} different values under {columns.label!r}; is that the column of the labels? For "
            "numbers to be predicted say --kind score"
        )
    return tuple(sorted(names))


def split_labels(label: str, columns: Columns) -> list[str]:
    """The labels in one field, without the spaces around them."""
    return [part.strip() for part in label.split(columns.separator) if part.strip()]


def parse_label(label: str, kind: Kind, labels: Sequence[str], columns: Columns, where: str) -> Label:
    """A field as a class's number, a score, or 0 or 1 for each of ``labels``.

    Raises:
        UserError: a score that is no number, or a label that is not among ``labels``.
    """
    if kind == "score":
        try:
            return float(label)
        except ValueError as error:
            raise UserError(f"{where}: {columns.label} {label!r} is no number") from error
    parts = split_labels(label, columns) if kind == "labels" else [label]
    for part in parts:
        if part not in labels:
            raise UserError(
                f"{where}: {columns.label} {part!r}, which no row of the train split has ({', '.join(labels)})"
            )
    return tuple(float(name in parts) for name in labels) if kind == "labels" else labels.index(label)
