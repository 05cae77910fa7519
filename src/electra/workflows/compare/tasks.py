"""The labelled tasks by which ``electra compare`` judges: GLUE's, files of one's own, or the built-in one."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from electra.corpus import builtin
from electra.errors import UserError, convert_errors
from electra.files import write_whole
from electra.tasks.datasets import packages
from electra.tasks.datasets.catalogue import TaskChoice, load_problems
from electra.tasks.datasets.labelled import Columns
from electra.tasks.datasets.samples import Sample, Task
from electra.tasks.finetuning.problem import FineTuning
from electra.tasks.finetuning.sequences import Sequences
from electra.tasks.frozen.probes import choose_held_out
from electra.workflows.demo import TUNING

BUILT_IN = "packages"
PACKAGES_FILE = "packages.json"


def read_tasks(
    tasks: Sequence[str], probes: Sequence[str], columns: Columns, tuning: FineTuning, out: Path
) -> tuple[list[tuple[Task, FineTuning | None]], list[str]]:
    """The tasks, each with how it is tuned, and those that are only probed; and a line for each thing about their files
    that is not as it should be.

    The built-in task is kept in ``out``: with other packages installed it would be another one.

    Raises:
        UserError: as ``problems``; or two tasks of one name.
    """
    there: dict[str, tuple[Task, FineTuning | None]] = {}
    told: list[str] = []
    for index, text in enumerate((*tasks, *probes)):
        flag = f"--{'tasks' if index < len(tasks) else 'probes'} {text}"
        found, lines = build_built_in_tasks(out) if text == BUILT_IN else read_named_tasks(text, flag, columns, tuning)
        told += lines
        for task, how in found:
            if task.name in there:
                raise UserError(f"{flag}: there is another task called {task.name}")
            if not task.evaluated:
                raise UserError(f"{flag}: no labels to judge by in any file besides train")
            there[task.name] = task, how if index < len(tasks) else None
    return [*there.values()], told


def read_named_tasks(
    text: str, flag: str, columns: Columns, tuning: FineTuning
) -> tuple[list[tuple[Task, FineTuning | None]], list[str]]:
    """The tasks that ``cola=FOLDER``, ``TRAIN:DEV`` or ``FILE`` names; of a single file a fifth of the texts is dev."""
    name, equals, folder = text.partition("=")
    if equals:
        found, told = load_problems(TaskChoice(task=name, data=folder))
        return [(each.task, tuning) for each in found if isinstance(each, Sequences)], told
    train, colon, dev = text.partition(":")
    (problem, *_), told = load_problems(TaskChoice(train=train, dev=dev if colon else train, columns=columns))
    if not isinstance(problem, Sequences):
        raise UserError(f"{flag}: expected texts with classes, scores or labels")
    task = problem.task
    task = task if colon else replace(task, splits=split_off_dev(task.splits["train"]))
    return [(task, tuning)], told


def split_off_dev(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    """Train and dev, equal texts on one side."""
    out = choose_held_out(samples, "dev 0")
    return {
        split: [sample for sample, held in zip(samples, out, strict=True) if held == (split == "dev")]
        for split in ("train", "dev")
    }


def build_built_in_tasks(out: Path) -> tuple[list[tuple[Task, FineTuning | None]], list[str]]:
    """Which package is a docstring from: with few and with many labels, tuned as the demo does; with all, probed."""
    path = out / PACKAGES_FILE
    if path.is_file():
        with convert_errors(f"{path}: damaged; remove it", ValueError, TypeError):
            found = packages.PackageTask(**json.loads(path.read_text(encoding="utf-8")))
    else:
        print("the built-in task: reading the docstrings of the installed packages", flush=True)
        found = packages.build_package_task(builtin.collect_docstrings())
        out.mkdir(parents=True, exist_ok=True)
        with write_whole(path) as file:
            file.write_text(json.dumps(asdict(found)))
    dev = classified_samples(found.test_texts, found.test_labels)
    every = {"train": classified_samples(found.train_texts, found.train_labels), "dev": dev}
    tasks: list[tuple[Task, FineTuning | None]] = [(classification_task(BUILT_IN, found.names, every), None)]
    for per_class, tuning in TUNING.items():
        splits = {"train": classified_samples(*found.subset(per_class, seed=0)), "dev": dev}
        tasks.append((classification_task(f"{BUILT_IN}-{per_class}", found.names, splits), tuning))
    return tasks, []


def classification_task(name: str, names: Sequence[str], splits: dict[str, list[Sample]]) -> Task:
    """The built-in task on some of its texts."""
    return Task(name, "class", tuple(names), ("macro-f1", "accuracy"), splits)


def classified_samples(texts: Sequence[str], labels: Sequence[int]) -> list[Sample]:
    """Texts with their classes."""
    return [Sample(text, None, label) for text, label in zip(texts, labels, strict=True)]
