"""Sentences with a tag for each word, from CoNLL columns, or from .csv, .tsv, .jsonl and .parquet: a sentence a row."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from electra.corpus.documents import Skipped
from electra.errors import UserError
from electra.tasks.datasets.columns import NUMBER, ColumnLayout, detect_columns, read_column_sentences
from electra.tasks.datasets.records import Table, read_table
from electra.tasks.datasets.samples import Sentence
from electra.tasks.datasets.text_files import read_utf8
from electra.tasks.datasets.values import (
    Record,
    describe_value,
    get_field,
    name_label,
    refuse_printed_list,
    require_encodable,
)


def read_sentences(
    files: Mapping[str, Path], word: str, tag: str
) -> tuple[dict[str, list[Sentence]], dict[str, list[str]]]:
    """The sentences of the file of each split, and lines that say what was read; test need not have tags.

    ``word``, ``tag``: columns by number, 1 being the first and -1 the last (default 1 and -1), or by name (default
    words and tags). In the latter a row is a sentence, its words a list, or separated by spaces.

    Raises:
        UserError: a file that cannot be read or has no word, a column that is not there, rows of unlike width, words
            and tags of unlike number.
    """
    layout: ColumnLayout | None = None
    sentences: dict[str, list[Sentence]] = {}
    accounts: dict[str, list[str]] = {}
    for split, path in {"train": files["train"], **files}.items():
        untagged = split == "test"
        if is_table(path, word, tag):
            table = read_table(path)
            sentences[split] = list(read_table_sentences(table, word or "words", tag or "tags", untagged))
            accounts[split] = table.account()
        else:
            skipped = Skipped()
            layout = layout or detect_columns(path, word or "1", tag or "-1")
            sentences[split] = list(read_column_sentences(path, layout, untagged, skipped))
            columns = f"words in column {layout.word + 1} of {layout.width}, tags in column {layout.tag + 1}"
            accounts[split] = [str(path), columns, *skipped.lines()]
        if not any(sentence.words for sentence in sentences[split]):
            raise UserError(f"{path}: no words")
        if all(are_counts(sentence.words) for sentence in sentences[split]):
            raise UserError(f"{path}: the words only count, 1, 2, …; --word says in which column words are")
    return sentences, accounts


def are_counts(words: Sequence[str]) -> bool:
    """Whether these are the numbers of words in a sentence, from 0 or 1, which many files have before each word."""
    return len(words) > 1 and any(words == tuple(map(str, range(start, start + len(words)))) for start in (0, 1))


def is_table(path: Path, word: str, tag: str) -> bool:
    """Whether a file has named fields. A .tsv has them if its first line names them, or if names are asked for."""
    if path.suffix != ".tsv":
        return path.suffix in (".csv", ".jsonl", ".parquet")
    if any(column and not NUMBER.fullmatch(column) for column in (word, tag)):
        return True
    return {word or "words", tag or "tags"} <= set(read_utf8(path).split("\n")[0].rstrip("\r").split("\t"))


def read_table_sentences(table: Table, word: str, tag: str, untagged: bool) -> Iterator[Sentence]:
    """The sentence of each row. ``untagged``: tags may be missing."""
    for where, record in table.rows:
        words = get_words(record, word, where)
        if untagged and record.get(tag) is None:
            yield Sentence(words)
            continue
        tags = get_tags(record, tag, where)
        if len(words) != len(tags):
            raise UserError(f"{where}: {len(words)} {word!r}, and {len(tags)} {tag!r}")
        if not all(value.strip() for value in tags):
            first = [value.strip() for value in tags].index("")
            raise UserError(f"{where}: value {first + 1} of {tag!r} is empty")
        yield Sentence(words, tags)


def get_words(record: Record, column: str, where: str) -> tuple[str, ...]:
    """The words in a field: a list of texts, or a text cut at its spaces."""
    values = get_list(record, column, where)
    wrong = next((value for value in values if not isinstance(value, str)), "")
    if not isinstance(wrong, str):
        raise UserError(f"{where}: {column!r} has {wrong!r} among its values, which is no text")
    return tuple(require_encodable(value, f"{where}: {column!r}") for value in values)


def get_tags(record: Record, column: str, where: str) -> tuple[str, ...]:
    """The tags in a field: a list of texts or whole numbers, which are written out, or a text cut at its spaces."""
    values = get_list(record, column, where)
    wrong = [value for value in values if not isinstance(value, str) and type(value) is not int]
    if wrong:
        raise UserError(f"{where}: {column!r} has {wrong[0]!r} among its values, which is no text")
    return tuple(name_label(value, f"{where}: {column!r}") for value in values)


def get_list(record: Record, column: str, where: str) -> list[Any]:
    """A list, or the parts of a text between spaces. Raises ``UserError`` for anything else."""
    value = get_field(record, column, where)
    if isinstance(value, list):
        return value
    if not isinstance(value, str):
        raise UserError(f"{where}: {column!r} is {describe_value(value)}, and should be a list, or a text with spaces")
    return [part for part in refuse_printed_list(value, f"{where}: {column!r}").split(" ") if part]
