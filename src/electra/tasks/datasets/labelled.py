"""A task of one's own: texts or pairs with classes, scores or labels, from files with named columns."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from electra.errors import UserError
from electra.tasks.datasets.label_names import list_lookalikes, parse_number, parse_score, sort_labels
from electra.tasks.datasets.records import Table, read_table
from electra.tasks.datasets.samples import Kind, Label, Sample, Task, refuse_one_label
from electra.tasks.datasets.values import get_field, get_text, name_label

MOST_CLASSES = 200  # different labels; more look like scores, or like a column of texts
METRICS_OF_KIND: Mapping[Kind, tuple[str, ...]] = {
    "class": ("accuracy", "macro-f1"),
    "score": ("spearman", "pearson"),
    "labels": ("micro-f1", "macro-f1", "accuracy"),
}

Parts = tuple[str, ...]  # the labels of a row; one, but where several are possible
Field = str | Parts | None  # what a row has as its label: a text, a list, or nothing


@dataclass(frozen=True)
class Columns:
    """What stands where. ``separator``: between the labels of a sample that may have several."""

    text: str = "text"
    pair: str = ""
    label: str = "label"
    separator: str = ","


def load_labelled(
    name: str, files: Mapping[str, Path], columns: Columns, kind: Kind | Literal["auto"] = "auto"
) -> Task:
    """The task in a file for each split; its labels are those of the train split, sorted. test need not have labels.

    ``auto``: labels if the train split has lists, score if it has numbers with a fraction, else class.

    Raises:
        UserError: a file that cannot be read, a column that is not there, a row without a field, a text that is none, a
            label that is missing, that the train split does not have, or that is no number where numbers are wanted.
    """
    if not columns.separator:
        raise UserError("--columns.separator is empty; it stands between the labels of a text")
    tables = {split: read_table(path) for split, path in files.items()}
    fields = {split: list(read_fields(table, columns, split == "test")) for split, table in tables.items()}
    kind = guess_kind(fields["train"]) if kind == "auto" else kind
    parts = {split: read_parts(tables[split], fields[split], kind, columns, split == "test") for split in tables}
    labels = () if kind == "score" else collect_labels(parts["train"], kind, columns, files["train"])
    train = list(build_samples(tables["train"], parts["train"], kind, labels, columns))
    refuse_one_label(train, kind, labels, str(files["train"]))
    splits = {
        split: train if split == "train" else list(build_samples(table, parts[split], kind, labels, columns))
        for split, table in tables.items()
    }
    accounts = {split: table.account() for split, table in tables.items()}
    return Task(name, kind, labels, METRICS_OF_KIND[kind], splits, accounts=accounts)


def build_samples(
    table: Table, parts: Sequence[Parts | None], kind: Kind, labels: Sequence[str], columns: Columns
) -> Iterator[Sample]:
    """The rows as samples. Raises ``UserError`` for a text that is none, and as ``parse_label``."""
    for (where, record), part in zip(table.rows, parts, strict=True):
        text = get_text(record, columns.text, where)
        pair = get_text(record, columns.pair, where) if columns.pair else None
        label = None if part is None else parse_label(part, kind, labels, f"{where}: {columns.label}")
        yield Sample(text, pair, label)


def read_fields(table: Table, columns: Columns, may_miss: bool) -> Iterator[Field]:
    """What each row has as its label. Raises ``UserError`` for what is no label, and if the column is not there unless
    it ``may_miss``."""
    for where, record in table.rows:
        value = record.get(columns.label) if may_miss else get_field(record, columns.label, where)
        place = f"{where}: {columns.label!r}"
        if isinstance(value, list):
            yield tuple(name_label(each, f"a value of {place}") for each in value)
        else:
            yield None if value is None else name_label(value, place)


def guess_kind(fields: Iterable[Field]) -> Kind:
    """labels if one is a list; score if all are numbers and one has a fraction; else class."""
    there = [field for field in fields if field is not None]
    if any(isinstance(field, tuple) for field in there):
        return "labels"
    numbers = [parse_number(field) for field in there if isinstance(field, str)]
    is_score = None not in numbers and any(number is not None and number != round(number) for number in numbers)
    return "score" if is_score else "class"


def read_parts(
    table: Table, fields: Sequence[Field], kind: Kind, columns: Columns, may_miss: bool
) -> list[Parts | None]:
    """The label of each row, or its labels; None where there is none, which only a split that ``may_miss`` has.

    An empty field has no labels where several are possible, and is missing elsewhere; in a split that ``may_miss`` it
    is missing if all are empty.
    """
    nothing_said = may_miss and not any(fields)
    parts: list[Parts | None] = []
    for (where, _), field in zip(table.rows, fields, strict=True):
        place = f"{where}: {columns.label!r}"
        missing = field is None or nothing_said or (isinstance(field, str) and kind != "labels" and not field.strip())
        if missing and not may_miss:
            raise UserError(
                f"{place} is {'null' if field is None else 'empty'}; rows without a label belong into --test"
            )
        parts.append(None if missing or field is None else split_field(field, kind, columns, place))
    return parts


def split_field(field: str | Parts, kind: Kind, columns: Columns, place: str) -> Parts:
    """The labels in one field, a text's without the spaces around them. Raises ``UserError`` for a list with an empty
    label or one twice, or a list where there can be one label only."""
    if isinstance(field, str):
        parts = [part.strip() for part in field.split(columns.separator)] if kind == "labels" else [field]
        return tuple(part for part in parts if part)
    if kind != "labels":
        raise UserError(f"{place} is a list, {', '.join(field)[:40]!r}; --kind labels is for several labels of a text")
    twice = [name for name, count in Counter(field).items() if count > 1]
    if twice or not all(part.strip() for part in field):
        wrong = f"has {twice[0]!r} twice" if twice else "has an empty label"
        raise UserError(f"{place} {wrong}; a list has the names of a text's labels")
    return field


def collect_labels(parts: Iterable[Parts | None], kind: Kind, columns: Columns, path: Path) -> tuple[str, ...]:
    """The different labels of a file, sorted. Raises ``UserError`` for none, or too many."""
    names = {name for each in parts if each for name in each}
    if not names:
        raise UserError(f"{path}: no row has a label under {columns.label!r}")
    if len(names) > MOST_CLASSES:
        raise UserError(
            f"{path}: {len(names)} different values under {columns.label!r}; is that the column of the labels? For "
            "numbers to be predicted say --kind score"
        )
    return sort_labels(names)


def parse_label(parts: Sequence[str], kind: Kind, labels: Sequence[str], where: str) -> Label:
    """A row's label as a class's number, a score, or 0 or 1 for each of ``labels``.

    Raises:
        UserError: a score that is no number, or a label that is not among ``labels``.
    """
    if kind == "score":
        return parse_score(parts[0], where)
    for part in parts:
        if part not in labels:
            raise UserError(f"{where} {part!r}, which no row of the train split has ({', '.join(labels)})")
    return tuple(float(name in parts) for name in labels) if kind == "labels" else labels.index(parts[0])


def note_samples(task: Task) -> list[str]:
    """A line for each thing about a task's labels that a person should know."""
    notes = [
        f"{task.name}: labels that differ in case or spaces only: {names}" for names in list_lookalikes(task.labels)
    ]
    for split, samples in task.splits.items():
        labelled = sum(sample.label is not None for sample in samples)
        if 0 < labelled < len(samples):
            notes.append(
                f"{task.name}, {split}: {labelled:,} of {len(samples):,} rows have a label, so it is predicted and not "
                "judged"
            )
    return notes
