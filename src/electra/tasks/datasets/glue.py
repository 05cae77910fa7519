"""The tasks of GLUE (Wang et al., 2019), read from its own TSV files: no quotes, a header in all but CoLA's."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from electra.corpus.documents import Skipped
from electra.errors import UserError
from electra.tasks.datasets.label_names import parse_score
from electra.tasks.datasets.records import refuse_same_names
from electra.tasks.datasets.samples import Kind, Sample, Task, refuse_one_label
from electra.tasks.datasets.text_files import read_utf8

ENTAILMENT = ("entailment", "not_entailment")
BINARY = ("0", "1")
TRAIN_DEV_TEST = {"train": "train.tsv", "dev": "dev.tsv", "test": "test.tsv"}


@dataclass(frozen=True)
class GlueSpec:
    """Where a task's texts and labels stand, how it is judged, and how many rows its files have.

    ``text``, ``pair``, ``label``: names of columns, or their numbers if the files have no header; empty: no such
    column. ``metrics``: the paper's first. ``counts``: split → rows, as published. ``submission``: split → the file
    that the GLUE server wants. ``files``: split → its file in ``folder``.
    """

    folder: str
    text: str
    pair: str
    label: str
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    counts: Mapping[str, int]
    submission: Mapping[str, str]
    files: Mapping[str, str]
    kind: Kind = "class"
    symmetric: bool = False
    epochs: int = 3
    header: bool = True


def make_spec(
    folder: str, texts: tuple[str, str], label: str, labels: tuple[str, ...], metrics: tuple[str, ...],
    counts: tuple[int, int, int], kind: Kind = "class", symmetric: bool = False, epochs: int = 3, header: bool = True,
) -> GlueSpec:  # fmt: skip
    """The spec of a task with the usual three files; ``texts``: columns of text and pair."""
    sizes = dict(zip(TRAIN_DEV_TEST, counts, strict=True))
    return GlueSpec(
        folder, *texts, label, labels, metrics, sizes, {"test": f"{folder}.tsv"}, TRAIN_DEV_TEST, kind, symmetric,
        epochs, header,
    )  # fmt: skip


SENTENCES = ("sentence1", "sentence2")
GLUE_TASKS = {
    "cola": make_spec("CoLA", ("3", ""), "1", BINARY, ("matthews", "accuracy"), (8551, 1043, 1063), header=False),
    "sst-2": make_spec("SST-2", ("sentence", ""), "label", BINARY, ("accuracy",), (67349, 872, 1821)),
    "mrpc": make_spec(
        "MRPC", ("#1 String", "#2 String"), "Quality", BINARY, ("accuracy", "f1"), (3668, 408, 1725), symmetric=True
    ),
    "sts-b": make_spec(
        "STS-B", SENTENCES, "score", (), ("spearman", "pearson"), (5749, 1500, 1379), "score", symmetric=True, epochs=10
    ),
    "qqp": make_spec(
        "QQP", ("question1", "question2"), "is_duplicate", BINARY, ("accuracy", "f1"), (363846, 40430, 390965)
    ),
    "mnli": GlueSpec(
        "MNLI", *SENTENCES, "gold_label", ("contradiction", "entailment", "neutral"), ("accuracy",),
        {"train": 392702, "dev": 9815, "dev-mismatched": 9832,
         "test": 9796, "test-mismatched": 9847, "diagnostic": 1104},
        {"test": "MNLI-m.tsv", "test-mismatched": "MNLI-mm.tsv", "diagnostic": "AX.tsv"},
        {"train": "train.tsv", "dev": "dev_matched.tsv", "dev-mismatched": "dev_mismatched.tsv",
         "test": "test_matched.tsv", "test-mismatched": "test_mismatched.tsv", "diagnostic": "diagnostic.tsv"},
    ),
    "qnli": make_spec("QNLI", ("question", "sentence"), "label", ENTAILMENT, ("accuracy",), (104743, 5463, 5463)),
    "rte": make_spec("RTE", SENTENCES, "label", ENTAILMENT, ("accuracy",), (2490, 277, 3000), epochs=10),
    "wnli": make_spec("WNLI", SENTENCES, "label", BINARY, ("accuracy",), (635, 71, 146)),
}  # fmt: skip
PAPER_ROW = ("cola", "sst-2", "mrpc", "sts-b", "qqp", "mnli", "qnli", "rte")  # table 8; WNLI is left out there


def load_glue(name: str, folder: Path) -> tuple[Task, list[str]]:
    """A task from its folder, and a line for each split whose rows are not as many as published.

    Raises:
        UserError: a file that is missing or not UTF-8, a column that is not there, a row with too few fields, a label
            that the task does not have.
    """
    spec = GLUE_TASKS[name]
    splits: dict[str, list[Sample]] = {}
    accounts: dict[str, list[str]] = {}
    for split, file in spec.files.items():
        path = folder / file
        if not path.is_file():
            if split in ("train", "dev"):
                raise UserError(f"{path}: no such file; GLUE's {spec.folder} has {', '.join(spec.files.values())}")
            continue
        skipped, labelled = Skipped(), not split.startswith(("test", "diagnostic"))
        splits[split] = list(read_glue_samples(spec, path, labelled, skipped))
        accounts[split] = [str(path), *skipped.lines()]
    return build_glue_task(name, splits, accounts, str(folder)), compare_counts(spec, splits, str(folder))


def build_glue_task(
    name: str, splits: Mapping[str, Sequence[Sample]], accounts: Mapping[str, Sequence[str]], where: str
) -> Task:
    """The task with these samples. ``accounts``: what was read for each split.

    Raises:
        UserError: a split without rows, or a train split of one class or score.
    """
    spec = GLUE_TASKS[name]
    for split in ("train", "dev", *splits):
        if not splits.get(split):
            raise UserError(f"{where}: no rows in {split}")
    refuse_one_label(splits["train"], spec.kind, spec.labels, f"{where}, train")
    return Task(name, spec.kind, spec.labels, spec.metrics, splits, spec.symmetric, spec.epochs, accounts)


def compare_counts(spec: GlueSpec, splits: Mapping[str, Sequence[Sample]], where: str) -> list[str]:
    """A line for each split whose rows are not as many as published."""
    return [
        f"{where}, {split}: {len(rows):,} rows, and {spec.counts[split]:,} as published: incomplete, or another task"
        for split, rows in splits.items()
        if len(rows) != spec.counts[split]
    ]


def read_glue_samples(spec: GlueSpec, path: Path, labelled: bool, skipped: Skipped) -> Iterator[Sample]:
    """The samples of one file. A test file has a header and no labels, whatever the task's others have.

    A row with more or fewer fields than the first line is left out of a labelled file and counted, as in the original
    code: QQP's published train file has such rows. A test file is predicted row by row, so there it is an error.
    """
    rows = read_tsv(path)
    if spec.header or not labelled:
        header = next(rows, (0, list[str]()))[1]
        text = "sentence" if spec.folder == "CoLA" else spec.text
    else:
        header, text = list(map(str, range(4))), spec.text
    names = {"text": text, "pair": spec.pair, "label": spec.label if labelled else ""}
    columns = {role: find_column(header, name, path) for role, name in names.items() if name}
    for line, fields in rows:
        if len(fields) != len(header):
            damage = f"{len(fields)} fields, and {len(header)} columns"
            if not labelled:
                raise UserError(f"{path}, line {line}: {damage}; the answers to a test file are counted row by row")
            skipped.note("row with more or fewer fields than columns", f"{path}, line {line}: {damage}")
            continue
        values = {role: fields[column] for role, column in columns.items()}
        label = parse_glue_label(spec, values["label"], f"{path}, line {line}") if labelled else None
        yield Sample(values["text"], values.get("pair"), label)


def read_tsv(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, fields) of a file. Quotes are letters like any other; blank lines are passed over."""
    for number, line in enumerate(read_utf8(path).split("\n"), 1):
        if line.strip():
            yield number, line.removesuffix("\r").split("\t")


def find_column(header: Sequence[str], name: str, path: Path) -> int:
    """The number of a column, from 0. Raises ``UserError`` naming the columns if it is not there, or there twice."""
    refuse_same_names([each for each in header if each == name], f"{path}, line 1")
    if name not in header:
        raise UserError(f"{path}, line 1: no column {name!r}; its columns: {', '.join(map(repr, header)) or 'none'}")
    return list(header).index(name)


def parse_glue_label(spec: GlueSpec, label: str, where: str) -> int | float:
    """A class's number, or a score. Raises ``UserError`` for a label that the task does not have."""
    if spec.kind == "score":
        return parse_score(label, f"{where}: score")
    if label not in spec.labels:
        raise UserError(f"{where}: label {label!r}; {spec.folder} has {', '.join(spec.labels)}")
    return spec.labels.index(label)
