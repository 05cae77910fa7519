"""The one exception that a person is meant to read."""


class UserError(Exception):
    """A mistake that the user can mend: one line saying where it is, what was found and what would be right.

    The command line prints it as ``electra: error: …`` and exits with code 2, without a traceback.
    """
