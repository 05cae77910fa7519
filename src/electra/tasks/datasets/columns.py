"""CoNLL columns: a word a line with its tag, a blank line after each sentence."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from electra.errors import UserError, convert_errors
from electra.tasks.datasets.samples import Sentence

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
    line, fields = next(((line, fields) for line, fields in read_column_rows(path) if fields), (0, []))
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


def read_column_sentences(path: Path, layout: ColumnLayout, untagged: bool) -> Iterator[Sentence]:
    """The sentences of a file. ``untagged``: the last columns may be missing, that of the tags among them."""
    width, words, tags = 0, list[str](), list[str]()
    for line, fields in read_column_rows(path):
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


def read_column_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, fields); fields are empty where a sentence ends.

    Fields are between tabs if the first word's line has one, else between spaces. Comments are left out, and in a
    .conllu the lines that are no words; a ``#`` that is a word is kept.
    """
    lines = [line.rstrip("\r") for line in read_utf8(path).split("\n")]
    tabs = "\t" in next((line for line in lines if line.strip() and not line.startswith(("#", "-DOCSTART-"))), "")
    universal, inside = path.suffix == ".conllu", False
    for number, line in enumerate([*lines, ""], 1):
        if not line.strip() or line.startswith("-DOCSTART-"):
            inside = False
            yield number, []
        elif line[0] == "#" and (universal or (tabs and "\t" not in line) or (not inside and COMMENT.match(line))):
            continue
        elif not (universal and NO_WORD.match(line)):
            inside = True
            fields = line.split("\t") if tabs else line.split(" ")
            yield number, [field.strip(" ") for field in fields if tabs or field]


def read_utf8(path: Path) -> str:
    """The text of a file. Raises ``UserError`` if it cannot be read or is not UTF-8."""
    with convert_errors(str(path), OSError):
        content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start:,}") from error
