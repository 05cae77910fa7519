"""Rows of a table → Documents: .csv, .tsv, .parquet, Arrow files, and data sets of the Hugging Face Hub."""

import csv
import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from typing import Any

from electra.corpus.documents import NOT_UTF8, SURROGATE, Document, Format, Skipped, Span, encodable
from electra.errors import UserError, told_as

HUB = "hub:"
CANNOT = "datasets cannot load this"  # whatever the Hub, the network, a file or a loading script raise
ROWS = 1024  # read at once from a columnar file


def from_csv(span: Span, file: BufferedReader, form: Format, skipped: Skipped) -> Iterator[Document]:
    """The documents of a table with names in its first line."""
    return from_rows(csv.reader(characters(file)), span, form, skipped)


def from_tsv(span: Span, file: BufferedReader, form: Format, skipped: Skipped) -> Iterator[Document]:
    """As ``from_csv``, but there are no quotes: a tab always ends a field."""
    return from_rows(csv.reader(characters(file), delimiter="\t", quoting=csv.QUOTE_NONE), span, form, skipped)


def characters(file: BufferedReader) -> io.TextIOWrapper:
    """What a file holds as text, in which what is no UTF-8 can be told."""
    return io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")


def from_rows(rows: Any, span: Span, form: Format, skipped: Skipped) -> Iterator[Document]:
    """The documents of a column of a ``csv.reader``."""
    csv.field_size_limit(min(sys.maxsize, 1 << 26))
    try:
        names: list[str] = next(rows, [])
        column = index_of(names, form.field, span.path)
        for index, row in enumerate(rows):
            where = f"{span.shown}, line {rows.line_num:,}"
            if column >= len(row):
                if row:
                    skipped.note(f"row without a field {form.field!r}", where)
            elif not encodable(row[column]):
                skipped.note(f"row is {NOT_UTF8}", where)
            elif row[column].strip():
                yield Document(row[column], span.shown, index)
    except csv.Error as error:
        raise UserError(f"{span.shown}, line {rows.line_num:,}: {error}") from error


def index_of(names: list[str], field: str, path: str) -> int:
    """Where the column is. Raises ``UserError`` naming those that are there."""
    if field not in names:
        found = ", ".join(map(repr, names)) or "nothing"
        raise UserError(f"{path}: no column {field!r}; its columns: {found}. --field names the right one")
    return names.index(field)


def from_parquet(span: Span, file: BufferedReader, form: Format, skipped: Skipped) -> Iterator[Document]:
    """The documents of a column."""
    from pyarrow import parquet

    with readable(span.path):
        check_seekable(file, span.path)
        table = parquet.ParquetFile(file)
        index_of(table.schema_arrow.names, form.field, span.path)
        batches = table.iter_batches(ROWS, columns=[form.field])
        yield from from_values(texts(batches, form), span.shown, form, skipped)


def from_arrow(span: Span, file: BufferedReader, form: Format, skipped: Skipped) -> Iterator[Document]:
    """The documents of a column of an Arrow stream (as ``datasets`` saves) or an Arrow file."""
    import pyarrow
    from pyarrow import ipc

    with readable(span.path):
        if file.peek(6)[:6] == b"ARROW1":
            check_seekable(file, span.path)
            whole = ipc.open_file(file)
            schema, batches = whole.schema, (whole.get_batch(i) for i in range(whole.num_record_batches))
        else:
            stream: Any = ipc.open_stream(pyarrow.PythonFile(file, mode="r"))
            schema, batches = stream.schema, stream
        index_of(schema.names, form.field, span.path)
        yield from from_values(texts(batches, form), span.shown, form, skipped)


def check_seekable(file: BufferedReader, path: str) -> None:
    """Raises ``UserError`` for a pipe where a file is read from its end."""
    if not file.seekable():
        raise UserError(f"{path}: is read from its end, which a pipe does not give; save it to a file")


@contextmanager
def readable(path: str) -> Iterator[None]:
    """Raises ``UserError`` for whatever Arrow says of a damaged file."""
    import pyarrow

    damage = (pyarrow.ArrowException, OSError, UnicodeDecodeError, MemoryError)  # names and sizes may be damaged
    with told_as(f"{path}: damaged or no such format", *damage):
        yield


def texts(batches: Iterable[Any], form: Format) -> Iterator[Any]:
    """The values of a column, batch by batch."""
    for batch in batches:
        column = batch.column(batch.schema.get_field_index(form.field))
        check_offsets(column)
        try:
            yield from column.to_pylist()
        except UnicodeDecodeError:  # before the first value is given
            yield from map(decoded, column)


def check_offsets(column: Any) -> None:
    """Raises pyarrow's error where a damaged file would lead it out of its memory. What is no UTF-8 is let pass."""
    import pyarrow

    as_bytes = {
        pyarrow.string(): pyarrow.binary(),
        pyarrow.large_string(): pyarrow.large_binary(),
        pyarrow.string_view(): pyarrow.binary_view(),
    }
    (column.view(as_bytes[column.type]) if column.type in as_bytes else column).validate(full=True)


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
    yield from from_values(values_of(data, name, index, count, form), path, form, skipped)


def values_of(data: Any, name: str, index: int, count: int, form: Format) -> Iterator[Any]:
    """The field of each row of one shard of a streaming data set."""
    with told_as(f"{name}: {CANNOT}", Exception):
        for row in data.shard(num_shards=count, index=index) if count > 1 else data:
            yield row.get(form.field)


def hub(name: str) -> Any:
    """The streaming data set that ``hub:NAME[:CONFIG[:SPLIT]]`` stands for, the split ``train`` if none is named."""
    try:
        import datasets
    except ImportError as error:
        raise UserError(f"{name}: needs the package datasets; pip install 'electra[hub]'") from error

    data, config, split = (*name.removeprefix(HUB).split(":"), "", "")[:3]
    with told_as(f"{name}: {CANNOT}", Exception):
        return datasets.load_dataset(data, config or None, split=split or "train", streaming=True)


def from_values(values: Iterable[Any], path: str, form: Format, skipped: Skipped) -> Iterator[Document]:
    """Documents of the values that are texts."""
    for index, value in enumerate(values):
        if not isinstance(value, str):
            skipped.note(f"row has no text under {form.field!r}", f"{path}, row {index:,}")
        elif not encodable(value):
            skipped.note(SURROGATE, f"{path}, row {index:,}")
        elif value.strip():
            yield Document(value, path, index)
