"""The labelled tasks by which ``electra compare`` judges: GLUE's, files of one's own, or the built-in one."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from electra.corpus import builtin
from electra.errors import UserError
from electra.tasks.catalogue import TaskChoice, load_problems
from electra.tasks.datasets.labelled import Columns
from electra.tasks.datasets.packages import PackageTask, build_package_task
from electra.tasks.datasets.samples import Sample, Task
from electra.tasks.finetuning.problem import FineTuning
from electra.tasks.finetuning.sequences import Sequences
from electra.tasks.finetuning.tagging import Tagging
from electra.tasks.frozen.probes import choose_held_out
from electra.tasks.frozen.tag_probe import ProbedProblem
from electra.workflows.package_task import LABELS, TASK_FILE, TUNING, read_package_task, write_package_task

BUILT_IN = "packages"

TunedProblem = tuple[ProbedProblem, FineTuning | None]  # and how it is tuned; None: it is only probed


def read_tasks(
    tasks: Sequence[str], probes: Sequence[str], columns: Columns, tuning: FineTuning, out: Path
) -> tuple[list[TunedProblem], list[str]]:
    """Read ``tasks``, which are tuned and probed, and ``probes``, which are only probed.

    Returns the tasks, and a warning for each thing in their files that is not as it should be. The built-in task is
    kept in ``out``: with other packages installed it would be another one.

    Raises:
        UserError: as ``load_problems``; a task without labels to judge by; two tasks of one name.
    """
    by_name: dict[str, TunedProblem] = {}
    warnings: list[str] = []
    for index, text in enumerate((*tasks, *probes)):
        flag = f"--{'tasks' if index < len(tasks) else 'probes'} {text}"
        if text == BUILT_IN:
            tuned_problems = build_built_in_tasks(load_package_task(out))
        else:
            tuned_problems, lines = read_named_tasks(text, flag, columns, tuning)
            warnings += lines
        for problem, how in tuned_problems:
            if problem.name in by_name:
                raise UserError(f"{flag}: there is another task called {problem.name}")
            if not problem.evaluated:
                raise UserError(f"{flag}: no labels to judge by in any file besides train")
            by_name[problem.name] = problem, how if index < len(tasks) else None
    return [*by_name.values()], warnings


def read_named_tasks(
    text: str, flag: str, columns: Columns, tuning: FineTuning
) -> tuple[list[TunedProblem], list[str]]:
    """The tasks that ``cola=FOLDER``, ``[NAME=]TRAIN:DEV`` or ``[NAME=]FILE`` names, and warnings; of one file a fifth
    is dev, and files without a name are called after the first."""
    name, equals, paths = text.partition("=") if "=" in text else ("", "", text)
    if equals and (Path(paths).is_dir() or not Path(paths).suffix):  # every file that is read has an ending
        problems, warnings = load_problems(TaskChoice(task=name, data=paths))
        return [(problem, tuning) for problem in problems if isinstance(problem, Sequences)], warnings
    train, colon, dev = paths.partition(":")
    own = TaskChoice(train=train, dev=dev if colon else train, name=name, columns=columns)
    (problem, *_), warnings = load_problems(own)
    if isinstance(problem, Tagging) and colon:
        tuning = replace(tuning, pooling="auto")  # what is asked is for texts: a tag has the state of its word
        return [(problem, tuning)], warnings
    if not isinstance(problem, Sequences):
        raise UserError(f"{flag}: expected texts with classes, scores or labels, or two files TRAIN:DEV of tags")
    task = problem.task if colon else replace(problem.task, splits=split_off_dev(problem.task.splits["train"]))
    return [(Sequences(task), tuning)], warnings


def split_off_dev(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    """Train and dev, equal texts in the same one."""
    in_dev = choose_held_out(samples, "dev 0")
    return {
        split: [sample for sample, held_out in zip(samples, in_dev, strict=True) if held_out == (split == "dev")]
        for split in ("train", "dev")
    }


def load_package_task(out: Path) -> PackageTask:
    """The built-in task as it is kept in ``out``; if it is not there, it is made and written."""
    path = out / TASK_FILE
    if path.is_file():
        return read_package_task(path)
    print("the built-in task: reading the docstrings of the installed packages", flush=True)
    task = build_package_task(builtin.collect_docstrings())
    write_package_task(path, task)
    return task


def build_built_in_tasks(packages: PackageTask) -> list[TunedProblem]:
    """The task with few and with many labels, each tuned as the demo does, and with all labels, which is only probed.

    All are judged by the texts of dev: those of test are for what a comparison led to.
    """
    dev = classified_samples(packages.dev_texts, packages.dev_labels)
    all_labels = {"train": classified_samples(packages.train_texts, packages.train_labels), "dev": dev}
    problems: list[TunedProblem] = [(classification_problem(BUILT_IN, packages.names, all_labels), None)]
    for per_class in LABELS:
        splits = {"train": classified_samples(*packages.draw_subset(per_class, seed=0)), "dev": dev}
        problems.append((classification_problem(f"{BUILT_IN}-{per_class}", packages.names, splits), TUNING))
    return problems


def classification_problem(name: str, names: Sequence[str], splits: dict[str, list[Sample]]) -> Sequences:
    """The built-in task on some of its texts."""
    return Sequences(Task(name, "class", tuple(names), ("macro-f1", "accuracy"), splits))


def classified_samples(texts: Sequence[str], labels: Sequence[int]) -> list[Sample]:
    """Texts with their classes."""
    return [Sample(text, None, label) for text, label in zip(texts, labels, strict=True)]
