"""A task of one's own, from .csv, .tsv, .jsonl or .parquet files with named columns."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from electra.errors import UserError
from electra.tasks.datasets.samples import Kind, Label, Sample, Task

MOST_CLASSES = 200  # different labels; more look like scores, or like a column of texts
METRICS: Mapping[Kind, tuple[str, ...]] = {
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
    """The task in a file for each split; its labels are those of the train split, in order.

    ``auto``: numbers with a fraction are scores, all else classes.

    Raises:
        UserError: a file that cannot be read, a column that is not there, a row without a field, a label that the train
            split does not have, or one that is no number where numbers are wanted.
    """
    rows = {split: list(read_records(path)) for split, path in files.items()}
    for split, found in rows.items():
        if not found:
            raise UserError(f"{files[split]}: no rows")
    train = [get_field_text(record, columns.label, where) for where, record in rows["train"]]
    kind = guess_kind(train) if kind == "auto" else kind
    labels = () if kind == "score" else collect_labels(train, kind, columns, files["train"])
    splits = {
        split: [
            Sample(
                get_field_text(record, columns.text, where),
                get_field_text(record, columns.pair, where) if columns.pair else None,
                parse_label(get_field_text(record, columns.label, where), kind, labels, columns, where)
                if columns.label in record or split != "test"
                else None,
            )
            for where, record in found
        ]
        for split, found in rows.items()
    }
    return Task(name, kind, labels, METRICS[kind], splits)


def guess_kind(labels: Sequence[str]) -> Kind:
    """What labels seem to be."""
    try:
        return "score" if any(float(label) != int(float(label)) for label in labels) else "class"
    except ValueError:
        return "class"


def collect_labels(labels: Sequence[str], kind: Kind, columns: Columns, path: Path) -> tuple[str, ...]:
    """The labels that there are. Raises ``UserError`` for fewer than two classes, or too many."""
    found = {part for label in labels for part in (split_labels(label, columns) if kind == "labels" else [label])}
    if kind == "class" and len(found) < 2:
        raise UserError(
            f"{path}: all rows have the {columns.label} {next(iter(found))!r}; there is nothing to tell apart"
        )
    if len(found) > MOST_CLASSES:
        raise UserError(
            f"{path}: {len(found)} different values under {columns.label!r}; is that the column of the labels? For "
            "numbers to be predicted say --kind score"
        )
    return tuple(sorted(found))


def split_labels(label: str, columns: Columns) -> list[str]:
    """The labels of one sample."""
    return [part.strip() for part in label.split(columns.separator) if part.strip()]


def parse_label(label: str, kind: Kind, labels: Sequence[str], columns: Columns, where: str) -> Label:
    """A label as numbers."""
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
    return tuple(float(each in parts) for each in labels) if kind == "labels" else labels.index(label)


def get_field_text(record: Mapping[str, Any], column: str, where: str) -> str:
    """A field as text. Raises ``UserError`` naming the columns that are there."""
    found = record.get(column)
    if found is None:
        there = ", ".join(map(repr, record)) if column not in record else "the row ends before it"
        raise UserError(f"{where}: no {column!r}: {there}")
    return found if isinstance(found, str) else json.dumps(found)


def read_records(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(place, row) of a file."""
    readers = {
        ".csv": read_csv_records,
        ".tsv": read_csv_records,
        ".jsonl": read_jsonl_records,
        ".parquet": read_parquet_records,
    }
    if path.suffix not in readers:
        raise UserError(f"{path}: not one of {', '.join(readers)}")
    try:
        yield from readers[path.suffix](path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start:,}") from error


def read_csv_records(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Rows of a table with names in its first line; a .tsv has no quotes."""
    tabs = path.suffix == ".tsv"
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows: csv.DictReader[str] = (
            csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if tabs else csv.DictReader(file)
        )
        try:
            for row in rows:
                yield f"{path}, line {rows.line_num}", row
        except csv.Error as error:
            raise UserError(f"{path}, line {rows.line_num}: {error}") from error


def read_jsonl_records(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """An object a line."""
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    record = json.loads(line)
                except ValueError as error:
                    raise UserError(f"{path}, line {number}: not JSON: {error}") from error
                if not isinstance(record, dict):
                    raise UserError(f"{path}, line {number}: no object with named fields")
                yield f"{path}, line {number}", record


def read_parquet_records(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The rows of a table."""
    import pyarrow
    from pyarrow import parquet

    try:
        rows = parquet.read_table(path).to_pylist()
    except pyarrow.ArrowException as error:
        raise UserError(f"{path}: damaged or no parquet: {' '.join(str(error).split())}") from error
    for number, record in enumerate(rows):
        yield f"{path}, row {number}", record
