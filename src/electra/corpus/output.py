"""The folder that a verb makes whole: absent or empty before, and gone again if anything fails."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from electra import files
from electra.errors import UserError, convert_errors


@contextmanager
def create_output_folder(out: str, kind: str) -> Iterator[Path]:
    """A folder to write into that becomes ``out`` when all is written, and is gone if anything fails.

    Raises:
        UserError: no name; something is there already; the disk does not take it.
    """
    refuse_existing_output(out)
    try:
        with files.write_whole_folder(Path(out), kind) as folder:
            yield folder
    except OSError as error:
        raise UserError(f"{out}: {error.strerror or error}") from error


def refuse_existing_output(out: str) -> None:
    """Raise ``UserError`` if ``out`` is empty, or the name of something that is there or cannot be looked at."""
    if not out:
        raise UserError("--out is missing: the folder to write")
    with convert_errors(out, OSError):  # of names too long, and of folders that are closed to this user
        vacant = files.is_vacant(Path(out))
    if not vacant:
        raise UserError(f"{out}: is there already; choose another --out, or remove it")
