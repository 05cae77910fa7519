"""What a run folder is asked to hold, and what it holds already: whether a run may be gone on from, and where."""

from pathlib import Path

from electra import fingerprints
from electra.config import plain_tree
from electra.dataset.data import Data
from electra.engine import checkpoint
from electra.engine.parallel import Parallel
from electra.engine.telemetry import describe_start
from electra.errors import convert_errors
from electra.objectives.build import CocoLm, Objective
from electra.run_folder import FINAL, PRETRAINING_RUN, Content, Request, leave_out
from electra.workflows.pretraining.branching import find_run, fingerprint_checkpoint, read_begun_weights
from electra.workflows.pretraining.config import PATHS, PretrainConfig
from electra.workflows.pretraining.extension import LENGTHS
from electra.workflows.pretraining.pretrainers import fingerprint_initial_weights

# Settings that change a run's results by rounding at most.
FREE_OF_ENGINE = (
    "log_every", "save_every", "save_minutes", "keep", "keep_every", "keep_best", "evaluate_every",
    "activation_checkpointing",
)  # fmt: skip
MICRO_ROWS = "engine.micro_rows"  # as those, but for a term of the loss that compares the rows of a micro-batch
FREE = (*PATHS, "extend", "log", "stop_after", *(f"engine.{name}" for name in FREE_OF_ENGINE))
# Settings that older runs had not: they go on where these have their defaults.
NEWER = ("init_generator", "init_embeddings", "cool_down")
TABLE = "embeddings.tokens.weight"  # how the names of tables in a checkpoint end


def find_table_rows(out: Path, branches_off: str = "") -> int:
    """How many embeddings the last checkpoint in a run folder has, or else the one that it ``branches_off``; 0 if there
    is none.

    Raises:
        UserError: as ``find_run``, or a checkpoint is damaged.
    """
    latest = checkpoint.latest_checkpoint(out / "checkpoints")
    if latest is None and branches_off:
        find_run(branches_off)
        latest = Path(branches_off)
    shapes = checkpoint.read_shapes(latest) if latest else {}
    return max((shape[0] for name, shape in shapes.items() if name.endswith(TABLE)), default=0)


def find_last_step(out: Path) -> int:
    """The step of the last checkpoint in a run folder; 0 if there is none."""
    latest = checkpoint.latest_checkpoint(out / "checkpoints")
    return checkpoint.step_of_checkpoint(latest) if latest else 0


def request_run(config: PretrainConfig, data: Data, resumed: bool = False, extended: bool = False) -> Request:
    """What the run folder is asked to hold.

    ``resumed``: a checkpoint is there, so the initial weights, or the checkpoint that the run branches off, are not
    read again. ``extended``: the run may become longer.

    Raises:
        UserError: an ``init``, ``probe`` or checkpoint cannot be read.
    """
    init = branched = ""
    if config.from_ and not resumed:
        init, branched = read_begun_weights(config.from_), fingerprint_checkpoint(config.from_)
    elif config.init and not resumed:
        init = fingerprint_initial_weights(Path(config.init))
    with convert_errors(config.probe, OSError):
        probe = fingerprints.hash_files([Path(config.probe)]) if config.probe else ""
    contents = {
        "data": Content("data", config.data, data.fingerprint),
        "init": Content("initial weights", config.init, None if resumed else init),
        "from": Content("checkpoint", config.from_, None if resumed else branched),
        "probe": Content("texts to probe", config.probe, probe),
    }
    free = (*FREE, *(() if compares_rows(config.objective) else (MICRO_ROWS,)), *(LENGTHS if extended else ()))
    return Request(PRETRAINING_RUN, {"config.json": config}, contents, free)


def compares_rows(objective: Objective) -> bool:
    """Whether a term of the loss compares the rows of a micro-batch, so that ``engine.micro_rows`` changes it."""
    return any(isinstance(stage, CocoLm) and stage.contrast_weight > 0 for _, stage in objective.stages)


def describe_asked(config: PretrainConfig, data: Data) -> dict[str, object]:
    """What each checkpoint says that its run was asked: the seed, the data, and all other settings that stay."""
    new = [name for name in NEWER if getattr(config, name) == getattr(PretrainConfig(), name)]
    settings = leave_out(plain_tree(config), (*FREE, MICRO_ROWS, *LENGTHS, *new))
    return {"seed": config.seed, "config": fingerprints.hash_values([settings]), "data": data.fingerprint}


def begin_run(request: Request, out: Path, step: int, parallel: Parallel, steps: int) -> None:
    """Begin the run folder, or go on in it. ``step``: of its last checkpoint; ``steps``: of the whole run, 0 if it ends
    by time.

    Raises:
        UserError: the folder holds a run of another config or of other contents, or is not ours.
    """
    request.refuse_another(out)
    if parallel.first:
        finished = step > 0 and step >= steps and (out / FINAL).is_dir()
        request.begin(out, describe_start() | {"step": step}, finished)
    parallel.wait()
