"""Runs a function for many parts: in this process, in several, or on a Ray cluster whose machines share the folder."""

import ctypes
import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Literal, NoReturn

from electra.corpus.documents import ignore_progress
from electra.corpus.parts import Job, PartFunction
from electra.corpus.sources import Part
from electra.errors import UserError
from electra.extras import import_extra
from electra.progress import Progress

Engine = Literal["local", "ray"]


def run_parts(
    function: PartFunction, job: Job, parts: Sequence[Part], engine: Engine, workers: int, label: str
) -> None:
    """Call ``function`` for every part, with a progress line called ``label``.

    Raises:
        UserError: what a part raises, after the parts that are under way elsewhere are stopped; a worker that was
            killed.
    """
    with Progress(label, sum(part.size for part in parts) / 1e6, "MB") as progress:
        if engine == "ray":
            run_on_ray(function, job, parts, progress)
        elif workers == 1 or len(parts) <= 1:
            before = 0
            for part in parts:
                function(job, part, partial(report_megabytes, progress, before))
                before += part.size
        else:
            run_on_processes(function, job, parts, workers, progress)


def report_megabytes(progress: Progress, before: int, done: int) -> None:
    """Pass on that ``done`` bytes of a part are done, ``before`` bytes being those of the parts before it."""
    progress.update((before + done) / 1e6)


def run_on_processes(function: PartFunction, job: Job, parts: Sequence[Part], workers: int, progress: Progress) -> None:
    """Call ``function`` for every part in ``workers`` processes of this machine.

    The processes are spawned, so a script must call this under ``if __name__ == "__main__"``.

    Raises:
        UserError: what a part raises; a worker that was killed.
    """
    context = get_context("spawn")
    # No locks: a worker that is killed would keep its own for ever.
    stop, done = context.RawValue(ctypes.c_byte, 0), context.RawArray(ctypes.c_longlong, len(parts))
    with (
        tell_killed_workers(),
        NamedTemporaryFile() as job_file,
        ProcessPoolExecutor(min(workers, len(parts)), context, start_worker, (stop, job_file.name, done)) as pool,
        stop_on_failure(stop),
    ):
        # A new worker reads its arguments from a pipe of 64 KB. If it is killed before it has read more than that, this
        # process writes for ever: so the job, which may be of megabytes, lies in a file.
        job_file.write(ForkingPickler.dumps(job))
        job_file.flush()
        pending = {submit(pool, run_part_in_worker, function, part, index) for index, part in enumerate(parts)}
        # In Python 3.11 ``submit`` first wakes the thread that watches the workers and then starts one, which is not
        # watched until the next call: this one is for the last worker, whose death would be noticed late.
        submit(pool, ignore_progress, 0)
        while pending:
            ready, pending = wait(pending, 0.5, FIRST_EXCEPTION)
            for future in ready:
                future.result()
            progress.update(sum(done) / 1e6)


def submit(pool: ProcessPoolExecutor, function: Callable[..., None], *arguments: object) -> Future[None]:
    """``pool.submit``, which raises ``BrokenProcessPool`` also where another worker dies while it starts one: Python
    then finds the new worker's queue closed, and raises ``OSError``."""
    try:
        return pool.submit(function, *arguments)
    except OSError:
        pool.submit(ignore_progress, 0)  # which says whether the pool is broken
        raise


@contextmanager
def tell_killed_workers() -> Iterator[None]:
    """Raise ``UserError`` for a worker that was killed, whenever that is noticed."""
    try:
        yield
    except BrokenProcessPool as error:
        raise UserError(
            "a worker was killed, perhaps for want of memory; finished parts are kept, and the same command goes on "
            "(with fewer --workers it takes less)"
        ) from error


@contextmanager
def stop_on_failure(stop: ctypes.c_byte) -> Iterator[None]:
    """Set ``stop``, which ends the workers at once, if anything fails, Ctrl-C included."""
    try:
        yield
    except BaseException:
        stop.value = 1
        raise


@dataclass
class WorkerState:
    """In a worker process: the job, and how many bytes of each part are done, which the parent reads."""

    job: Job
    done: "ctypes.Array[ctypes.c_longlong]"


worker_state: WorkerState  # is set in worker processes alone


def start_worker(stop: ctypes.c_byte, job_file: str, done: "ctypes.Array[ctypes.c_longlong]") -> None:
    """In a new worker process: leave Ctrl-C to the parent, use one core, and end when ``stop`` is set or the parent is
    gone. ``job_file``: the parent's temporary file with the job."""
    global worker_state
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    worker_state = WorkerState(ForkingPickler.loads(Path(job_file).read_bytes()), done)
    gc.disable()  # nothing here makes cycles, and the collector would walk through all words

    def watch_parent() -> NoReturn:
        parent = parent_process()
        while not stop.value and parent is not None and parent.is_alive():
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch_parent, daemon=True).start()


def run_part_in_worker(function: PartFunction, part: Part, index: int) -> None:
    """In a worker process: call ``function`` for one part."""
    function(worker_state.job, part, lambda done: worker_state.done.__setitem__(index, done))


def run_on_ray(function: PartFunction, job: Job, parts: Sequence[Part], progress: Progress) -> None:
    """Call ``function`` for every part as a task of one core. Parts of a machine that is lost run on another.

    Ray's own rules decide which cluster: the one of RAY_ADDRESS, or a new one here.

    Raises:
        UserError: what a part raises; an error of Ray's; the package is missing.
    """
    ray = import_extra("ray", "ray", "--engine ray")
    if not ray.is_initialized():
        ray.init(log_to_driver=False, include_dashboard=False)
    shared_job, task = ray.put(job), ray.remote(num_cpus=1)(run_part_quietly)
    pending = {task.remote(function, shared_job, part): part for part in parts}
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


def cancel_tasks(tasks: Iterable[object]) -> None:
    """Cancel tasks of Ray's, so that none is left behind."""
    import ray

    for task in tasks:
        ray.cancel(task)


def run_part_quietly(function: PartFunction, job: Job, part: Part) -> None:
    """Call ``function`` for one part, without reports of its progress: the cluster may be elsewhere."""
    function(job, part, ignore_progress)
