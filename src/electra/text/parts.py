"""One part of the work: its spans → documents → shards and a count. Parts run in any order, on any number of cores."""

import gc
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, Literal

import numpy as np

from electra.errors import UserError, told_as
from electra.files import whole
from electra.progress import Progress
from electra.text import builtin, readers
from electra.text import tokenizer as tokenizers
from electra.text.copies import count_words, number
from electra.text.corpus import Document, Format, Skipped
from electra.text.duplicates import Dropping, Duplicates
from electra.text.filters import Filters
from electra.text.shards import Split, Writer
from electra.text.sources import Part, contents
from electra.text.words import AT_ONCE, Encoder, grouped

READ = "read"  # ending of a note of what was read for a part
COUNTS = ("documents", "tokens", "words", "bytes", "unknown")

Told = Callable[[int], object]
Do = Callable[["Job", Part, Told], None]


@dataclass(frozen=True)
class Job:
    """What is done to every part; it travels to the workers."""

    out: str
    tokenizer: str  # tokenizer.json
    special: tuple[tuple[str, str], ...]
    form: Format
    filters: Filters
    duplicates: Duplicates
    held_out: float

    def file(self, part: Part, ending: str) -> Path:
        """A file beside the shards that is there until all parts are."""
        return Path(self.out, "parts", f"{part.number:05d}.{ending}")

    def documents(self, part: Part, skipped: Skipped, told: Told) -> Iterator[Document]:
        """The part's documents to which no filter objects."""
        done = 0
        for span in part.spans:
            found = readers.documents(span, self.form, skipped, partial(further, told, done))
            yield from self.filters.kept(found, skipped)
            done += span.size
        told(done)

    def is_held_out(self, document: Document, part: Part) -> bool:
        """Whether a document is kept out of training: by its text, so that equal texts fall on one side.

        The built-in corpus is split by file, for the labelled task in it.
        """
        if part.spans[0].path == readers.BUILTIN:
            return builtin.held_out(document)
        return number(document.text) < self.held_out * 2**64


def further(told: Told, before: int, read: int) -> None:
    """Tell what is read of a span, and before it."""
    told(before + read)


def write_keys(job: Job, part: Part, told: Told) -> None:
    """The first pass, where copies are to be left out: the keys of the part's documents."""
    found = job.duplicates.keys(job.documents(part, Skipped(), told))
    note_contents(job, part)
    for kind, keys in found.items():
        with whole(job.file(part, f"{kind}.keys")) as file:
            keys.astype("<u8").tofile(file)


def write_part(job: Job, part: Part, told: Told) -> None:
    """The part's shards, and then what they hold as ``parts/NUMBER.json``, which says that the part is done."""
    skipped = Skipped()
    marked = {kind: np.fromfile(job.file(part, f"{kind}.marks"), bool) for kind in job.duplicates.kinds}
    documents = Dropping(job.duplicates, marked).kept(job.documents(part, skipped, told), skipped)
    said = write_shards(
        Path(job.out), part, documents, encoder(job.tokenizer, job.special),
        lambda document: job.is_held_out(document, part), skipped,
    )  # fmt: skip
    note_contents(job, part)
    with whole(job.file(part, "json")) as file:
        file.write_text(json.dumps(said))


def note_contents(job: Job, part: Part) -> None:
    """Write what was read for a part as ``parts/NUMBER.read``, or find that it is still what was read before.

    Raises:
        UserError: as ``same_contents``.
    """
    if not same_contents(job, part):
        with whole(job.file(part, READ)) as file:
            file.write_text(json.dumps(contents(part)))


def same_contents(job: Job, part: Part) -> bool:
    """Whether a part was read before, and its files still are what they were.

    Raises:
        UserError: one that changed, by its name; or the note of it is damaged.
    """
    path = job.file(part, READ)
    if not path.exists():
        return False
    with told_as(f"{path}: damaged; remove {job.out} and begin anew", ValueError):
        before = json.loads(path.read_text(encoding="utf-8"))
    for span, there, now in zip(part.spans, before, contents(part), strict=True):
        if there != now:
            raise UserError(f"{span.shown}: changed since {job.out} was begun; remove that folder, and begin anew")
    return True


@lru_cache(1)
def encoder(said: str, special: tuple[tuple[str, str], ...]) -> Encoder:
    """The encoder of a tokenizer.json, kept from part to part with the words that it knows."""
    return Encoder(tokenizers.from_json(said, dict(special)))


def write_shards(
    folder: Path,
    part: Part,
    documents: Iterable[Document],
    encoder: Encoder,
    held_out: Callable[[Document], bool],
    skipped: Skipped,
) -> dict[str, Any]:
    """Tokenize documents into shards; returns what the manifest says of them."""
    fingerprint, unknown = encoder.tokenizer.fingerprint, encoder.tokenizer.ids["unk"]
    writers = {
        split: Writer(folder, f"{split}-{part.number:05d}", fingerprint, encoder.dtype)
        for split in ("train", "held-out")
    }
    totals = {split: dict.fromkeys(COUNTS, 0) for split in writers}
    for batch in grouped(documents, lambda document: len(document.text), AT_ONCE):
        for document, units in zip(batch, encoder.units([document.text for document in batch]), strict=True):
            if not units:
                skipped.note("document without a token", f"{document.source}, at {document.index:,}")
                continue
            split: Split = "held-out" if held_out(document) else "train"
            tokens = writers[split].add(units)
            total = totals[split]
            total["documents"] += 1
            total["tokens"] += len(tokens)
            total["words"] += count_words(document.text)
            total["bytes"] += len(document.text.encode())
            total["unknown"] += int((tokens == unknown).sum())
    splits = {split: totals[split] | {"shards": writer.finish()} for split, writer in writers.items()}
    return {"source": part.source, "splits": splits, "skipped": skipped.said()}


def run(do: Do, job: Job, parts: Sequence[Part], engine: Literal["local", "ray"], workers: int, label: str) -> None:
    """``do`` for every part, with progress under ``label``.

    Raises:
        UserError: what a part raises, after the parts that are under way elsewhere are stopped; a worker that was
            killed.
    """
    with Progress(label, sum(part.size for part in parts) / 1e6, "MB") as progress:
        if engine == "ray":
            from electra.text.ray import on_ray

            on_ray(do, job, parts, progress)
        elif workers == 1 or len(parts) <= 1:
            before = 0
            for part in parts:
                do(job, part, partial(megabytes, progress, before))
                before += part.size
        else:
            on_processes(do, job, parts, workers, progress)


def megabytes(progress: Progress, before: int, done: int) -> None:
    """Tell the progress how many bytes are done."""
    progress.at((before + done) / 1e6)


def on_processes(do: Do, job: Job, parts: Sequence[Part], workers: int, progress: Progress) -> None:
    """See ``run``. Processes are spawned: a script calls this under ``if __name__ == "__main__"``."""
    context = get_context("spawn")
    stop, done = context.RawValue("b", 0), context.RawArray("q", len(parts))  # no locks: a killed worker keeps none
    with (
        ProcessPoolExecutor(min(workers, len(parts)), context, be_worker, (stop, job, done)) as pool,
        stopped_on_failure(stop),
    ):
        pending = {pool.submit(task, do, part, index) for index, part in enumerate(parts)}
        while pending:
            ready, pending = wait(pending, 0.5, FIRST_EXCEPTION)
            for future in ready:
                try:
                    future.result()
                except BrokenProcessPool as error:
                    raise UserError(
                        "a worker was killed, perhaps for want of memory; finished parts are kept, and the same "
                        "command goes on (with fewer --workers it takes less)"
                    ) from error
            progress.at(sum(done) / 1e6)


@contextmanager
def stopped_on_failure(stop: Any) -> Iterator[None]:
    """Tell the workers to stop at once if anything fails, Ctrl-C included."""
    try:
        yield
    except BaseException:
        stop.value = 1
        raise


shared: dict[str, Any] = {}  # in a worker: the job, and the array in which it tells how far each part is


def be_worker(stop: Any, job: Job, done: Any) -> None:
    """In a worker: leave Ctrl-C to the parent, end when told or when the parent is gone, use one core."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    shared.update(job=job, done=done)
    gc.disable()  # nothing here makes cycles, and the collector would walk through all words

    def watch() -> None:
        parent = parent_process()
        while not stop.value and parent is not None and parent.is_alive():
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def task(do: Do, part: Part, index: int) -> None:
    """In a worker: one part."""
    do(shared["job"], part, lambda done: shared["done"].__setitem__(index, done))
