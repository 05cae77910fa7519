"""Rows with named fields, from .csv, .tsv, .jsonl and .parquet files."""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from electra.errors import UserError

Record = Mapping[str, Any]  # column → value, as csv, json or pyarrow gives it


def get_field_text(record: Record, column: str, where: str) -> str:
    """A field as text; what is no text is written as JSON.

    Raises:
        UserError: no such field in the row; the error names those that are there.
    """
    value = record.get(column)
    if value is None:
        reason = ", ".join(map(repr, record)) if column not in record else "the row ends before it"
        raise UserError(f"{where}: no {column!r}: {reason}")
    return value if isinstance(value, str) else json.dumps(value)


def read_records(path: Path) -> Iterator[tuple[str, Record]]:
    """(place, row) for each row of a file, the place for error texts.

    Raises:
        UserError: another kind of file, one that cannot be read, or a damaged one.
    """
    readers = {
        ".csv": read_csv_records, ".tsv": read_csv_records, ".jsonl": read_jsonl_records,
        ".parquet": read_parquet_records,
    }  # fmt: skip
    if path.suffix not in readers:
        raise UserError(f"{path}: not one of {', '.join(readers)}")
    try:
        yield from readers[path.suffix](path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start:,}") from error


def read_csv_records(path: Path) -> Iterator[tuple[str, Record]]:
    """The rows of a table with names in its first line; quotes in a .tsv are letters like any other."""
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


def read_jsonl_records(path: Path) -> Iterator[tuple[str, Record]]:
    """The object in each line; blank lines are passed over."""
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


def read_parquet_records(path: Path) -> Iterator[tuple[str, Record]]:
    """The rows of a Parquet table, counted from 0."""
    import pyarrow
    from pyarrow import parquet

    try:
        rows = parquet.read_table(path).to_pylist()
    except pyarrow.ArrowException as error:
        raise UserError(f"{path}: damaged or no parquet: {' '.join(str(error).split())}") from error
    for number, record in enumerate(rows):
        yield f"{path}, row {number}", record
