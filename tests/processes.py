"""Python code in processes of its own.

On Linux they are forked from a server, one for each pytest process, that has imported what takes seconds to import and
has run nothing. Each has its own environment, and ends as Python ends, but for taking the modules apart. Elsewhere each
is a new interpreter. What a module reads of the environment when it is imported, it reads of the server's: the Hub is
not asked.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

IMPORTED = (
    "electra.workflows.finetune", "electra.workflows.evaluate", "matplotlib.figure", "sklearn.metrics", "torch._dynamo",
    "transformers.models.bert.modeling_bert",
)  # fmt: skip
STREAMS = ("in", "out", "err")


class Ended(NamedTuple):
    """How a process ended; ``code``: negative for a signal."""

    code: int
    out: str
    err: str


class Server:
    """The process that forks the others, and what it says of them."""

    def __init__(self) -> None:
        home = tempfile.mkdtemp()
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=os.environ | {
                "HF_HUB_OFFLINE": "1", "HF_HOME": home, "OMP_NUM_THREADS": "1",
                "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # CUDA could not be used after a fork
            },
        )  # fmt: skip
        self.said: dict[str, list[int]] = {}  # by folder: the pid, and the exit code
        self.rest = b""

    def start(self, request: dict[str, Any]) -> None:
        """Fork a process as the request says."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()

    def hear(self, folder: str, numbers: int, timeout: float) -> int | None:
        """The pid or exit code of a folder's process, the so-manieth number that is said of it; None: not in time."""
        assert self.process.stdout is not None
        end = time.monotonic() + timeout
        while len(self.said.get(folder, [])) < numbers:
            if not select.select([self.process.stdout], [], [], max(0.0, end - time.monotonic()))[0]:
                return None
            read = os.read(self.process.stdout.fileno(), 1 << 16)
            assert read, "the server that forks the tests' processes ended"
            *lines, self.rest = (self.rest + read).split(b"\n")
            for where, number in map(json.loads, lines):
                self.said.setdefault(where, []).append(number)
        return self.said[folder][numbers - 1]


@cache
def server() -> Server:
    """The server of this process."""
    return Server()


class Running:
    """A process that runs Python code. ``text`` stands on its standard input; ``environment`` is laid over ours."""

    def __init__(self, code: str, text: str = "", **environment: str) -> None:
        self.folder = tempfile.TemporaryDirectory()
        for name in STREAMS:
            (Path(self.folder.name) / name).write_text(text if name == "in" else "")
        asked = {"code": code, "folder": self.folder.name, "cwd": os.getcwd(), "environment": os.environ | environment}
        self.alone: subprocess.Popen | None = None
        if sys.platform == "linux":
            server().start(asked)
            self.pid = server().hear(self.folder.name, 1, 120) or 0
            assert self.pid, "no process was forked in two minutes"
        else:
            streams = dict(zip(("stdin", "stdout", "stderr"), open_streams(self.folder.name), strict=True))
            self.alone = subprocess.Popen([sys.executable, "-c", code], env=asked["environment"], **streams)
            self.pid = self.alone.pid

    def ended(self, timeout: float) -> int | None:
        """Its exit code, if it ends in that time."""
        if self.alone is None:
            return server().hear(self.folder.name, 2, timeout)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.alone.wait(timeout)
        return None

    def end(self, timeout: float = 120) -> Ended:
        """Wait until it ends; it must, in that time."""
        code = self.ended(timeout)
        if code is None:
            os.kill(self.pid, signal.SIGKILL)
        out, err = ((Path(self.folder.name) / name).read_text() for name in STREAMS[1:])
        assert code is not None, f"still running after {timeout} s: {out}{err}"
        return Ended(code, out, err)


def open_streams(folder: str) -> list[int]:
    """Descriptors of the files that are a process's standard streams."""
    return [os.open(f"{folder}/{name}", os.O_RDONLY if name == "in" else os.O_WRONLY | os.O_APPEND) for name in STREAMS]


def run_python(code: str, text: str = "", **environment: str) -> Ended:
    """What comes of Python code in a process of its own."""
    return Running(code, text, **environment).end()


def run_two(code: str) -> None:
    """Run Python code in two processes with gloo between them, as torchrun starts them; both must end well."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    running = [Running(code, **shared, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(2)]
    ended = [process.end() for process in running]
    assert [each.code for each in ended] == [0, 0], "\n".join(each.err for each in ended)


def serve() -> None:
    """Fork a process for each line of standard input, and say its pid and how it ended."""
    from pictures import rendering

    for name in IMPORTED:
        importlib.import_module(name)
    gc.freeze()  # collecting garbage would copy the memory that the processes share
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that report
    for line in sys.stdin:
        asked = json.loads(line)
        if os.fork():  # this one goes on
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if pid := os.fork():  # this one reports
            report(asked["folder"], pid)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            report(asked["folder"], code)
            os._exit(0)
        os.environ.clear()
        os.environ.update(asked["environment"])
        os.chdir(asked["cwd"])
        for number, stream in enumerate(open_streams(asked["folder"])):
            os.dup2(stream, number)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115  the server's may have read ahead
        with rendering(False):
            code = run(asked["code"])
        os._exit(code)
    os._exit(0)


def run(code: str) -> int:
    """Run Python code as a script, what it registered to be done at its end included, and give its exit code."""
    exit_code: Any = 0
    try:
        exec(compile(code, "<a test's code>", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        exit_code = end.code or 0
    except BaseException:
        traceback.print_exc()
        exit_code = 1
    threading._shutdown()  # waits for threads, as multiprocessing does in its processes
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return exit_code if isinstance(exit_code, int) else 1


def report(folder: str, number: int) -> None:
    """Tell the server's parent a number of a process, in one write, which no other can cut."""
    with contextlib.suppress(BrokenPipeError):  # it is gone
        os.write(1, json.dumps([folder, number]).encode() + b"\n")


if __name__ == "__main__":
    serve()
