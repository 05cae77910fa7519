"""The labelled task in the built-in corpus, as ``demo`` and ``compare`` use it: kept in a file, and tuned alike."""

from dataclasses import replace
from pathlib import Path

from electra.engine.optim import AdamW, Muon
from electra.errors import convert_errors
from electra.run_folder import read_json, write_json
from electra.tasks.datasets.packages import PackageTask
from electra.tasks.finetuning.problem import FineTuning

TASK_FILE = "packages.json"
FEW_TEXTS, MANY_TEXTS = 30, 80  # training texts a class
OPTIMIZER = Muon(learning_rate=0.005, rest=AdamW(learning_rate=5e-3, beta2=0.98))
LAST_LAYER = FineTuning(length=96, head="paper", pooling="mean", dropout=0.0, layer_decay=1.0, optimizer=OPTIMIZER)
# Training texts a class → how an encoder is tuned with so many. Random weights are tuned alike: of what was tried it is
# best for them on dev, and for an encoder within the spread of the best (results/recipes).
TUNING = {FEW_TEXTS: replace(LAST_LAYER, epochs=4), MANY_TEXTS: replace(LAST_LAYER, epochs=2)}


def write_package_task(path: Path, task: PackageTask) -> None:
    """Write the task as JSON: with other packages installed it would be another one."""
    write_json(path, task)


def read_package_task(path: Path) -> PackageTask:
    """The task that ``write_package_task`` wrote. Raises ``UserError`` for a damaged file."""
    with convert_errors(f"{path}: damaged, or of an earlier version; remove it", TypeError):
        return PackageTask(**read_json(path, "remove it"))
