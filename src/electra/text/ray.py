"""Parts on a Ray cluster whose machines see the same folders, or on one that is started here."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from electra.errors import UserError
from electra.progress import Progress
from electra.text.sources import Part

if TYPE_CHECKING:
    from electra.text.parts import Do, Job


def on_ray(do: "Do", job: "Job", parts: Sequence[Part], progress: Progress) -> None:
    """Run every part as a task of one core; a machine that is lost gives its parts back.

    Ray's own rules say which cluster: RAY_ADDRESS, or a new one here. Raises ``UserError`` as a part does, or without
    the package.
    """
    try:
        import ray
    except ImportError as error:
        raise UserError("--engine ray needs the package ray; pip install 'electra[ray]'") from error

    if not ray.is_initialized():
        ray.init(log_to_driver=False, include_dashboard=False)
    known, remote = ray.put(job), ray.remote(num_cpus=1)(do_quietly)
    pending = {remote.remote(do, known, part): part for part in parts}
    done = 0
    try:
        while pending:
            for finished in ray.wait(list(pending), timeout=1)[0]:
                ray.get(finished)
                done += pending.pop(finished).size
            progress.at(done / 1e6)
    except ray.exceptions.RayTaskError as error:
        cancel(pending)
        raise error.cause from error
    except ray.exceptions.RayError as error:
        cancel(pending)
        raise UserError(f"ray: {' '.join(str(error).split())[:300]}; finished parts are kept") from error


def cancel(pending: dict) -> None:
    """Leave no task behind."""
    import ray

    for reference in pending:
        ray.cancel(reference)


def do_quietly(do: "Do", job: "Job", part: Part) -> None:
    """One part, without telling how far it is: the cluster may be elsewhere."""
    do(job, part, int)
