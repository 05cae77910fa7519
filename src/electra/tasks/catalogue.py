"""From what a person names to a problem: a task of GLUE's, or one in files of their own."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from electra.config import suggest_closest
from electra.errors import UserError, require_plain_name
from electra.tasks.datasets import glue, glue_hub, labelled
from electra.tasks.datasets.labelled import Columns
from electra.tasks.finetuning.problem import Problem
from electra.tasks.finetuning.sequences import Sequences
from electra.tasks.finetuning.squad import load_squad
from electra.tasks.finetuning.tagging import load_tagging

ALL_OF_GLUE = "glue"
CONLL_ENDINGS = (".txt", ".conll", ".bio")


@dataclass(frozen=True)
class TaskChoice:
    """A task as a person names it."""

    task: str = ""
    """cola, sst-2, mrpc, sts-b, qqp, mnli, qnli, rte, wnli, or glue for all that --data holds; empty: your own."""
    data: str = ""
    """Folder of the GLUE task's TSV files; for glue, the folder with CoLA/, SST-2/ …; hub: takes them from the Hub."""
    train: str = ""
    """Your own task. Texts: .csv, .tsv, .jsonl or .parquet. Tags: CoNLL columns too. Answers: SQuAD's .json, MRQA's
    .jsonl, both also .gz."""
    dev: str = ""
    """… on which it is judged."""
    test: str = ""
    """… which is predicted; it need not have labels."""
    kind: Literal["auto", "class", "score", "labels", "tags", "answers"] = "auto"
    """What is predicted: a class, a number, several labels, a tag for each word, or an answer within a text. auto:
    class, or score where labels are fractions; .json and .json.gz are answers, .txt, .conll and .bio are tags."""
    name: str = ""
    """What your own task is called; the file's name if left out."""
    columns: Columns = field(default_factory=Columns)
    """Where texts and labels stand in your own files."""
    word: str = ""
    """Tags: the column of the words, by number from 1 (CoNLL; default 1) or by name (default words)."""
    tag: str = ""
    """… and of the tags (default the last, or tags)."""


def load_problems(choice: TaskChoice) -> tuple[list[Problem], list[str]]:
    """The problems of the chosen tasks, and a line for each thing about their files that is not as it should be.

    Raises:
        UserError: no such task, a file that is missing, or one that its reader refuses.
    """
    name = choice.task.lower().removeprefix("glue/")
    if name and (choice.train or choice.dev):
        raise UserError("--task and --train: a task of GLUE's, or your own")
    if name:
        return load_glue_tasks(name, choice.data)
    if choice.train and not choice.dev:
        raise UserError("--dev is missing: labelled texts to judge by, a file apart; none of --train is set aside")
    if not (choice.train and choice.dev):
        raise UserError("which task? --task cola --data glue/CoLA, or --train my.csv --dev more.csv")
    paths = {"train": choice.train, "dev": choice.dev, "test": choice.test}
    files = {split: Path(path) for split, path in paths.items() if path}
    missing = next((file for file in files.values() if not file.is_file()), None)
    if missing:
        raise UserError(f"{missing}: no such file")
    return load_own_task(choice, files)


def load_own_task(choice: TaskChoice, files: Mapping[str, Path]) -> tuple[list[Problem], list[str]]:
    """The problem in a file for each split, and lines that a person should read."""
    name = require_plain_name(choice.name, "--name") if choice.name else name_after_file(files["train"])
    is_json = files["train"].name.endswith((".json", ".json.gz"))
    if choice.kind == "answers" or (choice.kind == "auto" and is_json):
        questions, notes = load_squad(files)
        return [questions], notes
    if choice.kind == "tags" or (choice.kind == "auto" and files["train"].suffix in CONLL_ENDINGS):
        tagging, notes = load_tagging(name, files, choice.word, choice.tag)
        return [tagging], notes
    task = labelled.load_labelled(name, files, choice.columns, choice.kind)
    return [Sequences(task)], labelled.note_samples(task)


def print_problems(problems: Sequence[Problem], preview: bool, aside: bool = False) -> None:
    """Print what was read of each problem's files, and with ``preview`` the first rows; ``aside`` of a result on
    standard error."""
    file = sys.stderr if aside else sys.stdout
    for problem in problems:
        count = f"; {len(problem.labels):,} labels" if problem.labels else ""
        print(f"{problem.name}: judged by {', '.join(problem.metrics)}{count}", file=file)
        for split in problem.splits:
            print(*problem.account(split, preview), sep="\n", file=file)


def name_after_file(file: Path) -> str:
    """The file's name without its endings. Raises ``UserError`` for one that cannot be a folder's."""
    return require_plain_name(file.name.split(".")[0], f"--name is missing; {file} gives")


def load_glue_tasks(name: str, data: str) -> tuple[list[Problem], list[str]]:
    """One task of GLUE, or all whose folders are in ``data``, and a line for each split of an unexpected size.

    Raises:
        UserError: no such task, none in the folder, or as ``load_glue`` and ``load_glue_from_hub``.
    """
    if not data:
        raise UserError(f"--data is missing: the folder of {name}'s files, or hub:")
    tasks = glue.GLUE_TASKS
    if name != ALL_OF_GLUE and name not in tasks:
        closest = suggest_closest(name, [*tasks, ALL_OF_GLUE])
        raise UserError(f"--task {name}{closest}: {', '.join(tasks)}, {ALL_OF_GLUE}")
    folder = Path(data)
    if data.startswith(glue_hub.HUB):
        names = list(tasks) if name == ALL_OF_GLUE else [name]
        loaded = [glue_hub.load_glue_from_hub(task, data) for task in names]
    elif name == ALL_OF_GLUE:
        names = [task for task, spec in tasks.items() if (folder / spec.folder).is_dir()]
        if not names:
            wanted = ", ".join(spec.folder for spec in tasks.values())
            raise UserError(f"{folder}: none of {wanted} is in this folder")
        loaded = [glue.load_glue(task, folder / tasks[task].folder) for task in names]
    else:
        inside = folder / tasks[name].folder
        loaded = [glue.load_glue(name, inside if inside.is_dir() else folder)]
    return [Sequences(task, published=True) for task, _ in loaded], [line for _, lines in loaded for line in lines]
