"""The corpus that is always there: the docstrings of the installed Python packages, read without importing anything.

It is real English about one field, and every document carries a label, the package that it comes from. The texts are
not independent: packages copy whole docstrings, and passages of them, from one class to the next. What repeats is
dropped here, and what is held out stands first in line, so that no near copy of a held-out text is trained on.
"""

import ast
import gc
import inspect
import multiprocessing
import os
import re
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import chain
from pathlib import Path

from electra.corpus.copies import find_near_copies, hash_text, split_words
from electra.corpus.documents import Document

FEWEST_WORDS = 8
LONG_PASSAGE = 60  # characters from which a passage that repeats is a copy and no turn of phrase
HELD_OUT_SHARE = 0.12  # share of the files


def is_in_held_out_file(document: Document) -> bool:
    """Whether the document's file is held out: from pre-training, and for testing in the labelled task."""
    return hash_text(document.source) < HELD_OUT_SHARE * 2**64


def name_package(document: Document) -> str:
    """The name by which Python imports the package that the document comes from."""
    return document.source.split("/")[0].removesuffix(".py")


def collect_docstrings(skipped: Counter[str] | None = None, workers: int | None = None) -> Iterator[Document]:
    """Every docstring once, in order of its file and of its place there; the same whatever the number of workers.

    ``source`` is the file's path from where Python finds it ("torch/nn/modules/linear.py"). ``skipped`` counts the
    files that do not parse and the documents left out, by reason. The processes are spawned: a script that calls this
    does so under ``if __name__ == "__main__"``, as multiprocessing asks of it.
    """
    skipped = Counter() if skipped is None else skipped
    documents = list(read_docstrings(list_python_files(), skipped, workers or os.cpu_count() or 1))
    return remove_copies(documents, skipped)


def list_python_files() -> list[tuple[str, str]]:
    """(path, path from the folder in which Python finds it) of every source file, the standard library's first."""
    standard = Path(sysconfig.get_path("stdlib"))
    installed = sorted({Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")})
    found: dict[str, str] = {}
    for root in (standard, *installed):
        for folder, folders, names in os.walk(root):
            # No installed packages inside the standard library's folder, no packages that another one carries along.
            folders[:] = sorted(
                name for name in folders if name.isidentifier() and name not in {"_vendor", "__pycache__"}
            )
            for name in sorted(names):
                path = Path(folder, name)
                source = path.relative_to(root).as_posix()
                if name.endswith(".py") and not source.startswith(
                    "electra/"
                ):  # this package changes as one works on it
                    found.setdefault(source, str(path))
    return sorted((source, path) for source, path in found.items())


def read_docstrings(paths: Sequence[tuple[str, str]], skipped: Counter[str], workers: int) -> Iterator[Document]:
    """The docstrings of the files, each a (source, path), in their order."""
    if workers == 1:
        yield from chain.from_iterable(count_unparsed_files(map(extract_docstrings, paths), skipped))
        return
    # Syntax trees hold no cycles: the collector would only walk them.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), gc.disable) as pool:
        yield from chain.from_iterable(count_unparsed_files(pool.map(extract_docstrings, paths, chunksize=64), skipped))


def count_unparsed_files(results: Iterable[list[Document] | None], skipped: Counter[str]) -> Iterator[list[Document]]:
    for documents in results:
        if documents is None:
            skipped["file does not parse"] += 1
        else:
            yield documents


def extract_docstrings(file: tuple[str, str]) -> list[Document] | None:
    """The docstrings of one file as clean text, or None where it does not parse."""
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
    """Every string that stands as a statement, as docstrings do, and those given to NumPy's and Torch's add_docstr."""
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
    """Without indentation, rules, long runs of one sign, and what UTF-8 cannot hold."""
    text = inspect.cleandoc(text).encode("utf-8", "ignore").decode()
    text = re.sub(r"([^\w\s])\1{3,}", r"\1\1\1", text)
    return re.sub(r"^[^\w\n]{3,}\n", "", text, flags=re.MULTILINE)


def remove_copies(documents: Sequence[Document], skipped: Counter[str]) -> Iterator[Document]:
    """The documents, in their order, without repeated passages and without near copies of each other.

    Of two copies the held-out one stays, else the earlier one.
    """
    first = sorted(documents, key=lambda document: not is_in_held_out_file(document))
    texts: set[str] = set()
    seen: set[str] = set()
    kept = []
    for document in first:
        if document.text in texts:
            skipped["exact copy"] += 1
            continue
        texts.add(document.text)
        text = remove_seen_passages(document.text, seen)
        if len(split_words(text)) >= FEWEST_WORDS:
            kept.append(replace(document, text=text))
        else:
            skipped["made of repeated passages"] += 1
    copies = find_near_copies(document.text for document in kept)
    skipped["near copy"] += int(copies.sum())
    yield from sorted(
        (document for document, copy in zip(kept, copies, strict=True) if not copy),
        key=lambda document: (document.source, document.index),
    )


def remove_seen_passages(text: str, seen: set[str]) -> str:
    """The text without its long passages that are in ``seen``, to which its others are added."""
    kept = []
    for passage in split_passages(text):
        words = " ".join(passage.split())
        if len(words) < LONG_PASSAGE or words not in seen:
            kept.append(passage)
        if len(words) >= LONG_PASSAGE:
            seen.add(words)
    return "\n".join(kept).strip("\n")


def split_passages(text: str) -> Iterator[str]:
    """Stretches of lines that end after a blank line and where the indentation falls, as between two arguments."""
    lines: list[str] = []
    margin = 0
    for line in text.split("\n"):
        indentation = len(line) - len(line.lstrip())
        if lines and line.strip() and (not lines[-1].strip() or indentation < margin):
            yield "\n".join(lines)
            lines = []
        lines.append(line)
        margin = indentation
    yield "\n".join(lines)
