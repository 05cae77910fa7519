"""The labelled task in the built-in corpus, as ``demo`` and ``compare`` use it: kept in a file, and how it is tuned."""

from pathlib import Path

from electra.engine.optim import AdamW
from electra.errors import convert_errors
from electra.run_folder import read_json, write_json
from electra.tasks.datasets.packages import PackageTask
from electra.tasks.finetuning.problem import FineTuning

TASK_FILE = "packages.json"
FEW_TEXTS, MANY_TEXTS = LABELS = 30, 80  # training texts a class
TUNING = FineTuning()  # as `electra finetune` tunes for a task of one's own
# Of what was tried the best for random weights on dev (results/recipes).
RANDOM_TUNING = FineTuning(
    epochs=6.0, length=96, dropout=0.0, layer_decay=1.0,
    optimizer=AdamW(learning_rate=3e-3, beta2=0.98, weight_decay=0.0),
)  # fmt: skip


def write_package_task(path: Path, task: PackageTask) -> None:
    """Write the task as JSON: with other packages installed it would be another one."""
    write_json(path, task)


def read_package_task(path: Path) -> PackageTask:
    """The task that ``write_package_task`` wrote. Raises ``UserError`` for a damaged file."""
    with convert_errors(f"{path}: damaged, or of an earlier version; remove it", TypeError):
        return PackageTask(**read_json(path, "remove it"))
