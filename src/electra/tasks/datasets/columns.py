"""CoNLL columns: a word a line with its tag, a blank line after each sentence."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from electra.corpus.documents import Skipped
from electra.errors import UserError
from electra.tasks.datasets.samples import Sentence
from electra.tasks.datasets.text_files import read_utf8

DOCUMENT = "-DOCSTART-"
NUMBER = re.compile(r"-?\d+")
COMMENT = re.compile(r"#\s*(\S+ = |id\s|newdoc|newpar)")  # CoNLL-U's, and those of MultiCoNER
NO_WORD = re.compile(r"\d+[-.]\d+\t")  # CoNLL-U: a stretch of several words, or one that is not written


@dataclass(frozen=True)
class ColumnLayout:
    """Which of ``width`` columns are words and tags, counted from 0. ``where``: the line that this was read from."""

    word: int
    tag: int
    width: int
    where: str


def detect_columns(path: Path, word: str, tag: str) -> ColumnLayout:
    """The layout of a file by its first row; ``word``, ``tag``: numbers of columns, 1 the first and -1 the last.

    Raises:
        UserError: no row, a number that is none, or one without a column.
    """
    line, fields = next(((line, fields) for line, fields in read_column_rows(path, Skipped()) if fields), (0, []))
    if not fields:
        raise UserError(f"{path}: no words")
    width, columns = len(fields), []
    for flag, column in (("--word", word), ("--tag", tag)):
        if not NUMBER.fullmatch(column):
            raise UserError(f"{path}, line {line}: {flag} {column}: columns without names; 1 is the first, -1 the last")
        number = int(column)
        if not 1 <= abs(number) <= width:
            raise UserError(f"{path}, line {line}: {flag} {column}: {width} columns; 1 is the first, -1 the last")
        columns.append(number - 1 if number > 0 else width + number)
    if columns[0] == columns[1]:
        raise UserError(f"{path}, line {line}: {width} columns, and words and tags both in column {columns[0] + 1}")
    return ColumnLayout(columns[0], columns[1], width, f"{path}, line {line}")


def read_column_sentences(path: Path, layout: ColumnLayout, untagged: bool, skipped: Skipped) -> Iterator[Sentence]:
    """The sentences of a file. ``untagged``: the last columns may be missing, that of the tags among them."""
    width, words, tags = 0, list[str](), list[str]()
    for line, fields in read_column_rows(path, skipped):
        if fields:
            width = width or (min(len(fields), layout.width) if untagged else layout.width)
            if len(fields) != width or layout.word >= width:
                raise UserError(f"{path}, line {line}: {len(fields)} columns, and {layout.width} in {layout.where}")
            for name, column, values in (("word", layout.word, words), ("tag", layout.tag, tags)):
                if column < width:
                    if not fields[column]:
                        raise UserError(f"{path}, line {line}: no {name} in column {column + 1}")
                    values.append(fields[column])
        elif words:
            yield Sentence(tuple(words), tuple(tags) if layout.tag < width else None)
            words, tags = [], []


def read_column_rows(path: Path, skipped: Skipped) -> Iterator[tuple[int, list[str]]]:
    """(line, fields); fields are empty where a sentence ends.

    Fields are between tabs if the first word's line has one, else between spaces. Lines that are no words are left out
    and counted: comments, marks of documents, and in a .conllu stretches of several words.

    Raises:
        UserError: a tab in a file of spaces.
    """
    lines = [line.rstrip("\r") for line in read_utf8(path).split("\n")]
    rows = [line for line in lines if line.strip() and not line.startswith(DOCUMENT)]
    typical = next((line for line in rows if line[0] != "#"), "".join(rows[:1]))
    tabs, universal, inside = "\t" in typical, path.suffix == ".conllu", False
    width = len(split_fields(typical, tabs))
    for number, line in enumerate([*lines, ""], 1):
        where, fields = f"{path}, line {number}", split_fields(line, tabs)
        if not fields or line.startswith(DOCUMENT):
            if fields:
                skipped.note("mark of a document", where)
            inside = False
            yield number, []
        elif line[0] == "#" and (universal or is_comment(line, inside, tabs, len(fields) == width)):
            skipped.note("comment", where)
        elif universal and NO_WORD.match(line):
            skipped.note("line that is no word of its own", where)
        elif not tabs and "\t" in line:
            raise UserError(f"{where}: a tab, and there are spaces between the columns of {typical[:40]!r}")
        else:
            inside = True
            yield number, fields


def split_fields(line: str, tabs: bool) -> list[str]:
    """The fields of a line, between tabs or between spaces; none of a blank line."""
    if not line.strip():
        return []
    return [field.strip(" ") for field in (line.split("\t") if tabs else line.split(" ")) if tabs or field]


def is_comment(line: str, inside: bool, tabs: bool, is_wide: bool) -> bool:
    """Whether a line that begins with ``#`` is no word: between sentences if it has another number of fields than words
    have, or the form of a known comment; ``inside`` one if it has a single field among tabs."""
    if inside:
        return tabs and "\t" not in line
    return not is_wide or bool(COMMENT.match(line))
