"""Which models a folder holds that ``electra export`` is given: the towers of a run, or what was fine-tuned."""

from pathlib import Path

from electra import files
from electra.errors import UserError
from electra.interchange import huggingface
from electra.interchange.folders import TOWERS, WEIGHTS_FILE, final_folder
from electra.interchange.views import ModelView, View
from electra.run_folder import read_json
from electra.tasks.finetuning.run import MODEL
from electra.workflows.finetune import FINETUNINGS
from electra.workflows.finetune_summary import SUMMARY_FILE


def find_views(folder: Path, view: View | None, keep_layers: int, default: View) -> dict[str, ModelView]:
    """The models to write, by the name of the folder within ``out``; "" is ``out`` itself.

    ``view``: None is ``default`` for towers, and ``finetuned`` for what was fine-tuned.

    Raises:
        UserError: no model there, or none with such a head.
    """
    towers = find_towers(folder)
    if not towers:
        model = find_finetuned(folder)
        if view in ("pretraining", "mlm"):
            raise UserError(f"{model}: as {view}: holds no tower of a run; say --as encoder or finetuned")
        return {"": ModelView(model, view or "finetuned", keep_layers)}
    view = view or default
    if view == "finetuned":
        raise UserError(f"{folder}: as finetuned: holds towers; give what `electra finetune --out` wrote")
    if view == "encoder":
        return {"": ModelView(towers[0], view, keep_layers)}
    if view == "mlm":
        return {"": ModelView(find_token_tower(folder, towers), view, keep_layers)}
    whole = towers[:1] if keep_layers else towers
    return {"" if tower == folder else tower.name: ModelView(tower, view, keep_layers) for tower in whole}


def find_towers(folder: Path) -> list[Path]:
    """The towers of a run or of an exported folder, or the one that ``folder`` is; none if it holds none."""
    towers = [tower for name in TOWERS if (tower := final_folder(folder) / name).is_dir()]
    return towers or ([folder] if huggingface.is_tower(folder) else [])


def find_token_tower(folder: Path, towers: list[Path]) -> Path:
    """The first tower with a head that predicts tokens. Raises ``UserError`` if there is none."""
    for tower in towers:
        if huggingface.read_tower_folder(tower).role == "generator":
            return tower
    raise UserError(
        f"{folder}: as mlm: no tower here predicts tokens, only {' and '.join(each.name for each in towers)}"
    )


def find_finetuned(folder: Path) -> Path:
    """The fine-tuned model in a folder: the folder itself, that of a seed, the best of a task's, or the only task's.

    Raises:
        UserError: none there, none that is finished, or those of several tasks.
    """
    for model in (folder, folder / MODEL):
        if (model / "config.json").is_file() and (model / WEIGHTS_FILE).is_file():
            return model
    if (folder / SUMMARY_FILE).is_file():
        return find_best(folder)
    tasks = sorted(path.parent for path in folder.glob(f"*/{SUMMARY_FILE}"))
    if len(tasks) > 1:
        raise UserError(f"{folder}: which of {len(tasks)} tasks? electra export {tasks[0]} --out FOLDER")
    if tasks:
        return find_best(tasks[0])
    if files.read_kind(folder) == FINETUNINGS:
        raise UserError(f"{folder}: no task here is finished; `electra finetune --out {folder}` with its flags goes on")
    raise UserError(
        f"{folder}: no final/ with towers here, and no fine-tuned model; is the run finished? "
        f"`electra pretrain --out {folder}` goes on"
    )


def find_best(task: Path) -> Path:
    """The best seed's model in a task's folder, which may have been moved since its summary was written.

    Raises:
        UserError: the summary is damaged, or the model is not there.
    """
    summary = read_json(task / SUMMARY_FILE, "`electra finetune` with the same --out writes it anew")
    seed = Path(str(summary.get("best", ""))).name
    model = task / str(summary.get("rate", "")) / seed / MODEL
    if not seed or not (model / "config.json").is_file():
        raise UserError(f"{task / SUMMARY_FILE}: names {seed or 'no seed'} as the best, and {model} holds no model")
    return model
