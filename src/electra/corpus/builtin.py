"""The corpus that is always there: the docstrings of the installed Python packages, read without importing anything.

It is real English about one field, and every document carries a label, the package that it comes from. The texts are
not independent: packages copy whole docstrings, and passages of them, from one class to the next. What repeats is
dropped here, and held-out documents take precedence, so that no near copy of a held-out text is trained on.

The packages are named, all of them needed by this one: what else is installed changes nothing.
"""

import gc
import multiprocessing
import os
import sysconfig
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Literal

from electra.corpus.docstrings import FEWEST_WORDS, extract_docstrings
from electra.corpus.documents import Document
from electra.corpus.hashing import hash_text, split_words
from electra.corpus.near_copies import find_near_copies

LONG_PASSAGE = 60  # characters from which a passage that repeats is a copy and no turn of phrase
TEST_SHARE, DEV_SHARE = 0.12, 0.12  # of the files
# As Python imports them; besides them, the standard library is read.
PACKAGES = """
    PIL click cycler dateutil docstring_parser filelock fontTools fsspec functorch huggingface_hub jaxtyping jinja2
    joblib markdown_it matplotlib mpl_toolkits mpmath narwhals networkx numpy packaging pyarrow pydantic pygments
    pyparsing regex rich safetensors scipy sklearn sympy threadpoolctl tokenizers torch torchgen tqdm transformers
    typer typing_extensions.py typing_inspection tyro yaml
"""
OFTEN_MISSING = "distutils ensurepip idlelib lib2to3 test tkinter turtledemo"  # some systems leave them out of Python

Split = Literal["train", "dev", "test"]


def choose_split(document: Document) -> Split:
    """The split of the document's file, by a hash of its name: for training, for choosing settings, or for testing."""
    at = hash_text(document.source) / 2**64
    if at < TEST_SHARE:
        return "test"
    return "dev" if at < TEST_SHARE + DEV_SHARE else "train"


def is_in_held_out_file(document: Document) -> bool:
    """Whether the document's file is held out from pre-training."""
    return choose_split(document) != "train"


def name_package(document: Document) -> str:
    """The name by which Python imports the package that the document comes from."""
    return document.source.split("/")[0].removesuffix(".py")


def collect_docstrings(skipped: Counter[str] | None = None, workers: int | None = None) -> Iterator[Document]:
    """Every docstring once, in order of its file and of its place there; the same whatever the number of workers.

    ``source`` is the file's path from the folder in which Python finds it ("torch/nn/modules/linear.py"). ``skipped``
    counts the files that do not parse and the documents left out, by reason. ``workers``: None for one per core. The
    processes are spawned: a script that calls this does so under ``if __name__ == "__main__"``.
    """
    skipped = Counter() if skipped is None else skipped
    documents = list(read_docstrings(list_python_files(), skipped, workers or os.cpu_count() or 1))
    return remove_copies(documents, skipped)


def list_python_files() -> list[tuple[str, str]]:
    """(path from the folder in which Python finds it, path) of every source file, sorted.

    A file of the standard library, of which not all is taken, hides an installed one with the same name. Of what is
    installed, ``PACKAGES`` alone.
    """
    standard = Path(sysconfig.get_path("stdlib"))
    installed = sorted({Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")})
    paths: dict[str, str] = {}
    for root in (standard, *installed):
        for folder, subfolders, names in os.walk(root):
            if Path(folder) == root and root == standard:
                subfolders[:] = set(subfolders) - set(OFTEN_MISSING.split())
            elif Path(folder) == root:
                subfolders[:], names = (sorted(set(PACKAGES.split()).intersection(of)) for of in (subfolders, names))
            # No installed packages inside the standard library's folder, no packages that another one carries along.
            subfolders[:] = sorted(
                name for name in subfolders if name.isidentifier() and name not in {"_vendor", "__pycache__"}
            )
            for name in sorted(names):
                path = Path(folder, name)
                source = path.relative_to(root).as_posix()
                if name.endswith(".py"):
                    paths.setdefault(source, str(path))
    return sorted(paths.items())


def read_docstrings(files: Sequence[tuple[str, str]], skipped: Counter[str], workers: int) -> Iterator[Document]:
    """The docstrings of the files, each a (source, path), in their order."""
    if workers == 1:
        yield from chain.from_iterable(count_unparsed_files(map(extract_docstrings, files), skipped))
        return
    # Syntax trees hold no cycles: the collector would only walk them.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), gc.disable) as pool:
        yield from chain.from_iterable(count_unparsed_files(pool.map(extract_docstrings, files, chunksize=64), skipped))


def count_unparsed_files(results: Iterable[list[Document] | None], skipped: Counter[str]) -> Iterator[list[Document]]:
    """The results that are documents; those that are None are counted in ``skipped``."""
    for documents in results:
        if documents is None:
            skipped["file does not parse"] += 1
        else:
            yield documents


def remove_copies(documents: Sequence[Document], skipped: Counter[str]) -> Iterator[Document]:
    """The documents, in order of source and index, without repeated passages and without near copies of each other.

    Of two copies that of the test split stays, else that of the dev split, else the earlier one.
    """
    texts: set[str] = set()
    passages: set[str] = set()
    kept = []
    for document in sorted(documents, key=order_splits):
        if document.text in texts:
            skipped["exact copy"] += 1
            continue
        texts.add(document.text)
        text = remove_seen_passages(document.text, passages)
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


def order_splits(document: Document) -> int:
    """Test before dev before train."""
    return ("test", "dev", "train").index(choose_split(document))


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
