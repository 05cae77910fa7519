"""Rows of a table → Documents: .csv, .tsv, .parquet, Arrow files, and data sets of the Hugging Face Hub."""

import csv
import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from electra.errors import UserError
from electra.text.corpus import NOT_UTF8, SURROGATE, Document, Format, Skipped, Span, encodable

HUB = "hub:"
ROWS = 1024  # read at once from a columnar file


def from_csv(span: Span, file: BinaryIO, form: Format, skipped: Skipped) -> Iterator[Document]:
    """The documents of a table with names in its first line. A .tsv has no quotes: a tab always ends a field."""
    csv.field_size_limit(min(sys.maxsize, 1 << 26))
    text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
    tabs = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if ".tsv" in span.path else {}
    rows = csv.reader(text, **tabs)  # type: ignore[arg-type]
    try:
        names = next(rows, [])
        column = index_of(names, form.field, span.path)
        for index, row in enumerate(rows):
            where = f"{span.path}, line {rows.line_num:,}"
            if column >= len(row):
                if row:
                    skipped.note(f"row without a field {form.field!r}", where)
            elif not encodable(row[column]):
                skipped.note(f"row is {NOT_UTF8}", where)
            elif row[column].strip():
                yield Document(row[column], span.path, index)
    except csv.Error as error:
        raise UserError(f"{span.path}, line {rows.line_num:,}: {error}") from error


def index_of(names: list[str], field: str, path: str) -> int:
    """Where the column is. Raises ``UserError`` naming those that are there."""
    if field not in names:
        found = ", ".join(map(repr, names)) or "nothing"
        raise UserError(f"{path}: no column {field!r}; its columns: {found}. --field names the right one")
    return names.index(field)


def from_parquet(span: Span, file: BinaryIO, form: Format, skipped: Skipped) -> Iterator[Document]:
    """The documents of a column."""
    from pyarrow import parquet

    with readable(span.path):
        table = parquet.ParquetFile(file)
        index_of(table.schema_arrow.names, form.field, span.path)
        batches = table.iter_batches(ROWS, columns=[form.field])
        yield from from_values(texts(batches, form), span.path, form, skipped)


def from_arrow(span: Span, file: BinaryIO, form: Format, skipped: Skipped) -> Iterator[Document]:
    """The documents of a column of an Arrow stream (as ``datasets`` saves) or an Arrow file."""
    import pyarrow
    from pyarrow import ipc

    with readable(span.path):
        magic = file.read(6)
        file.seek(0)
        if magic == b"ARROW1":
            whole = ipc.open_file(file)
            schema, batches = whole.schema, (whole.get_batch(i) for i in range(whole.num_record_batches))
        else:
            stream: Any = ipc.open_stream(pyarrow.PythonFile(file, mode="r"))
            schema, batches = stream.schema, stream
        index_of(schema.names, form.field, span.path)
        yield from from_values(texts(batches, form), span.path, form, skipped)


@contextmanager
def readable(path: str) -> Iterator[None]:
    """Raises ``UserError`` for whatever Arrow says of a damaged file."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path}: damaged or no such format: {' '.join(str(error).split())}") from error


def texts(batches: Iterable[Any], form: Format) -> Iterator[Any]:
    """The values of a column, batch by batch."""
    for batch in batches:
        column = batch.column(batch.schema.get_field_index(form.field))
        try:
            yield from column.to_pylist()
        except UnicodeDecodeError:  # before the first value is given
            yield from map(decoded, column)


def decoded(value: Any) -> Any:
    """A value, or None where it claims to be text and is no UTF-8."""
    try:
        return value.as_py()
    except UnicodeDecodeError:
        return None


def from_hub(path: str, form: Format, skipped: Skipped) -> Iterator[Document]:
    """The documents of one shard, ``hub:NAME:CONFIG:SPLIT#shard/of``, streamed."""
    name, _, shard = path.rpartition("#")
    index, count = map(int, shard.split("/"))
    data = hub(name)
    columns = data.column_names
    if columns is not None:  # None: not known before the first row
        index_of(columns, form.field, name)
    rows = data.shard(num_shards=count, index=index) if count > 1 else data
    yield from from_values((row.get(form.field) for row in rows), path, form, skipped)


def hub(name: str) -> Any:
    """The streaming data set that ``hub:NAME[:CONFIG[:SPLIT]]`` stands for, the split ``train`` if none is named."""
    try:
        import datasets
    except ImportError as error:
        raise UserError(f"{name}: needs the package datasets; pip install 'electra[hub]'") from error

    data, config, split = (*name.removeprefix(HUB).split(":"), "", "")[:3]
    try:
        return datasets.load_dataset(data, config or None, split=split or "train", streaming=True)
    except Exception as error:  # whatever the Hub, the network or a loading script make of it
        raise UserError(f"{name}: datasets cannot load this: {' '.join(str(error).split())[:300]}") from error


def from_values(values: Iterable[Any], path: str, form: Format, skipped: Skipped) -> Iterator[Document]:
    """Documents of the values that are texts."""
    for index, value in enumerate(values):
        if not isinstance(value, str):
            skipped.note(f"row has no text under {form.field!r}", f"{path}, row {index:,}")
        elif not encodable(value):
            skipped.note(SURROGATE, f"{path}, row {index:,}")
        elif value.strip():
            yield Document(value, path, index)
