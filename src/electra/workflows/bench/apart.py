"""Work in a process of its own, which takes its turns when it is asked."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


class SeparateProcess:
    """Calls what ``make`` gives, in another process that nothing was set or compiled in. It ends with this one.

    Raises:
        RuntimeError: the other process failed; its error is on stderr.
    """

    def __init__(self, make: Callable[[], Callable[..., object]]):
        """``make`` is sent there, so it must be importable, with arguments that can be pickled."""
        context = multiprocessing.get_context("spawn")
        self.here, there = context.Pipe()
        context.Process(target=serve_calls, args=(there, make), daemon=True).start()
        there.close()

    def do(self, *arguments: Any) -> None:
        """Call it with these arguments, and wait until it is done."""
        self.here.send(arguments)
        try:
            self.here.recv()
        except EOFError as error:
            raise RuntimeError("the process that works beside this one ended") from error


def serve_calls(asked: Connection, make: Callable[[], Callable[..., object]]) -> None:
    """Do what is asked for until nobody asks any more."""
    work = make()
    while True:
        try:
            arguments = asked.recv()
        except EOFError:
            return
        work(*arguments)
        asked.send(None)
