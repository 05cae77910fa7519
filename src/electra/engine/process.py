"""What a run changes in its process: whether kernels repeat bit for bit, and what signals do."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.utils.deterministic

from electra.engine.groups import name_missing
from electra.engine.parallel import Parallel
from electra.run_folder import hold_folder
from electra.stopping import STOP_SIGNALS


def make_deterministic(everywhere: bool, device: torch.device) -> None:
    """Have kernels repeat bit for bit on a CPU, and with ``everywhere`` on a GPU too.

    On a CPU always: otherwise several threads would add up compiled gradients of embeddings in any order.
    """
    if everywhere and device.type == "cuda":  # read once, by the process's first product
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(everywhere or device.type == "cpu", warn_only=not everywhere)
    # No code here reads memory that it has not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


@contextlib.contextmanager
def catch_stop_signals() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM, SIGUSR1 and the first Ctrl-C set; a second Ctrl-C interrupts as usual."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield stop
        return

    def set_stop(number: int, frame: object) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, set_stop) for number in (*STOP_SIGNALS, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def hold_folder_for_all(parallel: Parallel, folder: Path, kind: str) -> Iterator[None]:
    """``run_folder.hold_folder`` by the first of a run's processes, for all of them, which meanwhile name the one that
    they wait for in vain."""
    with contextlib.ExitStack() as held, name_missing(parallel.rank, parallel.world, parallel.store):
        parallel.ask_first(lambda: held.enter_context(hold_folder(folder, kind)))
        yield
