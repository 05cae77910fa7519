"""Rows with named fields, from .csv, .tsv, .jsonl and .parquet files."""

import csv
import io
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from electra.corpus.documents import Skipped
from electra.corpus.tables import LONGEST_FIELD, ROWS_AT_ONCE, convert_arrow_errors
from electra.errors import UserError, convert_errors
from electra.strict_json import parse_json
from electra.tasks.datasets.text_files import read_utf8
from electra.tasks.datasets.values import Record, name_classes, read_class_names

Rows = Iterator[tuple[str, Record]]  # (place for error texts, row)

QUOTING = "a field with a comma, a quote or a line break in it is put between quotes, and a quote in it is doubled"


@dataclass
class Table:
    """The rows of a file, each with its place for error texts; its columns; and what was left out, by reason.

    ``columns``: in the file's order; of .jsonl those of any row.
    """

    path: Path
    rows: list[tuple[str, Record]]
    columns: tuple[str, ...]
    skipped: Skipped = field(default_factory=Skipped)

    def account(self) -> list[str]:
        """Lines that say what was read besides rows: the file, its columns, what was left out."""
        return [str(self.path), f"columns: {', '.join(map(repr, self.columns))}", *self.skipped.lines()]


def read_table(path: Path) -> Table:
    """All rows of a file.

    Raises:
        UserError: another kind of file, one that cannot be read, a damaged one, or one without rows; two columns of one
            name; a row with more or fewer fields than there are columns.
    """
    if path.suffix not in READERS:
        raise UserError(f"{path}: not one of {', '.join(READERS)}")
    skipped = Skipped()
    rows = list(READERS[path.suffix](path, skipped))
    if not rows:
        raise UserError(f"{path}: no rows")
    return Table(path, rows, tuple(dict.fromkeys(name for _, record in rows for name in record)), skipped)


def read_csv_records(path: Path, skipped: Skipped) -> Rows:
    """The rows of a table with names in its first line; quotes in a .tsv are letters like any other."""
    tabs = path.suffix == ".tsv"
    csv.field_size_limit(min(sys.maxsize, LONGEST_FIELD))
    rows = csv.reader(
        io.StringIO(read_utf8(path), newline=""),
        delimiter="\t" if tabs else ",",
        quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL,
        strict=True,
    )
    names: list[str] = []
    first = 1
    try:
        for row in rows:
            where, first = f"{path}, line {first}", rows.line_num + 1
            if not row:
                skipped.note("blank line", where)
            elif not names:
                names = row
                refuse_same_names(names, where)
            elif len(row) != len(names):
                rule = "a tab always ends a field" if tabs else QUOTING
                raise UserError(f"{where}: {len(row)} fields, and {len(names)} columns in the first line; {rule}")
            else:
                yield where, dict(zip(names, row, strict=True))
    except csv.Error as error:
        lines = f"line {first}" if first >= rows.line_num else f"lines {first} to {rows.line_num}"
        raise UserError(f"{path}, {lines}: {error}; {QUOTING}") from error


def refuse_same_names(names: Sequence[str], where: str) -> None:
    """Raise ``UserError`` if two columns have one name. Columns without a name cannot be asked for."""
    twice = next((name for name, count in Counter(names).items() if name and count > 1), None)
    if twice is not None:
        raise UserError(f"{where}: two columns are called {twice!r}; their names must differ")


def read_jsonl_records(path: Path, skipped: Skipped) -> Rows:
    """The object in each line; blank lines are passed over."""
    for number, line in enumerate(io.StringIO(read_utf8(path), newline=None), 1):
        where = f"{path}, line {number}"
        if not line.strip():
            skipped.note("blank line", where)
            continue
        record = parse_json(line, where)
        if not isinstance(record, dict):
            raise UserError(f"{where}: no object with named fields")
        yield where, record


def read_parquet_records(path: Path, skipped: Skipped) -> Rows:
    """The rows of a Parquet table, counted from 0. Numbers of classes that ``datasets`` wrote bear their names."""
    from pyarrow import parquet

    with convert_arrow_errors(str(path)), parquet.ParquetFile(path, page_checksum_verification=True) as table:
        schema = table.schema_arrow
        refuse_same_names(schema.names, str(path))
        class_names = read_class_names((schema.metadata or {}).get(b"huggingface", b"{}"), str(path))
        number = 0
        for batch in table.iter_batches(ROWS_AT_ONCE):
            batch.validate(full=True)
            with convert_errors(f"{path}, rows {number} to {number + len(batch) - 1}", ValueError, OverflowError):
                records = batch.to_pylist()  # dates and times may be out of Python's range
            for record in records:
                where = f"{path}, row {number}"
                yield (
                    where,
                    record
                    | {
                        column: name_classes(record[column], names, f"{where}: {column!r}")
                        for column, names in class_names.items()
                        if column in record
                    },
                )
                number += 1


READERS: Mapping[str, Callable[[Path, Skipped], Rows]] = {
    ".csv": read_csv_records,
    ".tsv": read_csv_records,
    ".jsonl": read_jsonl_records,
    ".parquet": read_parquet_records,
}
