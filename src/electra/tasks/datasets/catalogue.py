"""Which task is meant: one of GLUE's, or files of one's own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from electra.config import suggest_closest
from electra.errors import UserError, require_plain_name
from electra.tasks.datasets import columns, glue, glue_hub, labelled
from electra.tasks.datasets.labelled import Columns
from electra.tasks.finetuning import squad
from electra.tasks.finetuning.problem import Problem
from electra.tasks.finetuning.sequences import Sequences

ALL_OF_GLUE = "glue"


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
    class, or score where labels are fractions; .json and .json.gz are answers."""
    name: str = ""
    """What your own task is called; the file's name if left out."""
    columns: Columns = field(default_factory=Columns)
    """Where texts and labels stand in your own files."""
    word: str = ""
    """Tags: the column of the words, by number from 1 (CoNLL; default 1) or by name (default words)."""
    tag: str = ""
    """… and of the tags (default the last, or tags)."""


def load_problems(asked: TaskChoice) -> tuple[list[Problem], list[str]]:
    """The tasks, read, and a line for each thing about their files that is not as it should be.

    Raises:
        UserError: no such task, a file that is missing, and whatever the files' readers find.
    """
    name = asked.task.lower().removeprefix("glue/")
    if name and (asked.train or asked.dev):
        raise UserError("--task and --train: a task of GLUE's, or your own")
    if name:
        return load_glue_tasks(name, asked.data)
    if not (asked.train and asked.dev):
        raise UserError("which task? --task cola --data glue/CoLA, or --train my.csv --dev more.csv")
    given = {"train": asked.train, "dev": asked.dev, "test": asked.test}
    files = {split: Path(file) for split, file in given.items() if file}
    missing = next((file for file in files.values() if not file.is_file()), None)
    if missing:
        raise UserError(f"{missing}: no such file")
    return load_own_task(asked, files)


def load_own_task(asked: TaskChoice, files: Mapping[str, Path]) -> tuple[list[Problem], list[str]]:
    """A task from a file for each split."""
    name = require_plain_name(asked.name, "--name") if asked.name else name_after_file(files["train"])
    answers = asked.kind == "auto" and files["train"].name.endswith((".json", ".json.gz"))
    if asked.kind == "answers" or answers:
        found, told = squad.load_squad(files)
        return [found], told
    if asked.kind == "tags":
        tagging, told = columns.load_tagging(name, files, asked.word, asked.tag)
        return [tagging], told
    return [Sequences(labelled.load_labelled(name, files, asked.columns, asked.kind))], []


def name_after_file(file: Path) -> str:
    """What a task is called after its file. Raises ``UserError`` for a name that cannot be a folder's."""
    return require_plain_name(file.name.split(".")[0], f"--name is missing; {file} gives")


def load_glue_tasks(name: str, data: str) -> tuple[list[Problem], list[str]]:
    """One task of GLUE, or all that are there."""
    if not data:
        raise UserError(f"--data is missing: the folder of {name}'s files, or hub:")
    folder, hub = Path(data), data.startswith(glue_hub.HUB)
    if name != ALL_OF_GLUE and name not in glue.GLUE_TASKS:
        raise UserError(
            f"--task {name}{suggest_closest(name, [*glue.GLUE_TASKS, ALL_OF_GLUE])}: "
            f"{', '.join(glue.GLUE_TASKS)}, {ALL_OF_GLUE}"
        )
    if hub:
        found = [
            glue_hub.load_glue_from_hub(each, data) for each in (glue.GLUE_TASKS if name == ALL_OF_GLUE else [name])
        ]
    elif name == ALL_OF_GLUE:
        there = [each for each, spec in glue.GLUE_TASKS.items() if (folder / spec.folder).is_dir()]
        if not there:
            wanted = ", ".join(spec.folder for spec in glue.GLUE_TASKS.values())
            raise UserError(f"{folder}: none of {wanted} is in this folder")
        found = [glue.load_glue(each, folder / glue.GLUE_TASKS[each].folder) for each in there]
    else:
        inside = folder / glue.GLUE_TASKS[name].folder
        found = [glue.load_glue(name, inside if inside.is_dir() else folder)]
    return [Sequences(task) for task, _ in found], [line for _, told in found for line in told]
