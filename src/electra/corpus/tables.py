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
from electra.extras import import_extra

HUB_PREFIX = "hub:"
CANNOT_LOAD = "datasets cannot load this"  # whatever the Hub, the network, a file or a loading script raise
ROWS_AT_ONCE = 1024  # read at once from a columnar file
LONGEST_FIELD = 1 << 26  # characters


def read_csv_documents(
    span: Span, file: BufferedReader, text_format: TextFormat, skipped: Skipped
) -> Iterator[Document]:
    """The documents of a table with commas, whose first line has the names of the columns."""
    return read_delimited_documents(span, file, text_format, skipped, ",", quotes=True)


def read_tsv_documents(
    span: Span, file: BufferedReader, text_format: TextFormat, skipped: Skipped
) -> Iterator[Document]:
    """The documents of a table with tabs, which always end a field: there are no quotes."""
    return read_delimited_documents(span, file, text_format, skipped, "\t", quotes=False)


def open_as_text(file: BufferedReader) -> io.TextIOWrapper:
    """A file as text. Bytes that are not UTF-8 become surrogates, so that ``is_encodable`` finds their rows."""
    return io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")


def read_delimited_documents(
    span: Span, file: BufferedReader, text_format: TextFormat, skipped: Skipped, delimiter: str, quotes: bool
) -> Iterator[Document]:
    """The documents of a column of a table of lines. ``quotes``: whether ``"`` may enclose a field."""
    text = open_as_text(file)
    rows = csv.reader(
        text,
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
        strict=True,  # or a quote that nothing closes takes in all that follows
    )
    csv.field_size_limit(min(sys.maxsize, LONGEST_FIELD))
    first = 1  # line of the row that is read
    try:
        column = locate_column(next(rows, []), text_format.field, span.path)
        first = rows.line_num + 1
        for index, row in enumerate(rows):
            where, first = f"{span.shown}, line {first:,}", rows.line_num + 1
            if column >= len(row):
                if row:
                    skipped.note(f"row without a field {text_format.field!r}", where)
            elif not is_encodable(row[column]):
                skipped.note(f"row is {NOT_UTF8}", where)
            elif row[column].strip():
                yield Document(row[column], span.shown, index)
    except csv.Error as error:
        rule = "; a quote that begins a field must end it, and one within is doubled" if quotes else ""
        raise UserError(f"{span.shown}, line {first:,}: {error}{rule}") from error


def locate_column(names: list[str], field: str, path: str) -> int:
    """The index of the column ``field``. Raises ``UserError`` naming the columns if it is not among them, or is
    twice."""
    if names.count(field) > 1:
        raise UserError(f"{path}: two columns are called {field!r}; their names must differ")
    if field not in names:
        columns = ", ".join(map(repr, names)) or "nothing"
        raise UserError(f"{path}: no column {field!r}; its columns: {columns}. --field names the right one")
    return names.index(field)


def read_parquet_documents(
    span: Span, file: BufferedReader, text_format: TextFormat, skipped: Skipped
) -> Iterator[Document]:
    """The documents of a column of a Parquet file."""
    from pyarrow import parquet

    with convert_arrow_errors(span.path):
        require_seekable(file, span.path)
        table = parquet.ParquetFile(file, page_checksum_verification=True)
        locate_column(table.schema_arrow.names, text_format.field, span.path)
        batches = table.iter_batches(ROWS_AT_ONCE, columns=[text_format.field])
        yield from make_documents(read_column(batches, text_format.field), span.shown, text_format, skipped)


def read_arrow_documents(
    span: Span, file: BufferedReader, text_format: TextFormat, skipped: Skipped
) -> Iterator[Document]:
    """The documents of a column of an Arrow stream (as ``datasets`` saves) or an Arrow file."""
    import pyarrow
    from pyarrow import ipc

    with convert_arrow_errors(span.path):
        if file.peek(6)[:6] == b"ARROW1":
            require_seekable(file, span.path)
            table = ipc.open_file(file)
            schema, batches = table.schema, (table.get_batch(i) for i in range(table.num_record_batches))
        else:
            stream: Any = ipc.open_stream(pyarrow.PythonFile(file, mode="r"))
            schema, batches = stream.schema, stream
        locate_column(schema.names, text_format.field, span.path)
        yield from make_documents(read_column(batches, text_format.field), span.shown, text_format, skipped)


def require_seekable(file: BufferedReader, path: str) -> None:
    """Raise ``UserError`` for a pipe, if the format is read from the file's end."""
    if not file.seekable():
        raise UserError(f"{path}: is read from its end, which a pipe does not give; save it to a file")


@contextmanager
def convert_arrow_errors(path: str) -> Iterator[None]:
    """Raise ``UserError`` for whatever pyarrow raises on a damaged file."""
    import pyarrow

    damage = (pyarrow.ArrowException, OSError, UnicodeDecodeError, MemoryError)  # names and sizes may be damaged
    with convert_errors(f"{path}: damaged or no such format", *damage):
        yield


def read_column(batches: Iterable[Any], field: str) -> Iterator[object]:
    """The values of a column of pyarrow's record batches; None for a text that is not UTF-8."""
    for batch in batches:
        column = batch.column(batch.schema.get_field_index(field))
        check_column_offsets(column)
        try:
            yield from column.to_pylist()
        except UnicodeDecodeError:  # before the first value is given
            yield from map(decode_value, column)


def check_column_offsets(column: Any) -> None:
    """Raise pyarrow's error if offsets of a damaged column lead out of its memory. Texts may be other than UTF-8."""
    import pyarrow

    as_bytes = {
        pyarrow.string(): pyarrow.binary(),
        pyarrow.large_string(): pyarrow.large_binary(),
        pyarrow.string_view(): pyarrow.binary_view(),
    }
    (column.view(as_bytes[column.type]) if column.type in as_bytes else column).validate(full=True)


def decode_value(value: Any) -> object:
    """pyarrow's value as Python's; None for a text that is not UTF-8."""
    try:
        return value.as_py()
    except UnicodeDecodeError:
        return None


def read_hub_documents(path: str, text_format: TextFormat, skipped: Skipped) -> Iterator[Document]:
    """The documents of one shard, ``hub:NAME:CONFIG:SPLIT#shard/of``, streamed."""
    name, _, shard = path.rpartition("#")
    index, count = map(int, shard.split("/"))
    dataset = open_hub_dataset(name)
    columns = dataset.column_names
    if columns is not None:  # None: not known before the first row
        locate_column(columns, text_format.field, name)
    values = read_hub_values(dataset, name, index, count, text_format.field)
    yield from make_documents(values, path, text_format, skipped)


def read_hub_values(dataset: Any, name: str, index: int, count: int, field: str) -> Iterator[object]:
    """The field of each row in shard ``index`` of ``count`` of a streaming data set."""
    with convert_errors(f"{name}: {CANNOT_LOAD}", Exception):
        for row in dataset.shard(num_shards=count, index=index) if count > 1 else dataset:
            yield row.get(field)


def open_hub_dataset(name: str) -> Any:
    """The streaming data set of ``hub:NAME[:CONFIG[:SPLIT]]``; the split is ``train`` unless it is named."""
    datasets = import_extra("datasets", "hub", f"{name}:")
    repository, config, split = (*name.removeprefix(HUB_PREFIX).split(":"), "", "")[:3]
    with convert_errors(f"{name}: {CANNOT_LOAD}", Exception):
        return datasets.load_dataset(repository, config or None, split=split or "train", streaming=True)


def make_documents(
    values: Iterable[object], path: str, text_format: TextFormat, skipped: Skipped
) -> Iterator[Document]:
    """Documents of the values that are texts; ``index`` is the row."""
    for index, value in enumerate(values):
        if not isinstance(value, str):
            skipped.note(f"row has no text under {text_format.field!r}", f"{path}, row {index:,}")
        elif not is_encodable(value):
            skipped.note(HALF_SURROGATE, f"{path}, row {index:,}")
        elif value.strip():
            yield Document(value, path, index)
