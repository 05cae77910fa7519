"""Sentences with a tag for each word: CoNLL columns, or two fields a sentence in .csv, .tsv, .jsonl and .parquet."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from electra.errors import UserError, convert_errors
from electra.tasks.datasets.labelled import get_field_text, read_records
from electra.tasks.finetuning.tagging import Sentence, Tagging

NUMBER = re.compile(r"-?\d+")
COMMENT = re.compile(r"#\s*(\S+ = |id\s|newdoc|newpar)")  # CoNLL-U's, and those of MultiCoNER
NO_WORD = re.compile(r"\d+[-.]\d+\t")  # CoNLL-U: a stretch of several words, or one that is not written


@dataclass(frozen=True)
class ColumnLayout:
    """Which of ``width`` columns are words and tags, counted from 0, and ``where`` that was seen."""

    word: int
    tag: int
    width: int
    where: str


def load_tagging(name: str, files: Mapping[str, Path], word: str, tag: str) -> tuple[Tagging, list[str]]:
    """The task in a file for each split, and a line for what its files have that is not as it should be.

    ``word``, ``tag``: columns by number, 1 being the first and -1 the last (default 1 and -1), or by name (default
    words and tags). In the latter a row is a sentence, its words a list, or separated by spaces. test need not have
    tags.

    Raises:
        UserError: a file that cannot be read or has no word, a column that is not there, rows of unlike width, words
            and tags of unlike number, one tag only in train.
    """
    shape: ColumnLayout | None = None
    sentences: dict[str, list[Sentence]] = {}
    for split, path in {"train": files["train"], **files}.items():
        bare = split == "test"
        if is_table(path, word, tag):
            sentences[split] = list(read_table_sentences(path, word or "words", tag or "tags", bare))
        else:
            shape = shape or detect_columns(path, word or "1", tag or "-1")
            sentences[split] = list(read_column_sentences(path, shape, bare))
        if not any(sentence.words for sentence in sentences[split]):
            raise UserError(f"{path}: no words")
    found = Tagging(name, sentences)
    if len(found.labels) < 2:
        raise UserError(f"{files['train']}: all words have the tag {found.labels[0]!r}; there is nothing to tell apart")
    return found, list(note_tags(found, files))


def note_tags(found: Tagging, files: Mapping[str, Path]) -> Iterator[str]:
    """What a person should know of the tags."""
    if all(NUMBER.fullmatch(label) for label in found.labels):
        yield f"{files['train']}: tags are numbers without names, so words are judged, not spans"
    for split in found.evaluated:
        tags = Counter(tag for sentence in found.sentences[split] for tag in sentence.tags or ())
        unseen = {tag: count for tag, count in sorted(tags.items()) if tag not in found.labels}
        if unseen:
            said = ", ".join(f"{tag} ({count:,} words)" for tag, count in unseen.items())
            yield f"{files[split]}: tags that {files['train']} does not have and that are never predicted: {said}"


def is_table(path: Path, word: str, tag: str) -> bool:
    """Whether a file has fields with names; a .tsv does if its first line says so, or names are asked for."""
    if path.suffix != ".tsv":
        return path.suffix in (".csv", ".jsonl", ".parquet")
    if any(asked and not NUMBER.fullmatch(asked) for asked in (word, tag)):
        return True
    return {word or "words", tag or "tags"} <= set(read_utf8(path).split("\n")[0].rstrip("\r").split("\t"))


def read_table_sentences(path: Path, word: str, tag: str, bare: bool) -> Iterator[Sentence]:
    """A sentence a row. ``bare``: tags may be missing."""
    names = read_class_names(path, tag) if path.suffix == ".parquet" else ()
    for where, record in read_records(path):
        words = get_values(record, word, where)
        if bare and record.get(tag) is None:
            yield Sentence(words)
            continue
        tags = get_values(record, tag, where, names)
        if len(words) != len(tags):
            raise UserError(f"{where}: {len(words)} {word!r}, and {len(tags)} {tag!r}")
        if not all(tags):
            raise UserError(f"{where}: value {tags.index('') + 1} of {tag!r} is empty")
        yield Sentence(words, tags)


def get_values(
    record: Mapping[str, Any], column: str, where: str, names: Sequence[str] | None = None
) -> tuple[str, ...]:
    """A field with several values. ``names``: of those that are numbers; None: there must be none."""
    found = record.get(column)
    if not isinstance(found, list):
        said = get_field_text(record, column, where)
        if not isinstance(found, str):
            raise UserError(f"{where}: {column!r} is {said[:40]}, not a list")
        return tuple(word for word in said.split(" ") if word)
    for each in found:
        if not isinstance(each, str) and (names is None or type(each) is not int):
            raise UserError(f"{where}: {column!r} has {each!r} among its values, which is no text")
    known = dict(enumerate(names or ()))
    return tuple(each if isinstance(each, str) else known.get(each, str(each)) for each in found)


def read_class_names(path: Path, column: str) -> Sequence[str]:
    """What the numbers of a column mean, where Hugging Face's ``datasets`` wrote the file; else nothing."""
    import pyarrow
    from pyarrow import parquet

    with convert_errors(str(path), OSError, pyarrow.ArrowException):
        said = (parquet.read_schema(path).metadata or {}).get(b"huggingface", b"{}")
    feature = json.loads(said).get("info", {}).get("features", {}).get(column, {})
    inner = feature[0] if isinstance(feature, list) else feature.get("feature", {})
    return inner.get("names", ())


def read_column_sentences(path: Path, shape: ColumnLayout, bare: bool) -> Iterator[Sentence]:
    """A word a line. ``bare``: the last columns may be missing, that of the tags among them."""
    width, words, tags = 0, list[str](), list[str]()
    for line, fields in read_column_rows(path):
        if fields:
            width = width or (min(len(fields), shape.width) if bare else shape.width)
            if len(fields) != width or shape.word >= width:
                raise UserError(f"{path}, line {line}: {len(fields)} columns, and {shape.width} in {shape.where}")
            for what, at, found in (("word", shape.word, words), ("tag", shape.tag, tags)):
                if at < width:
                    if not fields[at]:
                        raise UserError(f"{path}, line {line}: no {what} in column {at + 1}")
                    found.append(fields[at])
        elif words:
            yield Sentence(tuple(words), tuple(tags) if shape.tag < width else None)
            words, tags = [], []


def detect_columns(path: Path, word: str, tag: str) -> ColumnLayout:
    """What the first row of a file says. Raises ``UserError`` if the columns asked for are not there."""
    line, fields = next(((line, fields) for line, fields in read_column_rows(path) if fields), (0, []))
    if not fields:
        raise UserError(f"{path}: no words")
    width, at = len(fields), []
    for flag, asked in (("--word", word), ("--tag", tag)):
        if not NUMBER.fullmatch(asked):
            raise UserError(f"{path}, line {line}: {flag} {asked}: columns without names; 1 is the first, -1 the last")
        number = int(asked)
        if not 1 <= abs(number) <= width:
            raise UserError(f"{path}, line {line}: {flag} {asked}: {width} columns; 1 is the first, -1 the last")
        at.append(number - 1 if number > 0 else width + number)
    if at[0] == at[1]:
        raise UserError(f"{path}, line {line}: {width} columns, and words and tags both in column {at[0] + 1}")
    return ColumnLayout(at[0], at[1], width, f"{path}, line {line}")


def read_column_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, fields), without fields where a sentence ends. Fields are between tabs if the first word's line has one,
    else between spaces; comments and what is no word in a .conllu are left out, but not ``#`` as a word.
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
    """A file's content."""
    with convert_errors(str(path), OSError):
        content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start:,}") from error
