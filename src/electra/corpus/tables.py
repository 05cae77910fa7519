"""Rows of a table → Documents: .csv, .tsv, .parquet, Arrow files, and data sets of the Hugging Face Hub."""

import csv
import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from typing import Any

from electra.corpus.documents import HALF_SURROGATE, NOT_UTF8, Document, Skipped, Span, TextFormat, is_encodable
from electra.errors import UserError, convert_errors

HUB_PREFIX = "hub:"
CANNOT_LOAD = "datasets cannot load this"  # whatever the Hub, the network, a file or a loading script raise
ROWS_AT_ONCE = 1024  # read at once from a columnar file


def read_csv_documents(span: Span, file: BufferedReader, form: TextFormat, skipped: Skipped) -> Iterator[Document]:
    """The documents of a table with names in its first line."""
    return read_row_documents(csv.reader(decode_leniently(file)), span, form, skipped)


def read_tsv_documents(span: Span, file: BufferedReader, form: TextFormat, skipped: Skipped) -> Iterator[Document]:
    """As ``read_csv_documents``, but there are no quotes: a tab always ends a field."""
    return read_row_documents(
        csv.reader(decode_leniently(file), delimiter="\t", quoting=csv.QUOTE_NONE), span, form, skipped
    )


def decode_leniently(file: BufferedReader) -> io.TextIOWrapper:
    """What a file holds as text, in which what is no UTF-8 can be told."""
    return io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")


def read_row_documents(rows: Any, span: Span, form: TextFormat, skipped: Skipped) -> Iterator[Document]:
    """The documents of a column of a ``csv.reader``."""
    csv.field_size_limit(min(sys.maxsize, 1 << 26))
    try:
        names: list[str] = next(rows, [])
        column = locate_column(names, form.field, span.path)
        for index, row in enumerate(rows):
            where = f"{span.shown}, line {rows.line_num:,}"
            if column >= len(row):
                if row:
                    skipped.note(f"row without a field {form.field!r}", where)
            elif not is_encodable(row[column]):
                skipped.note(f"row is {NOT_UTF8}", where)
            elif row[column].strip():
                yield Document(row[column], span.shown, index)
    except csv.Error as error:
        raise UserError(f"{span.shown}, line {rows.line_num:,}: {error}") from error


def locate_column(names: list[str], field: str, path: str) -> int:
    """Where the column is. Raises ``UserError`` naming those that are there."""
    if field not in names:
        found = ", ".join(map(repr, names)) or "nothing"
        raise UserError(f"{path}: no column {field!r}; its columns: {found}. --field names the right one")
    return names.index(field)


def read_parquet_documents(span: Span, file: BufferedReader, form: TextFormat, skipped: Skipped) -> Iterator[Document]:
    """The documents of a column."""
    from pyarrow import parquet

    with translate_arrow_errors(span.path):
        require_seekable(file, span.path)
        table = parquet.ParquetFile(file)
        locate_column(table.schema_arrow.names, form.field, span.path)
        batches = table.iter_batches(ROWS_AT_ONCE, columns=[form.field])
        yield from make_documents(read_column(batches, form), span.shown, form, skipped)


def read_arrow_documents(span: Span, file: BufferedReader, form: TextFormat, skipped: Skipped) -> Iterator[Document]:
    """The documents of a column of an Arrow stream (as ``datasets`` saves) or an Arrow file."""
    import pyarrow
    from pyarrow import ipc

    with translate_arrow_errors(span.path):
        if file.peek(6)[:6] == b"ARROW1":
            require_seekable(file, span.path)
            whole = ipc.open_file(file)
            schema, batches = whole.schema, (whole.get_batch(i) for i in range(whole.num_record_batches))
        else:
            stream: Any = ipc.open_stream(pyarrow.PythonFile(file, mode="r"))
            schema, batches = stream.schema, stream
        locate_column(schema.names, form.field, span.path)
        yield from make_documents(read_column(batches, form), span.shown, form, skipped)


def require_seekable(file: BufferedReader, path: str) -> None:
    """Raises ``UserError`` for a pipe where a file is read from its end."""
    if not file.seekable():
        raise UserError(f"{path}: is read from its end, which a pipe does not give; save it to a file")


@contextmanager
def translate_arrow_errors(path: str) -> Iterator[None]:
    """Raises ``UserError`` for whatever Arrow says of a damaged file."""
    import pyarrow

    damage = (pyarrow.ArrowException, OSError, UnicodeDecodeError, MemoryError)  # names and sizes may be damaged
    with convert_errors(f"{path}: damaged or no such format", *damage):
        yield


def read_column(batches: Iterable[Any], form: TextFormat) -> Iterator[Any]:
    """The values of a column, batch by batch."""
    for batch in batches:
        column = batch.column(batch.schema.get_field_index(form.field))
        check_column_offsets(column)
        try:
            yield from column.to_pylist()
        except UnicodeDecodeError:  # before the first value is given
            yield from map(decode_value, column)


def check_column_offsets(column: Any) -> None:
    """Raises pyarrow's error where a damaged file would lead it out of its memory. What is no UTF-8 is let pass."""
    import pyarrow

    as_bytes = {
        pyarrow.string(): pyarrow.binary(),
        pyarrow.large_string(): pyarrow.large_binary(),
        pyarrow.string_view(): pyarrow.binary_view(),
    }
    (column.view(as_bytes[column.type]) if column.type in as_bytes else column).validate(full=True)


def decode_value(value: Any) -> Any:
    """A value, or None where it claims to be text and is no UTF-8."""
    try:
        return value.as_py()
    except UnicodeDecodeError:
        return None


def read_hub_documents(path: str, form: TextFormat, skipped: Skipped) -> Iterator[Document]:
    """The documents of one shard, ``hub:NAME:CONFIG:SPLIT#shard/of``, streamed."""
    name, _, shard = path.rpartition("#")
    index, count = map(int, shard.split("/"))
    data = open_hub_dataset(name)
    columns = data.column_names
    if columns is not None:  # None: not known before the first row
        locate_column(columns, form.field, name)
    yield from make_documents(read_hub_values(data, name, index, count, form), path, form, skipped)


def read_hub_values(data: Any, name: str, index: int, count: int, form: TextFormat) -> Iterator[Any]:
    """The field of each row of one shard of a streaming data set."""
    with convert_errors(f"{name}: {CANNOT_LOAD}", Exception):
        for row in data.shard(num_shards=count, index=index) if count > 1 else data:
            yield row.get(form.field)


def open_hub_dataset(name: str) -> Any:
    """The streaming data set that ``hub:NAME[:CONFIG[:SPLIT]]`` stands for, the split ``train`` if none is named."""
    try:
        import datasets
    except ImportError as error:
        raise UserError(f"{name}: needs the package datasets; pip install 'electra[hub]'") from error

    data, config, split = (*name.removeprefix(HUB_PREFIX).split(":"), "", "")[:3]
    with convert_errors(f"{name}: {CANNOT_LOAD}", Exception):
        return datasets.load_dataset(data, config or None, split=split or "train", streaming=True)


def make_documents(values: Iterable[Any], path: str, form: TextFormat, skipped: Skipped) -> Iterator[Document]:
    """Documents of the values that are texts."""
    for index, value in enumerate(values):
        if not isinstance(value, str):
            skipped.note(f"row has no text under {form.field!r}", f"{path}, row {index:,}")
        elif not is_encodable(value):
            skipped.note(HALF_SURROGATE, f"{path}, row {index:,}")
        elif value.strip():
            yield Document(value, path, index)
