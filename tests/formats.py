"""Texts as files of every format, and what is read of them."""

import csv
import io
import json
import random
import string
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow
from pyarrow import ipc, parquet

from electra.corpus import readers
from electra.corpus.documents import Document, Skipped, Span, TextFormat
from electra.corpus.sources import Part
from electra.dataset.shards import Units


def lay(folder: Path, *names: str) -> None:
    """Text files of a few bytes."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"text of {name}")


def read(path: Path | str, skipped: Skipped | None = None, **form: str) -> list[Document]:
    """The documents of a whole file."""
    size = Path(path).stat().st_size
    skipped = Skipped() if skipped is None else skipped
    return list(readers.read_documents(Span(str(path), 0, size), TextFormat(**form), skipped))


def texts(path: Path | str, skipped: Skipped | None = None, **form: str) -> list[str]:
    """The texts of a whole file."""
    return [document.text for document in read(path, skipped, **form)]


def of_spans(spans: Sequence[Span], form: TextFormat | None = None, skipped: Skipped | None = None) -> list[str]:
    """The texts of some spans, in order."""
    skipped = Skipped() if skipped is None else skipped
    return [document.text for span in spans for document in readers.read_documents(span, form or TextFormat(), skipped)]


def of_parts(work: Sequence[Part], form: TextFormat | None = None, skipped: Skipped | None = None) -> list[str]:
    """The texts of all parts, in order."""
    return [text for part in work for text in of_spans(part.spans, form, skipped)]


def as_jsonl(documents: Sequence[str]) -> bytes:
    return "".join(json.dumps({"text": text, "n": n}) + "\n" for n, text in enumerate(documents)).encode()


def as_utf8_jsonl(documents: Sequence[str]) -> bytes:
    return "\r\n".join(json.dumps({"text": text}, ensure_ascii=False) for text in documents).encode()


def as_csv(documents: Sequence[str]) -> bytes:
    file = io.StringIO(newline="")
    csv.writer(file).writerows([["n", "text"], *enumerate(documents)])
    return file.getvalue().encode()


def as_parquet(documents: Sequence[str | None], **how: int) -> bytes:
    file = io.BytesIO()
    parquet.write_table(table(documents), file, **how)
    return file.getvalue()


def as_arrow_stream(documents: Sequence[str | None]) -> bytes:
    whole, file = table(documents), io.BytesIO()
    with ipc.new_stream(file, whole.schema) as writer:
        writer.write_table(whole, max_chunksize=100)
    return file.getvalue()


def as_arrow_file(documents: Sequence[str | None]) -> bytes:
    whole, file = table(documents), io.BytesIO()
    with ipc.new_file(file, whole.schema) as writer:
        writer.write_table(whole, max_chunksize=100)
    return file.getvalue()


def table(documents: Sequence[str | None]) -> pyarrow.Table:
    return pyarrow.table({"n": range(len(documents)), "text": pyarrow.array(documents, pyarrow.string())})


ENDINGS = {
    as_jsonl: ".jsonl",
    as_utf8_jsonl: ".jsonl",
    as_csv: ".csv",
    as_parquet: ".parquet",
    as_arrow_stream: ".arrow",
    as_arrow_file: ".arrow",
}
LETTERS = "".join(random.Random(0).choices(string.ascii_letters + " \n", k=20_000))


def join_units(units: Iterable[bytes], dtype: np.dtype) -> Units:
    """A document of units, each the bytes of an array of ``dtype``."""
    document = Units(dtype)
    for unit in units:
        document.append(unit)
    return document
