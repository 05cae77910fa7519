"""A Span → its Documents, by the ending of its name."""

from collections.abc import Iterator
from multiprocessing import parent_process

from electra.corpus import builtin, lines, tables
from electra.corpus.documents import Document, ReportProgress, Skipped, Span, TextFormat, ignore_progress
from electra.corpus.opening import COMPRESSIONS, READ_ERRORS, find_compression, open_span
from electra.errors import convert_errors

BUILTIN = "builtin"


def read_documents(
    span: Span, text_format: TextFormat, skipped: Skipped, report_progress: ReportProgress = ignore_progress
) -> Iterator[Document]:
    """The documents of a span, in order. After each, ``report_progress`` gets the bytes of the span read so far.

    What cannot be read as UTF-8, JSON or a row is left out and counted in ``skipped``.

    Raises:
        UserError: a file that cannot be opened or was changed, a stream that is cut off, a field that is missing.
    """
    if span.path == BUILTIN:
        yield from builtin.collect_docstrings(skipped, workers=1 if parent_process() else None)
        return
    if span.path.startswith(tables.HUB_PREFIX):
        yield from tables.read_hub_documents(span.path, text_format, skipped)
        return
    name, decompress = find_compression(span.name)
    reader = next(read for ending, read in READERS.items() if name.endswith(ending))
    with convert_errors(span.path, *READ_ERRORS), open_span(span) as raw:
        for document in reader(span, decompress(raw), text_format, skipped):
            yield document
            report_progress(raw.tell() - span.start if raw.seekable() else 0)


READERS = {
    ".txt": lines.read_text_documents,
    ".jsonl": lines.read_json_documents,
    ".csv": tables.read_csv_documents,
    ".tsv": tables.read_tsv_documents,
    ".parquet": tables.read_parquet_documents,
    ".arrow": tables.read_arrow_documents,
}
SPLITTABLE = (".txt", ".jsonl")  # a document begins where a line does
COLUMNAR = (".parquet", ".arrow")  # compressed within
ENDINGS = tuple(
    ending + compression
    for ending in READERS
    for compression in ("", *(COMPRESSIONS if ending not in COLUMNAR else ()))
)
