"""Which runs lie in the folders that a person names."""

from pathlib import Path
from typing import NamedTuple

from electra import files
from electra.dataset.shards import MANIFEST
from electra.errors import UserError
from electra.run_folder import ENVIRONMENT, FINETUNING_RUN, PRETRAINING_RUN

RUNS = (PRETRAINING_RUN, FINETUNING_RUN)


class RunFolder(NamedTuple):
    """A run's folder, and what ``electra.json`` says that it holds."""

    folder: Path
    kind: str


def find_runs(folder: Path) -> list[RunFolder]:
    """The run in a folder, or all runs in one of ours that holds several: what finetune, compare or demo wrote. Beside
    runs of pretrain, those that judge them by fine-tuning are left out. Of a folder of nobody's, the runs of all such
    folders in it.

    Raises:
        UserError: there is no such folder, or no run in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    kind = files.read_kind(folder)
    if kind in RUNS:
        return [RunFolder(folder, kind)]
    if kind is None and (folder / ENVIRONMENT).is_file() and (folder / "checkpoints").is_dir():  # of version 0.1
        return [RunFolder(folder, PRETRAINING_RUN)]
    children = (child for child in folder.iterdir() if child.is_dir())
    ours = [folder] if kind else sorted(child for child in children if files.read_kind(child))
    runs = [run for each in ours for run in find_runs_below(each)]
    if not runs:
        raise UserError(
            f"{folder}: {describe_folder(folder, kind)}; it holds no run, and electra status takes what pretrain, "
            "finetune and compare write"
        )
    return runs


def find_runs_below(folder: Path) -> list[RunFolder]:
    """The runs in a folder of ours, itself among them: those of pretrain, or else those of finetune."""
    places = (path.parent for path in sorted(folder.rglob(files.MARKER)))
    runs = [RunFolder(place, kind) for place in places if (kind := files.read_kind(place)) in RUNS]
    return [run for run in runs if run.kind == PRETRAINING_RUN] or runs


def describe_folder(folder: Path, kind: str | None) -> str:
    """What a folder without runs holds, in words."""
    if kind:
        return f"a {kind}"
    if (folder / MANIFEST).is_file():
        return "prepared data, of which `electra data` tells"
    parts = files.read_kind(folder / "parts")
    return parts or "nothing of this program"
