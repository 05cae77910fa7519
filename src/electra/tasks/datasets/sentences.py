"""Sentences with a tag for each word, from CoNLL columns, or from .csv, .tsv, .jsonl and .parquet: a sentence a row."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from electra.errors import UserError, convert_errors
from electra.tasks.datasets.columns import NUMBER, ColumnLayout, detect_columns, read_column_sentences, read_utf8
from electra.tasks.datasets.records import Record, get_field_text, read_records
from electra.tasks.datasets.samples import Sentence


def read_sentences(files: Mapping[str, Path], word: str, tag: str) -> dict[str, list[Sentence]]:
    """The sentences of the file of each split; test need not have tags.

    ``word``, ``tag``: columns by number, 1 being the first and -1 the last (default 1 and -1), or by name (default
    words and tags). In the latter a row is a sentence, its words a list, or separated by spaces.

    Raises:
        UserError: a file that cannot be read or has no word, a column that is not there, rows of unlike width, words
            and tags of unlike number.
    """
    layout: ColumnLayout | None = None
    sentences: dict[str, list[Sentence]] = {}
    for split, path in {"train": files["train"], **files}.items():
        untagged = split == "test"
        if is_table(path, word, tag):
            sentences[split] = list(read_table_sentences(path, word or "words", tag or "tags", untagged))
        else:
            layout = layout or detect_columns(path, word or "1", tag or "-1")
            sentences[split] = list(read_column_sentences(path, layout, untagged))
        if not any(sentence.words for sentence in sentences[split]):
            raise UserError(f"{path}: no words")
    return sentences


def is_table(path: Path, word: str, tag: str) -> bool:
    """Whether a file has named fields. A .tsv has them if its first line names them, or if names are asked for."""
    if path.suffix != ".tsv":
        return path.suffix in (".csv", ".jsonl", ".parquet")
    if any(column and not NUMBER.fullmatch(column) for column in (word, tag)):
        return True
    return {word or "words", tag or "tags"} <= set(read_utf8(path).split("\n")[0].rstrip("\r").split("\t"))


def read_table_sentences(path: Path, word: str, tag: str, untagged: bool) -> Iterator[Sentence]:
    """The sentence of each row. ``untagged``: tags may be missing."""
    class_names = read_class_names(path, tag) if path.suffix == ".parquet" else ()
    for where, record in read_records(path):
        words = get_values(record, word, where)
        if untagged and record.get(tag) is None:
            yield Sentence(words)
            continue
        tags = get_values(record, tag, where, class_names)
        if len(words) != len(tags):
            raise UserError(f"{where}: {len(words)} {word!r}, and {len(tags)} {tag!r}")
        if not all(tags):
            raise UserError(f"{where}: value {tags.index('') + 1} of {tag!r} is empty")
        yield Sentence(words, tags)


def get_values(record: Record, column: str, where: str, class_names: Sequence[str] | None = None) -> tuple[str, ...]:
    """The values of a field: a list, or a text cut at its spaces.

    ``class_names``: the names that whole numbers stand for; a number without one is written out. None: a number is an
    error.
    """
    values = record.get(column)
    if not isinstance(values, list):
        text = get_field_text(record, column, where)
        if not isinstance(values, str):
            raise UserError(f"{where}: {column!r} is {text[:40]}, not a list")
        return tuple(word for word in text.split(" ") if word)
    for value in values:
        if not isinstance(value, str) and (class_names is None or type(value) is not int):
            raise UserError(f"{where}: {column!r} has {value!r} among its values, which is no text")
    names = dict(enumerate(class_names or ()))
    return tuple(value if isinstance(value, str) else names.get(value, str(value)) for value in values)


def read_class_names(path: Path, column: str) -> Sequence[str]:
    """What the numbers of a .parquet column mean, if Hugging Face's ``datasets`` wrote the file; else nothing."""
    import pyarrow
    from pyarrow import parquet

    with convert_errors(str(path), OSError, pyarrow.ArrowException):
        metadata = (parquet.read_schema(path).metadata or {}).get(b"huggingface", b"{}")
    feature = json.loads(metadata).get("info", {}).get("features", {}).get(column, {})
    inner = feature[0] if isinstance(feature, list) else feature.get("feature", {})
    return inner.get("names", ())
