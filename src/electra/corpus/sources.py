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

from electra.corpus.documents import Skipped, Span, TextFormat
from electra.corpus.lines import find_next_document
from electra.corpus.opening import STANDARD_INPUT, is_piped, open_span
from electra.corpus.readers import BUILTIN, ENDINGS, SPLITTABLE
from electra.corpus.tables import HUB_PREFIX, open_hub_dataset
from electra.corpus.text_folder import (
    CACHE,
    DATASETS_CACHE,
    NO_FILE,
    OWN_FOLDER,
    find_objection,
    walk_text_files,
)
from electra.errors import UserError, convert_errors
from electra.files import read_marker

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


def find_sources(patterns: Sequence[str], skipped: Skipped | None = None) -> list[TextSource]:
    """The sources that patterns stand for: files, folders and globs, here or remote, ``-``, ``hub:NAME``, ``builtin``.

    ``wiki=PATTERN`` gives a name; what has none belongs to the source ``text``. No file occurs twice. The files of
    folders and globs that are not read are counted in ``skipped``.

    Raises:
        UserError: a pattern that stands for nothing, a folder without text, a file of another kind.
    """
    skipped = Skipped() if skipped is None else skipped
    if not patterns or not all(patterns):
        raise UserError("--data is missing: files, folders or globs of text, - for standard input, or builtin")
    sources: dict[str, dict[str, Span]] = {}
    seen: set[str | tuple[int, int]] = set()
    for pattern in patterns:
        named = None if stands_for_files(pattern) else NAMED_PATTERN.fullmatch(pattern)
        name, pattern = named.groups() if named else (UNNAMED, pattern)
        spans = sources.setdefault(name, {})
        try:
            expansion = expand_pattern(pattern, skipped)
        except OSError as error:  # of names too long, and of folders that are closed to this user
            raise UserError(f"{error.filename or pattern}: {error.strerror or error}") from error
        for span in expansion:
            file = identify_file(span.path)
            if file not in seen:
                seen.add(file)
                spans[span.path] = span
    return [TextSource(name, tuple(spans.values())) for name, spans in sources.items() if spans]


def stands_for_files(pattern: str) -> bool:
    """Whether a pattern as a whole, an equals sign in it included, is there or finds something here."""
    return os.path.exists(pattern) or (glob.has_magic(pattern) and any(glob.iglob(pattern, recursive=True)))


def identify_file(path: str) -> str | tuple[int, int]:
    """What is one file under all its names and links: device and number of a local one; else the name itself."""
    try:
        status = os.stat(path.removeprefix("file://"))
    except OSError:  # remote, piped, or of the Hub
        return path
    return status.st_dev, status.st_ino


def expand_pattern(pattern: str, skipped: Skipped) -> list[Span]:
    """The spans, each a whole file or shard of a data set, that a pattern stands for."""
    if pattern == BUILTIN:
        return [Span(pattern)]
    if pattern.startswith(HUB_PREFIX):
        count = open_hub_dataset(pattern).num_shards
        return [Span(f"{pattern}#{index}/{count}") for index in range(count)]
    if "://" in pattern:
        from electra.corpus.remote import list_remote_files

        listed = [Span(path, 0, size) for path, size in list_remote_files(pattern)]
        spans = [span for span in listed if not note_objection(span, len(listed) > 1, skipped)]
        if not spans:
            raise UserError(f"{pattern}: no text there; {', '.join(ENDINGS)} are read")
        return spans
    if is_piped(pattern):
        if pattern != STANDARD_INPUT and not pattern.endswith(ENDINGS):
            raise UserError(f"{pattern}: standard input is -, or - and one of {', '.join(ENDINGS)}")
        return [Span(pattern)]
    return [Span(str(path), 0, path.stat().st_size) for path in find_local_files(pattern, skipped)]


def note_objection(span: Span, is_one_of_many: bool, skipped: Skipped) -> bool:
    """Whether a remote file is not read; it is counted in ``skipped`` then. What was named alone may be hidden."""
    reason = find_objection(span.name.rpartition("/")[2])
    if not reason or (not is_one_of_many and span.name.endswith(ENDINGS)):
        return False
    skipped.note(reason, span.path)
    return True


def find_local_files(pattern: str, skipped: Skipped) -> list[Path]:
    """The text files that a file, folder or glob stands for, sorted. ``skipped`` counts those that are left out."""
    path = Path(pattern)
    if path.is_dir():
        files = sorted(walk_text_files(path, skipped))
        if not files:
            raise UserError(f"{path}: no text in this folder; {', '.join(ENDINGS)} are read")
        return files
    if path.is_file():
        files = [path]
    else:
        files = sorted(map(Path, glob.glob(pattern, recursive=True)))
        require_open_folders(pattern)
        files = [file for file in files if not note_glob_objection(file, skipped, "**" in pattern)]
    if not files:
        raise UserError(f"{pattern}: no such file")
    for file in files:
        if not file.name.endswith(ENDINGS):
            raise UserError(f"{file}: not one of {', '.join(ENDINGS)}")
    return files


def require_open_folders(pattern: str) -> None:
    """Raise ``OSError`` for a folder that a glob should look into and cannot: the glob passes over it silently."""
    path = Path(pattern)
    for inner, outer in zip((path, *path.parents), path.parents, strict=False):
        for folder in glob.iglob(os.path.join(outer, ""), recursive=True):
            if glob.has_magic(inner.name):
                os.scandir(folder).close()  # its list of names
            else:
                os.stat(os.path.join(folder, os.curdir))  # what is in it, by name


def note_glob_objection(path: Path, skipped: Skipped, is_recursive: bool) -> bool:
    """Whether what a glob has found is not read; it is counted in ``skipped`` then. A file of another kind is no
    objection, but an error."""
    if path.is_dir() and is_recursive:
        return True  # what is in it is found too, as far as the glob says
    if path.is_dir():
        skipped.note("folder that a glob has found; name it to have it read", str(path))
    elif not path.is_file():
        skipped.note(NO_FILE, str(path))
    elif read_marker(path.parent):
        skipped.note(OWN_FOLDER, str(path.parent))
    elif DATASETS_CACHE.fullmatch(path.name):
        skipped.note(CACHE, str(path))
    else:
        return False
    return True


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
