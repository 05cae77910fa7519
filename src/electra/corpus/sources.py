"""What the user names → sources → parts: which files there are, and how the work on them is cut.

The parts depend on the files, their sizes and nothing else, so that neither the number of workers nor that of machines
changes what is written.
"""

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from electra import fingerprints
from electra.corpus import builtin, readers
from electra.corpus.documents import Span, TextFormat
from electra.corpus.readers import BUILTIN, ENDINGS, LONGEST_DOCUMENT, SPLITTABLE, STANDARD_INPUT, is_piped
from electra.corpus.tables import HUB_PREFIX, open_hub_dataset
from electra.errors import UserError, convert_errors

PART_BYTES = 1 << 23  # bytes, as they lie on the disk, from which a part is one of its own
MOST_PARTS = 256  # … unless there are more than this
UNNAMED = "text"
# Parameters of a query that only let one in.
SIGNING_KEYS = re.compile(
    r"(x-amz-|x-goog-|x-oss-|awsaccesskeyid|signature|expires|policy|key-pair-id|se$|sp$|sv$|sr$|sig$|st$|spr$|skoid$"
    r"|token|access_?token|auth|api_?key|password|secret)",
    re.IGNORECASE,
)
NAMED_PATTERN = re.compile(r"([\w.-]+)=(.+)", re.DOTALL)


@dataclass(frozen=True)
class TextSource:
    """What goes by one name in the statistics and the weights."""

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
    """The sources that names stand for: files, folders and globs, here or remote, ``-``, ``hub:NAME``, ``builtin``.

    ``wiki=PATTERN`` gives a name; what has none is the source ``text``. No file comes twice.

    Raises:
        UserError: a pattern that stands for nothing, a folder without text, a file of another kind.
    """
    if not patterns or not all(patterns):
        raise UserError("--data is missing: files, folders or globs of text, - for standard input, or builtin")
    found: dict[str, dict[str, Span]] = {}
    taken: set[str] = set()
    for pattern in patterns:
        named = None if os.path.exists(pattern) else NAMED_PATTERN.fullmatch(pattern)
        name, pattern = named.groups() if named else (UNNAMED, pattern)
        spans = found.setdefault(name, {})
        try:
            expansion = expand_pattern(pattern)
        except OSError as error:  # of names too long, and of folders that are closed to this user
            raise UserError(f"{error.filename or pattern}: {error.strerror or error}") from error
        for span in expansion:
            itself = os.path.realpath(span.path) if span.size else span.path
            if itself not in taken:
                taken.add(itself)
                spans[span.path] = span
    return [TextSource(name, tuple(spans.values())) for name, spans in found.items() if spans]


def expand_pattern(pattern: str) -> list[Span]:
    """The spans, each a whole file, that one name stands for."""
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
    if readers.is_piped(pattern):
        if pattern != STANDARD_INPUT and not pattern.endswith(ENDINGS):
            raise UserError(f"{pattern}: standard input is -, or - and one of {', '.join(ENDINGS)}")
        return [Span(pattern)]
    return [Span(str(path), 0, path.stat().st_size) for path in find_local_files(pattern)]


def find_local_files(pattern: str) -> list[Path]:
    """The text files that a file, folder or glob stands for, sorted."""
    path = Path(pattern)
    if path.is_dir():
        inside = sorted(walk_text_files(path))
        if not inside:
            raise UserError(f"{path}: no text in this folder; {', '.join(ENDINGS)} are read")
        return inside
    inside = [path] if path.is_file() else sorted(map(Path, glob.glob(pattern, recursive=True)))
    inside = [file for file in inside if file.is_file()]
    if not inside:
        raise UserError(f"{pattern}: no such file")
    for file in inside:
        if not file.name.endswith(ENDINGS):
            raise UserError(f"{file}: not one of {', '.join(ENDINGS)}")
    return inside


def walk_text_files(folder: Path) -> Iterator[Path]:
    """The text files in a folder and those below it; links are followed, but into no folder twice."""

    def refuse(error: OSError) -> None:
        raise error

    seen: set[str] = set()
    for here, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield from (file for name in names if name.endswith(ENDINGS) and (file := Path(here, name)).is_file())


def cut_parts(found: Iterable[TextSource], form: TextFormat) -> list[Part]:
    """The work on the sources, cut: small files together, large ones that can be in several.

    What has no known size is alone in its part.
    """
    found = list(found)
    target = max(PART_BYTES, sum(span.size for source in found for span in source.spans) // MOST_PARTS)
    cut: list[Part] = []
    for source in found:
        held: list[Span] = []
        size = 0
        for piece in chain.from_iterable(cut_span(span, target, form) for span in source.spans):
            if held and (size >= target or not piece.size or not held[-1].size):
                cut.append(Part(len(cut), source.name, tuple(held)))
                held, size = [], 0
            held.append(piece)
            size += piece.size
        if held:
            cut.append(Part(len(cut), source.name, tuple(held)))
    return cut


def cut_span(span: Span, target: int, form: TextFormat) -> Iterator[Span]:
    """A file in pieces of at least ``target`` bytes that end where documents do."""
    lines = span.name.endswith(".jsonl") or form.documents == "line"
    if span.size >= 2 * target and span.name.endswith(SPLITTABLE) and (lines or form.documents != "file"):
        with convert_errors(span.path, OSError), readers.open_span(span) as file:
            while span.size >= 2 * target:
                stop = find_next_document(file, span.start + target, lines)
                if stop >= span.stop:
                    break
                yield Span(span.path, span.start, stop)
                span = Span(span.path, stop, span.stop)
    yield span


def describe_part(part: Part) -> dict[str, Any]:
    """A part as a plan on the disk tells it: files here by their sizes, since their contents are compared, whatever
    they are called; what lies elsewhere by a hash of its address, which may hold a password."""
    spans = [{"address": hash_address(span.path), "start": span.start, "stop": span.stop} for span in part.spans]
    return {"number": part.number, "source": part.source, "spans": spans}


def hash_address(path: str) -> str:
    """A hash of what is not a file here, without user, password and what signs a request: they may be renewed."""
    if "://" not in path:
        return (
            fingerprints.hash_values([path]) if path.startswith(HUB_PREFIX) or path == BUILTIN or is_piped(path) else ""
        )
    parts = urlsplit(path)
    query = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if not SIGNING_KEYS.match(pair[0])]
    return fingerprints.hash_values([parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, parts.fragment])


def fingerprint_part(part: Part) -> list[str]:
    """Of each span a hash of what is read there: its bytes; of remote files what their server says of their version;
    of streams and data sets of the Hub nothing.

    Raises:
        UserError: a file that is not there any more.
    """
    return [fingerprint_span(span) for span in part.spans]


def fingerprint_span(span: Span) -> str:
    """See ``fingerprint_part``."""
    if span.path == BUILTIN:
        return fingerprints.hash_files(Path(path) for path, _ in builtin.list_python_files())
    if span.path.startswith(HUB_PREFIX) or is_piped(span.path):
        return ""
    if "://" in span.path:
        from electra.corpus.remote import fingerprint_remote_file

        return fingerprint_remote_file(span.path)
    with convert_errors(span.path, OSError), open(span.path, "rb") as file:
        file.seek(span.start)
        return fingerprints.hash_stretch(file, span.size)


def find_next_document(file: BufferedReader, at: int, lines: bool) -> int:
    """The first offset from ``at`` on with which a document may begin: that of a line, or behind a blank line."""
    file.seek(at - 1)
    found = False  # the line before ``at`` may have begun anywhere
    whole = False
    while not found and (line := file.readline(LONGEST_DOCUMENT)):
        ends = line.endswith(b"\n")
        found = ends and (lines or (whole and not line.strip()))
        whole = ends
    return file.tell()
