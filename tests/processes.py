"""Python code in processes of its own.

They are forked from multiprocessing's fork server, one for each pytest process, which has imported what takes seconds
to import and has run nothing. Each has its own environment and streams, and ends as Python ends. What a module reads of
the environment when it is imported, it reads of the server's: the Hub is not asked.
"""

import atexit
import os
import socket
import sys
import tempfile
import traceback
from functools import cache
from multiprocessing import forkserver, get_context
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import NamedTuple
from unittest import mock

IMPORTED = [
    "electra.workflows.finetune", "electra.workflows.evaluate", "matplotlib.figure", "sklearn.metrics", "torch._dynamo",
    "transformers.models.bert.modeling_bert",
]  # fmt: skip
STREAMS = ("in", "out", "err")


class Ended(NamedTuple):
    """How a process ended; ``code``: negative for a signal."""

    code: int
    out: str
    err: str


@cache
def start_server() -> ForkServerContext:
    """The server of this pytest process."""
    context = get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    environment = {
        "HF_HUB_OFFLINE": "1", "HF_HOME": tempfile.mkdtemp(), "OMP_NUM_THREADS": "1",
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # CUDA could not be used after a fork
    }  # fmt: skip
    with mock.patch.dict(os.environ, environment):
        forkserver.ensure_running()
    return context


class Running:
    """A process that runs Python code. ``text`` stands on its standard input; ``environment`` is laid over ours."""

    def __init__(self, code: str, text: str = "", **environment: str) -> None:
        self.folder = tempfile.TemporaryDirectory()
        for name in STREAMS:
            (Path(self.folder.name) / name).write_text(text if name == "in" else "")
        arguments = code, self.folder.name, os.getcwd(), os.environ | environment
        self.process = start_server().Process(target=run_script, args=arguments)
        self.process.start()
        self.pid = self.process.pid or 0

    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.is_alive()

    def end(self, timeout: float = 120) -> Ended:
        """Wait until it ends; it must, in that time."""
        self.process.join(timeout)
        code = self.process.exitcode
        if code is None:
            self.process.kill()
        out, err = ((Path(self.folder.name) / name).read_text() for name in STREAMS[1:])
        assert code is not None, f"still running after {timeout} s: {out}{err}"
        return Ended(code, out, err)


def run_python(code: str, text: str = "", **environment: str) -> Ended:
    """What comes of Python code in a process of its own."""
    return Running(code, text, **environment).end()


def start_together(code: str, world: int) -> list[Running]:
    """Python code in so many processes with gloo between them, as torchrun starts them on one machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    return [Running(code, **shared, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(world)]


def run_together(code: str, world: int) -> None:
    """The same, until they end; all must end well."""
    ended = [process.end() for process in start_together(code, world)]
    assert [each.code for each in ended] == [0] * world, "\n".join(each.err for each in ended)


def run_two(code: str) -> None:
    """The same, in two processes."""
    run_together(code, 2)


def run_script(code: str, folder: str, directory: str, environment: dict[str, str]) -> None:
    """In a new process: run Python code as a script, and what it registered to be done at its end."""
    from pictures import rendering

    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    for number, name in enumerate(STREAMS):
        stream = os.open(f"{folder}/{name}", os.O_RDONLY if name == "in" else os.O_WRONLY | os.O_APPEND)
        os.dup2(stream, number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  multiprocessing has closed the one that was there
    try:
        with rendering(False):
            exec(compile(code, "<a test's code>", "exec"), {"__name__": "__main__"})
    except Exception:
        traceback.print_exc()
        sys.exit(1)
    finally:
        atexit._run_exitfuncs()  # multiprocessing leaves them out
