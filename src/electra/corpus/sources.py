"""Names that the user gives → sources → parts: which files there are, and how the work on them is cut.

The parts depend on the files and their sizes alone, so that neither the number of workers nor that of machines changes
what is written.
"""

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NoReturn

from electra.corpus.documents import Span, TextFormat
from electra.corpus.lines import find_next_document
from electra.corpus.opening import STANDARD_INPUT, is_piped, open_span
from electra.corpus.readers import BUILTIN, ENDINGS, SPLITTABLE
from electra.corpus.tables import HUB_PREFIX, open_hub_dataset
from electra.errors import UserError, convert_errors

PART_BYTES = 1 << 23  # on the disk, from which spans are a part of their own
MOST_PARTS = 256  # … unless there would be more than this
UNNAMED = "text"
NAMED_PATTERN = re.compile(r"([\w.-]+)=(.+)", re.DOTALL)


@dataclass(frozen=True)
class TextSource:
    """Text that goes by one name in the statistics and the weights."""

    name: str
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class Part:
    """A piece of work: some spans of one source, of which shards of their own are made."""

    number: int
    source: str
    spans: tuple[Span, ...]

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return sum(span.size for span in self.spans)


def find_sources(patterns: Sequence[str]) -> list[TextSource]:
    """The sources that patterns stand for: files, folders and globs, here or remote, ``-``, ``hub:NAME``, ``builtin``.

    ``wiki=PATTERN`` gives a name; what has none belongs to the source ``text``. No file occurs twice.

    Raises:
        UserError: a pattern that stands for nothing, a folder without text, a file of another kind.
    """
    if not patterns or not all(patterns):
        raise UserError("--data is missing: files, folders or globs of text, - for standard input, or builtin")
    sources: dict[str, dict[str, Span]] = {}
    seen: set[str] = set()
    for pattern in patterns:
        named = None if os.path.exists(pattern) else NAMED_PATTERN.fullmatch(pattern)
        name, pattern = named.groups() if named else (UNNAMED, pattern)
        spans = sources.setdefault(name, {})
        try:
            expansion = expand_pattern(pattern)
        except OSError as error:  # of names too long, and of folders that are closed to this user
            raise UserError(f"{error.filename or pattern}: {error.strerror or error}") from error
        for span in expansion:
            real_path = os.path.realpath(span.path) if span.size else span.path
            if real_path not in seen:
                seen.add(real_path)
                spans[span.path] = span
    return [TextSource(name, tuple(spans.values())) for name, spans in sources.items() if spans]


def expand_pattern(pattern: str) -> list[Span]:
    """The spans, each a whole file or shard of a data set, that a pattern stands for."""
    if pattern == BUILTIN:
        return [Span(pattern)]
    if pattern.startswith(HUB_PREFIX):
        count = open_hub_dataset(pattern).num_shards
        return [Span(f"{pattern}#{index}/{count}") for index in range(count)]
    if "://" in pattern:
        from electra.corpus.remote import list_remote_files

        files = list_remote_files(pattern)
        spans = [span for path, size in files if (span := Span(path, 0, size)).name.endswith(ENDINGS)]
        if not spans:
            raise UserError(f"{pattern}: no text there; {', '.join(ENDINGS)} are read")
        return spans
    if is_piped(pattern):
        if pattern != STANDARD_INPUT and not pattern.endswith(ENDINGS):
            raise UserError(f"{pattern}: standard input is -, or - and one of {', '.join(ENDINGS)}")
        return [Span(pattern)]
    return [Span(str(path), 0, path.stat().st_size) for path in find_local_files(pattern)]


def find_local_files(pattern: str) -> list[Path]:
    """The text files that a file, folder or glob stands for, sorted."""
    path = Path(pattern)
    if path.is_dir():
        files = sorted(walk_text_files(path))
        if not files:
            raise UserError(f"{path}: no text in this folder; {', '.join(ENDINGS)} are read")
        return files
    files = [path] if path.is_file() else sorted(map(Path, glob.glob(pattern, recursive=True)))
    files = [file for file in files if file.is_file()]
    if not files:
        raise UserError(f"{pattern}: no such file")
    for file in files:
        if not file.name.endswith(ENDINGS):
            raise UserError(f"{file}: not one of {', '.join(ENDINGS)}")
    return files


def walk_text_files(folder: Path) -> Iterator[Path]:
    """The text files in a folder and below it. Links are followed, but no folder is visited twice."""

    def raise_error(error: OSError) -> NoReturn:
        raise error

    visited: set[str] = set()
    for path, subfolders, names in os.walk(folder, onerror=raise_error, followlinks=True):
        real_path = os.path.realpath(path)
        if real_path in visited:
            subfolders.clear()
            continue
        visited.add(real_path)
        subfolders.sort()
        yield from (file for name in names if name.endswith(ENDINGS) and (file := Path(path, name)).is_file())


def cut_parts(sources: Iterable[TextSource], text_format: TextFormat) -> list[Part]:
    """The work on the sources in parts: small files together, a large file in several if its format allows it.

    A span without a known size is a part of its own.
    """
    sources = list(sources)
    target = max(PART_BYTES, sum(span.size for source in sources for span in source.spans) // MOST_PARTS)
    parts: list[Part] = []
    for source in sources:
        held: list[Span] = []
        size = 0
        for span in chain.from_iterable(cut_span(span, target, text_format) for span in source.spans):
            if held and (size >= target or not span.size or not held[-1].size):
                parts.append(Part(len(parts), source.name, tuple(held)))
                held, size = [], 0
            held.append(span)
            size += span.size
        if held:
            parts.append(Part(len(parts), source.name, tuple(held)))
    return parts


def cut_span(span: Span, target: int, text_format: TextFormat) -> Iterator[Span]:
    """A file in spans of at least ``target`` bytes that end where documents do; whole if its format cannot be cut."""
    lines = span.name.endswith(".jsonl") or text_format.documents == "line"
    if span.size >= 2 * target and span.name.endswith(SPLITTABLE) and (lines or text_format.documents != "file"):
        with convert_errors(span.path, OSError), open_span(span) as file:
            while span.size >= 2 * target:
                stop = find_next_document(file, span.start + target, lines)
                if stop >= span.stop:
                    break
                yield Span(span.path, span.start, stop)
                span = Span(span.path, stop, span.stop)
    yield span
