"""Who does the parts: this process, several of this machine, or a Ray cluster whose machines see the same folders."""

import gc
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context, parent_process
from typing import Any, Literal

from electra.corpus.parts import Job, PartFunction
from electra.corpus.sources import Part
from electra.errors import UserError
from electra.progress import Progress


def run_parts(
    do: PartFunction, job: Job, parts: Sequence[Part], engine: Literal["local", "ray"], workers: int, label: str
) -> None:
    """``do`` for every part, with progress under ``label``.

    Raises:
        UserError: what a part raises, after the parts that are under way elsewhere are stopped; a worker that was
            killed.
    """
    with Progress(label, sum(part.size for part in parts) / 1e6, "MB") as progress:
        if engine == "ray":
            run_on_ray(do, job, parts, progress)
        elif workers == 1 or len(parts) <= 1:
            before = 0
            for part in parts:
                do(job, part, partial(report_megabytes, progress, before))
                before += part.size
        else:
            run_on_processes(do, job, parts, workers, progress)


def report_megabytes(progress: Progress, before: int, done: int) -> None:
    """Tell the progress how many bytes are done."""
    progress.update((before + done) / 1e6)


def run_on_processes(do: PartFunction, job: Job, parts: Sequence[Part], workers: int, progress: Progress) -> None:
    """``do`` for every part, in ``workers`` processes of this machine.

    The processes are spawned, so a script must call this under ``if __name__ == "__main__"``.

    Raises:
        UserError: as ``run_parts``.
    """
    context = get_context("spawn")
    stop, done = context.RawValue("b", 0), context.RawArray("q", len(parts))  # no locks: a killed worker keeps none
    with (
        ProcessPoolExecutor(min(workers, len(parts)), context, start_worker, (stop, job, done)) as pool,
        stop_on_failure(stop),
    ):
        pending = {pool.submit(do_part, do, part, index) for index, part in enumerate(parts)}
        while pending:
            ready, pending = wait(pending, 0.5, FIRST_EXCEPTION)
            for future in ready:
                try:
                    future.result()
                except BrokenProcessPool as error:
                    raise UserError(
                        "a worker was killed, perhaps for want of memory; finished parts are kept, and the same "
                        "command goes on (with fewer --workers it takes less)"
                    ) from error
            progress.update(sum(done) / 1e6)


@contextmanager
def stop_on_failure(stop: Any) -> Iterator[None]:
    """Tell the workers to stop at once if anything fails, Ctrl-C included."""
    try:
        yield
    except BaseException:
        stop.value = 1
        raise


worker_state: dict[str, Any] = {}  # in a worker: the job, and the array in which it tells how far each part is


def start_worker(stop: Any, job: Job, done: Any) -> None:
    """In a worker: leave Ctrl-C to the parent, end when told or when the parent is gone, use one core."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    worker_state.update(job=job, done=done)
    gc.disable()  # nothing here makes cycles, and the collector would walk through all words

    def watch() -> None:
        parent = parent_process()
        while not stop.value and parent is not None and parent.is_alive():
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def do_part(do: PartFunction, part: Part, index: int) -> None:
    """In a worker: one part."""
    do(worker_state["job"], part, lambda done: worker_state["done"].__setitem__(index, done))


def run_on_ray(do: PartFunction, job: Job, parts: Sequence[Part], progress: Progress) -> None:
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
    known, remote = ray.put(job), ray.remote(num_cpus=1)(do_part_quietly)
    pending = {remote.remote(do, known, part): part for part in parts}
    done = 0
    try:
        while pending:
            for finished in ray.wait(list(pending), timeout=1)[0]:
                ray.get(finished)
                done += pending.pop(finished).size
            progress.update(done / 1e6)
    except ray.exceptions.RayTaskError as error:
        cancel_tasks(pending)
        raise error.cause from error
    except ray.exceptions.RayError as error:
        cancel_tasks(pending)
        raise UserError(f"ray: {' '.join(str(error).split())[:300]}; finished parts are kept") from error


def cancel_tasks(pending: dict) -> None:
    """Leave no task behind."""
    import ray

    for reference in pending:
        ray.cancel(reference)


def do_part_quietly(do: PartFunction, job: Job, part: Part) -> None:
    """One part, without telling how far it is: the cluster may be elsewhere."""
    do(job, part, int)
