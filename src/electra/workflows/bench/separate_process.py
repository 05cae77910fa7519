"""A function that runs in a process of its own."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection


class SeparateProcess:
    """A function in another process, which inherits no settings and no compiled code. It ends with this process."""

    def __init__(self, build: Callable[[], Callable[..., object]]):
        """``build`` makes the function over there: it must be importable, with arguments that can be pickled."""
        context = multiprocessing.get_context("spawn")
        self.connection, other_end = context.Pipe()
        context.Process(target=serve_calls, args=(other_end, build), daemon=True).start()
        other_end.close()

    def call(self, *arguments: object) -> None:
        """Call the function and wait until it returns; what it returns is not sent back.

        Raises:
            RuntimeError: it failed, now or before; its error is on stderr.
        """
        self.connection.send(arguments)
        try:
            self.connection.recv()
        except EOFError as error:
            raise RuntimeError("the process that works beside this one ended") from error


def serve_calls(connection: Connection, build: Callable[[], Callable[..., object]]) -> None:
    """Call the function once for each set of arguments that arrives, until the other end is closed."""
    function = build()
    while True:
        try:
            arguments = connection.recv()
        except EOFError:
            return
        function(*arguments)
        connection.send(None)
