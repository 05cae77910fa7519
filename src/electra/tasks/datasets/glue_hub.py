"""The tasks of GLUE from the Hugging Face Hub, whose columns and splits have other names than GLUE's files."""

from collections.abc import Mapping
from typing import Any

from electra.errors import UserError, convert_errors
from electra.extras import import_extra
from electra.tasks.datasets.glue import GLUE_TASKS, GlueSpec, build_glue_task, compare_counts
from electra.tasks.datasets.samples import Sample, Task
from electra.tasks.datasets.values import get_text

HUB = "hub:"
HOME = "nyu-mll/glue"
TEXTS = {  # task → config, columns of the texts
    "cola": ("cola", ("sentence",)),
    "sst-2": ("sst2", ("sentence",)),
    "mrpc": ("mrpc", ("sentence1", "sentence2")),
    "sts-b": ("stsb", ("sentence1", "sentence2")),
    "qqp": ("qqp", ("question1", "question2")),
    "mnli": ("mnli", ("premise", "hypothesis")),
    "qnli": ("qnli", ("question", "sentence")),
    "rte": ("rte", ("sentence1", "sentence2")),
    "wnli": ("wnli", ("sentence1", "sentence2")),
}
SPLITS = {
    "train": "train",
    "validation": "dev",
    "validation_matched": "dev",
    "validation_mismatched": "dev-mismatched",
    "test": "test",
    "test_matched": "test",
    "test_mismatched": "test-mismatched",
}


def load_glue_from_hub(name: str, data: str) -> tuple[Task, list[str]]:
    """A task from ``hub:`` or ``hub:NAME``, and a line for each split whose rows are not as many as published.

    Raises:
        UserError: the package datasets is missing or cannot load the data set, or a column is not there.
    """
    datasets = import_extra("datasets", "hub", f"{data}:")
    spec, home = GLUE_TASKS[name], data.removeprefix(HUB) or HOME
    config, texts = TEXTS[name]
    with convert_errors(f"{data} {config}: datasets cannot load this", Exception):
        splits = {SPLITS[split]: rows for split, rows in datasets.load_dataset(home, config).items() if split in SPLITS}
        if name == "mnli" and "ax" in datasets.get_dataset_config_names(home):
            splits["diagnostic"] = datasets.load_dataset(home, "ax", split="test")
    samples = {
        split: build_hub_samples(rows, spec, texts, split, f"{data} {config}, {split}")
        for split, rows in splits.items()
    }
    accounts = {split: [f"{data} {config}"] for split in samples}
    return build_glue_task(name, samples, accounts, f"{data} {config}"), compare_counts(
        spec, samples, f"{data} {config}"
    )


def build_hub_samples(rows: Any, spec: GlueSpec, texts: tuple[str, ...], split: str, where: str) -> list[Sample]:
    """The samples of a ``datasets.Dataset``. ``texts``: its columns of text and, in pairs, the other; −1 is no label.

    Raises:
        UserError: a column that is not there, a text that is none, or a row without a label in train or dev.
    """
    missing = next((column for column in (*texts, "label") if column not in rows.column_names), None)
    if missing:
        raise UserError(f"{where}: no column {missing!r}; its columns: {', '.join(rows.column_names)}")
    numbers = map_class_numbers(rows.features["label"], spec)
    samples = []
    for number, row in enumerate(rows):
        place = f"{where}, row {number}"
        text, *pair = [get_text(row, column, place) for column in texts]
        label = None if row["label"] in (-1, None) else numbers.get(row["label"], row["label"])
        if label is None and not split.startswith(("test", "diagnostic")):
            raise UserError(f"{place}: no label")
        if label is not None and spec.kind == "class" and label not in range(len(spec.labels)):
            raise UserError(f"{place}: label {label!r}; {spec.folder} has {', '.join(spec.labels)}")
        samples.append(Sample(text, pair[0] if pair else None, label))
    return samples


def map_class_numbers(feature: Any, spec: GlueSpec) -> Mapping[int, int]:
    """A label feature's numbers → ours, by the classes' names (MNLI's order is another); without our names nothing."""
    names = getattr(feature, "names", None) or []
    return {number: spec.labels.index(name) for number, name in enumerate(names) if name in spec.labels}
