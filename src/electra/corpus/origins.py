"""What a part is made from, by contents: so that work is not continued on files that have changed."""

import re
from pathlib import Path
from typing import TypedDict
from urllib.parse import parse_qsl, urlsplit

from electra import fingerprints
from electra.corpus import builtin
from electra.corpus.documents import Span
from electra.corpus.opening import is_piped
from electra.corpus.readers import BUILTIN
from electra.corpus.sources import Part
from electra.corpus.tables import HUB_PREFIX
from electra.errors import convert_errors

# Keys of an address's query that only give access.
SIGNING_KEYS = re.compile(
    r"(x-amz-|x-goog-|x-oss-|awsaccesskeyid|signature|expires|policy|key-pair-id|se$|sp$|sv$|sr$|sig$|st$|spr$|skoid$"
    r"|token|access_?token|auth|api_?key|password|secret)",
    re.IGNORECASE,
)


class SpanDescription(TypedDict):
    """A span in a plan on the disk. ``address``: a hash of it, empty for a file of this machine."""

    address: str
    start: int
    stop: int


class PartDescription(TypedDict):
    """A part in a plan on the disk."""

    number: int
    source: str
    spans: list[SpanDescription]


def describe_part(part: Part) -> PartDescription:
    """A part for the plan on the disk, without names of files: these may change, and contents are compared instead."""
    spans: list[SpanDescription] = [
        {"address": hash_address(span.path), "start": span.start, "stop": span.stop} for span in part.spans
    ]
    return {"number": part.number, "source": part.source, "spans": spans}


def hash_address(path: str) -> str:
    """A hash of the address of what is no file of this machine; empty for a file.

    A hash, since an address may hold a password. User, password and the signature of a request are left out of it:
    they may be renewed.
    """
    if "://" not in path:
        is_address = path.startswith(HUB_PREFIX) or path == BUILTIN or is_piped(path)
        return fingerprints.hash_values([path]) if is_address else ""
    address = urlsplit(path)
    query = [pair for pair in parse_qsl(address.query, keep_blank_values=True) if not SIGNING_KEYS.match(pair[0])]
    host = address.netloc.rpartition("@")[2]
    return fingerprints.hash_values([address.scheme, host, address.path, query, address.fragment])


def fingerprint_part(part: Part) -> list[str]:
    """A hash of the content of each span.

    Raises:
        UserError: a file that is not there any more.
    """
    return [fingerprint_span(span) for span in part.spans]


def fingerprint_span(span: Span) -> str:
    """A hash of a span's content: of its bytes, or for a remote file of the version that its server gives.

    Empty for standard input and data sets of the Hub, which cannot be compared.
    """
    if span.path == BUILTIN:
        return fingerprints.hash_files(Path(path) for _, path in builtin.list_python_files())
    if span.path.startswith(HUB_PREFIX) or is_piped(span.path):
        return ""
    if "://" in span.path:
        from electra.corpus.remote import fingerprint_remote_file

        return fingerprint_remote_file(span.path)
    with convert_errors(span.path, OSError), open(span.path, "rb") as file:
        file.seek(span.start)
        return fingerprints.hash_stretch(file, span.size)
