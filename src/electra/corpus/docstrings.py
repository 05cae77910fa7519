"""A Python file → its docstrings as clean text, without importing anything."""

import ast
import inspect
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from electra.corpus.documents import Document
from electra.corpus.hashing import split_words

FEWEST_WORDS = 8


def extract_docstrings(file: tuple[str, str]) -> list[Document] | None:
    """The docstrings of a file, (source, path), with ``FEWEST_WORDS`` words or more; None if it does not parse.

    ``index`` is a docstring's number among all of the file.
    """
    source, path = file
    content = Path(path).read_bytes()
    if b'"""' not in content and b"'''" not in content:  # a docstring of eight words has them; parsing costs the most
        return []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as invalid escapes in other people's strings
            texts = [clean_docstring(text) for text in find_docstrings(ast.parse(content))]
    except (SyntaxError, ValueError, RecursionError):
        return None
    return [Document(text, source, index) for index, text in enumerate(texts) if len(split_words(text)) >= FEWEST_WORDS]


def find_docstrings(node: ast.AST) -> Iterator[str]:
    """Every string that is a statement, as docstrings are, and those given to NumPy's and Torch's add_docstr."""
    for part in ("body", "handlers", "orelse", "finalbody", "cases"):
        for child in getattr(node, part, ()):
            if not isinstance(child, ast.Expr):
                yield from find_docstrings(child)
            elif isinstance(child.value, ast.Constant) and isinstance(child.value.value, str):
                yield child.value.value
            elif isinstance(child.value, ast.Call) and adds_docstring(child.value):
                yield from (
                    n.value for n in ast.walk(child.value) if isinstance(n, ast.Constant) and isinstance(n.value, str)
                )


def adds_docstring(call: ast.Call) -> bool:
    """Whether this documents a function written in C, which cannot carry its own docstring."""
    name = getattr(call.func, "attr", "") or getattr(call.func, "id", "")
    return name in {"add_docstr", "_add_docstr", "add_newdoc"}


def clean_docstring(text: str) -> str:
    """The text without indentation, lines of signs, more than three of one sign in a row, and lone surrogates."""
    text = inspect.cleandoc(text).encode("utf-8", "ignore").decode()
    text = re.sub(r"([^\w\s])\1{3,}", r"\1\1\1", text)
    return re.sub(r"^[^\w\n]{3,}\n", "", text, flags=re.MULTILINE)
