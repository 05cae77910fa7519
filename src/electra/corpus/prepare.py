"""``electra tokenizer`` and ``electra prepare``: raw text → a vocabulary → tokens on disk."""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

from electra import files, fingerprints
from electra import tokenization as vocabularies
from electra.config import check_ranges
from electra.corpus import readers
from electra.corpus.documents import Boundary, Document, Skipped, TextFormat
from electra.corpus.duplicates import CopyDetector, mark_copies
from electra.corpus.duplicates import CopyKind as Copies
from electra.corpus.figures import print_prepared_data
from electra.corpus.filters import Filters, hash_evaluation_runs
from electra.corpus.folder import (
    TOKENIZER_FOLDER,
    Preparation,
    Share,
    build_manifest,
    is_being_prepared,
    refuse_empty_split,
)
from electra.corpus.parts import Job, write_copy_keys, write_part, write_shards
from electra.corpus.sources import UNNAMED, Part, TextSource, cut_parts, find_sources
from electra.corpus.words import CachingTokenizer
from electra.corpus.workers import run_parts
from electra.dataset.shards import MANIFEST
from electra.errors import UserError
from electra.progress import Progress
from electra.ranges import Count, CountOrZero, Fraction, Positive, Range
from electra.tokenization import Normalization, Spelling, Tokenizer, TokenizerKind

ALL_PARTS = Share()


@dataclass(frozen=True)
class TokenizerConfig:
    """Train a vocabulary on text, or take one that is there, and save it as a folder that AutoTokenizer loads."""

    data: tuple[str, ...] = ()
    """Files, folders or globs of text, as in `electra prepare`."""
    out: str = ""
    """Folder to write."""
    kind: TokenizerKind = "word-piece"
    """word-piece: BERT's. byte-bpe: bytes, so that nothing is unknown. unigram: for scripts without spaces too."""
    vocab_size: Count = 30522  # BERT
    """Ids, special tokens included."""
    lower_case: bool = True
    strip_accents: Literal["auto", "yes", "no"] = "auto"
    """Take é for e. auto: as BERT does, for word-piece in lower case; in Thai or Hindi it would take vowels away."""
    normalization: Normalization = "none"
    """Unicode's form in which text is read: nfc joins letters and marks, nfkc makes ﬁ and ² plain too."""
    existing: str = ""
    """Take this vocab.txt or tokenizer folder instead of training; --data is not needed."""
    documents: Boundary = "blank-line"
    """What ends a document in .txt."""
    field: str = "text"
    """Key or column of the text in records."""
    megabytes: Positive = 2000.0
    """Read so much text, from all over the sources: a vocabulary hardly changes beyond."""


@dataclass(frozen=True)
class PrepareConfig:
    """Text to memory-mapped tokens, with a held-out split. Killed, the same command goes on.

    --data takes files, folders and globs of .txt, .jsonl, .csv, .tsv (also .gz, .bz2, .xz, .zst), .parquet and .arrow;
    s3://, gs://, hf:// and https:// paths; hub:NAME[:CONFIG[:SPLIT]] (a data set of the Hugging Face Hub, streamed);
    - (standard input; -.jsonl for JSON lines); builtin (docstrings of the installed packages). wiki=PATTERN names a
    source, for statistics and weights.
    """

    data: tuple[str, ...] = ()
    """What to read."""
    tokenizer: str = ""
    """Folder that `electra tokenizer` wrote, any tokenizer folder of Hugging Face's, or a vocab.txt (lower-cased)."""
    out: str = ""
    """Folder to write."""
    documents: Boundary = "blank-line"
    """What ends a document in .txt: a blank line, every line, or nothing but the file's end."""
    field: str = "text"
    """Key or column of the text in records."""
    held_out: Annotated[float, Range(above=0, below=1)] = 0.01
    """Share of the documents kept out of training."""
    preview: CountOrZero = 0
    """Print so many rows as a model will see them, and write nothing."""

    fewest_words: CountOrZero = 0
    """Leave out documents of fewer words."""
    most_words: CountOrZero = 0
    """Leave out documents of more words; 0: no bound."""
    most_symbols: Fraction = 1.0
    """Leave out documents with a larger share of characters that are neither letter, digit nor white space."""
    drop_copies: tuple[Copies, ...] = ()
    """Leave out what stands before: documents (word for word), lines (of 40 characters or more), near (documents)."""
    likeness: Fraction = 0.8
    """Common runs of five words, as a share of all, from which documents are near copies: 0.5, 0.7, 0.8 or 0.9."""
    exclude_overlap: tuple[str, ...] = ()
    """Files with evaluation text: leave out documents that share a run of words with a line of theirs."""
    overlap_words: Count = 13  # GPT-3, appendix C
    """How many words in a row."""

    weights: tuple[str, ...] = ()
    """Share of the tokens that training reads from each source, as wiki=3 books=1; default: as many as there are."""
    temperature: Annotated[float, Range(least=1)] = 1.0
    """Weights are the sources' tokens to the power 1/temperature: above 1, small sources are read more often."""

    workers: CountOrZero = 0
    """Processes; 0: one for each core. What is written does not depend on it."""
    engine: Literal["local", "ray"] = "local"
    """ray: run the parts on a Ray cluster that sees the same folders."""
    part: str = ""
    """i/n: do the i-th of n shares of the work, on machines that see the same folder; then --merge."""
    merge: bool = False
    """End what all --part i/n began."""


def tokenizer(config: TokenizerConfig) -> Tokenizer:
    """The tokenizer, saved. Raises ``UserError`` for missing text, special tokens that are missing, a folder in use."""
    check_ranges(config)
    bert = config.lower_case and config.kind == "word-piece"
    strip_accents = bert if config.strip_accents == "auto" else config.strip_accents == "yes"
    spelling = Spelling(config.lower_case, strip_accents, config.normalization)
    refuse_existing_output(config.out)
    if config.existing:
        found = vocabularies.load_tokenizer(Path(config.existing), spelling)
    else:
        skipped, form = Skipped(), TextFormat(config.documents, config.field)
        texts = sample_texts(cut_parts(find_sources(config.data), form), form, config.megabytes, skipped)
        found = vocabularies.train_tokenizer(texts, config.vocab_size, config.kind, spelling)
        for line in skipped.lines():
            print(line)
    with create_output_folder(config.out, TOKENIZER_FOLDER) as folder:
        found.save(folder)
    print(f"{config.out}: {found.size:,} ids")
    return found


def sample_texts(work: Sequence[Part], form: TextFormat, megabytes: float, skipped: Skipped) -> Iterator[str]:
    """Texts from the beginning of every part, together about so many megabytes."""
    each, total = megabytes * 1e6 / len(work), sum(part.size for part in work) / 1e6
    done = 0.0
    with Progress("reading", total, "MB") as progress:
        for part in work:
            left = each
            for document in chain.from_iterable(readers.read_documents(span, form, skipped) for span in part.spans):
                yield document.text
                left -= len(document.text)
                progress.update(done + min(part.size, each - left) / 1e6)
                if left <= 0:
                    break
            done += part.size / 1e6
            progress.update(done)


def prepare(config: PrepareConfig) -> dict[str, Any]:
    """Tokenize the sources into ``config.out``; returns the manifest (an empty one from ``part`` and ``preview``).

    Raises:
        UserError: missing text or tokenizer, a folder that holds something else, the text included, or that another
            process writes into, a damaged source, no document on one side of the split.
    """
    check_ranges(config)
    check_prepare_config(config)
    found = vocabularies.load_tokenizer(Path(config.tokenizer))
    job = build_job(config, found)
    named = exclude_own_output(find_sources(config.data), Path(config.out)) if config.out else find_sources(config.data)
    work = cut_parts(named, job.form)
    check_source_weights(config, [source.name for source in named])
    piped = any(readers.is_piped(span.path) for part in work for span in part.spans)
    if piped and (config.part or config.drop_copies or config.engine != "local"):
        raise UserError("standard input is read once, here: not with --part, --engine or --drop-copies; save it first")
    if config.preview:
        from electra.corpus.preview import print_preview

        print_preview(job, work, found, config.preview)
        return {}
    began = time.monotonic()
    folder = Preparation(
        job, work, found, collect_plan_settings(config, found, job) | {"piped at": time.time() if piped else 0}
    )
    share = Share.parse(config.part) if config.part else ALL_PARTS
    workers = 1 if piped else config.workers or os.cpu_count() or 1
    with folder.held(share):
        if not config.merge and not write_parts(folder, config, share, workers):
            return {}
        manifest = folder.merge(lambda tokens: compute_source_shares(config, tokens))
    print_prepared_data(config.out, manifest, time.monotonic() - began)
    return manifest


def exclude_own_output(named: Sequence[TextSource], out: Path) -> list[TextSource]:
    """The sources without the vocabulary that a try before has written into ``out``, which may lie below a source.

    Raises:
        UserError: another file of theirs lies in ``out``, through whatever links.
    """
    here = Path(os.path.realpath(out))
    vocabulary = (
        here / TOKENIZER_FOLDER
        if is_being_prepared(here) and files.read_kind(here / TOKENIZER_FOLDER) == TOKENIZER_FOLDER
        else None
    )
    kept = []
    for source in named:
        spans = []
        for span in source.spans:
            path = Path(os.path.realpath(span.path.removeprefix("file://")))
            if vocabulary and path.parent == vocabulary:
                continue
            if path.is_file() and path.is_relative_to(here):
                raise UserError(f"--out {out}: {span.path} lies in it, which is to be read; choose another --out")
            spans.append(span)
        kept += [replace(source, spans=tuple(spans))] if spans else []
    return kept


def check_prepare_config(config: PrepareConfig) -> None:
    """Raises ``UserError`` for settings that are missing or cannot be, as far as no file tells."""
    if not config.tokenizer:
        raise UserError("--tokenizer is missing: a folder that `electra tokenizer` wrote, or any other")
    if config.part and config.merge:
        raise UserError("--part and --merge: first every part, then --merge alone")
    if not config.out and not config.preview:
        raise UserError("--out is missing: the folder to write")
    if "://" in config.out:
        raise UserError(f"--out {config.out}: data is read by memory map, so it is written to a folder of this machine")


def write_parts(folder: Preparation, config: PrepareConfig, share: Share, workers: int) -> bool:
    """Write the parts of this process's share; whether that ends the work."""
    if not find_copies(folder, share, config.engine, workers):
        print(f"{config.out}: part {config.part} has looked for copies; when all have, run each again")
        return False
    run_parts(write_part, folder.job, folder.mine(share), config.engine, workers, "preparing")
    if config.part:
        print(f"{config.out}: part {config.part} is done; when all are, --merge")
    return not config.part


def build_job(config: PrepareConfig, found: Tokenizer) -> Job:
    """What is to be done to every part."""
    runs, total, short = hash_evaluation_runs(config.exclude_overlap, config.overlap_words)
    if config.exclude_overlap:
        print(
            f"evaluation text: {total:,} lines, {len(runs):,} runs of {config.overlap_words} words; "
            f"{short:,} lines are shorter than that and cannot be found"
        )
    filters = Filters(config.fewest_words, config.most_words, config.most_symbols, config.overlap_words, runs)
    duplicates = CopyDetector(config.drop_copies, config.likeness)
    duplicates.check()
    special = tuple(found.special.items())
    form = TextFormat(config.documents, config.field)
    return Job(config.out, found.backend.to_str(), special, form, filters, duplicates, config.held_out)


def collect_plan_settings(config: PrepareConfig, found: Tokenizer, job: Job) -> dict[str, Any]:
    """What makes data what it is, besides the files: the same settings go on with a folder that was begun."""
    elsewhere = ("out", "data", "tokenizer", "preview", "weights", "temperature", "workers", "engine", "part", "merge")
    said = {name: value for name, value in asdict(config).items() if name not in elsewhere}
    overlap = fingerprints.hash_bytes(job.filters.overlap.tobytes())
    return said | {"tokenizer": found.fingerprint, "exclude_overlap": overlap}


def check_source_weights(config: PrepareConfig, names: Sequence[str]) -> None:
    """Raises ``UserError`` unless the weights, if there are any, are positive and name every source once."""
    given = dict.fromkeys(names, 1.0)
    for word in config.weights:
        name, equals, weight = word.partition("=")
        try:
            value = float(weight)
        except ValueError:
            value = -1.0
        if not equals or name not in given or not 0 < value < float("inf"):
            known = ", ".join(names) if names != [UNNAMED] else "none has a name; --data wiki=PATTERN gives one"
            raise UserError(f"--weights {word}: NAME=NUMBER for each source; the sources: {known}")
    if config.weights and (missing := set(names) - {word.partition("=")[0] for word in config.weights}):
        raise UserError(f"--weights: {', '.join(sorted(missing))} has none")
    if config.weights and config.temperature != 1:
        raise UserError("--weights and --temperature: one of the two")


def compute_source_shares(config: PrepareConfig, tokens: dict[str, int]) -> dict[str, float]:
    """Source → share of the tokens that training reads; empty where each token is read once an epoch."""
    if config.weights:
        given = {name: float(weight) for name, _, weight in (word.partition("=") for word in config.weights)}
    elif config.temperature != 1:
        given = {name: count ** (1 / config.temperature) for name, count in tokens.items()}
    else:
        return {}
    return {name: weight / sum(given.values()) for name, weight in given.items()}


def find_copies(folder: Preparation, share: Share, engine: Literal["local", "ray"], workers: int) -> bool:
    """Whether it is known what copies there are, after the keys of this share's parts are written."""
    job = folder.job
    if todo := list_parts_lacking(folder, "keys", share):
        run_parts(write_copy_keys, job, todo, engine, workers, "looking for copies")
    if list_parts_lacking(folder, "keys", ALL_PARTS):
        return False
    if list_parts_lacking(folder, "marks", ALL_PARTS):
        for kind in job.duplicates.kinds:
            mark_copies(*([job.file(part, f"{kind}.{ending}") for part in folder.all] for ending in ("keys", "marks")))
    return True


def list_parts_lacking(folder: Preparation, ending: str, share: Share) -> list[Part]:
    """The parts of a share that lack a file for a kind of copies."""
    job = folder.job
    return [
        part
        for part in folder.all[share.index :: share.of]
        if any(not job.file(part, f"{kind}.{ending}").exists() for kind in job.duplicates.kinds)
    ]


def prepare_documents(
    documents: Iterable[Document],
    tokenizer: Tokenizer,
    out: str,
    held_out: Callable[[Document], bool],
    skipped: Skipped,
) -> dict[str, Any]:
    """Tokenize documents from memory into the folder ``out`` and tell what became of them; returns the manifest."""
    began = time.monotonic()
    with create_output_folder(out, "prepared data") as folder:
        tokenizer.save(folder / TOKENIZER_FOLDER)
        part = Part(0, UNNAMED, ())
        said = write_shards(folder, part, documents, CachingTokenizer(tokenizer), held_out, skipped)
        manifest = build_manifest(tokenizer, [said], {}, skipped)
        refuse_empty_split(Path(out), manifest, skipped)
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1))
    print_prepared_data(out, manifest, time.monotonic() - began)
    return manifest


@contextmanager
def create_output_folder(out: str, kind: str) -> Iterator[Path]:
    """A folder to write into that becomes ``out`` when all is written, and is gone if anything fails.

    Raises:
        UserError: no name, or a folder of that name that holds something, or the disk does not take it.
    """
    refuse_existing_output(out)
    try:
        with files.write_whole_folder(Path(out), kind) as folder:
            yield folder
    except OSError as error:
        raise UserError(f"{out}: {error.strerror or error}") from error


def refuse_existing_output(out: str) -> None:
    """Raises ``UserError`` for no name, or for that of something that is there."""
    if not out:
        raise UserError("--out is missing: the folder to write")
    if not files.is_vacant(Path(out)):
        raise UserError(f"{out}: is there already; choose another --out, or remove it")
