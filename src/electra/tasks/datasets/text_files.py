"""Text files as labelled data comes in them, read strictly."""

from pathlib import Path

from electra.errors import UserError, convert_errors


def read_utf8(path: Path) -> str:
    """The text of a file, without a byte order mark. Raises ``UserError`` if it cannot be read or is no UTF-8."""
    with convert_errors(str(path), OSError):
        content = path.read_bytes()
    return decode_utf8(content, str(path))


def decode_utf8(content: bytes, where: str) -> str:
    """Bytes as text, without a byte order mark. Raises ``UserError`` if they are not UTF-8 or hold a zero byte."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not UTF-8 at byte {error.start:,}") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(f"{where}, line {line}: a zero byte; this is no UTF-8 text (UTF-16, or damaged)")
    return text
