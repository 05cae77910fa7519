"""A terminal, as far as what is printed to it can tell."""

import io


class Terminal(io.StringIO):
    """A stream that says that a person reads it."""

    def isatty(self) -> bool:
        return True
