"""``electra prepare``: text → tokens on the disk, in parts that several processes or machines share."""

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from electra import files, fingerprints
from electra.config import check_ranges
from electra.corpus.documents import Boundary, Skipped, TextFormat
from electra.corpus.duplicates import CopyDetector, CopyKind, mark_copies
from electra.corpus.figures import print_prepared_data
from electra.corpus.filters import Filters, hash_evaluation_runs
from electra.corpus.folder import TOKENIZER_FOLDER, Preparation, Share, is_being_prepared
from electra.corpus.opening import is_piped
from electra.corpus.parts import Job, write_copy_keys, write_part
from electra.corpus.sources import Part, TextSource, cut_parts, find_sources
from electra.corpus.weights import check_temperature, compute_source_shares, parse_weights
from electra.corpus.workers import Engine, run_parts
from electra.dataset.shards import MANIFEST, Manifest
from electra.errors import UserError, convert_errors
from electra.ranges import Count, CountOrZero, Fraction, Range
from electra.tokenization.loading import load_tokenizer
from electra.tokenization.tokenizer import Tokenizer

ALL_PARTS = Share()


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
    drop_copies: tuple[CopyKind, ...] = ()
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


def prepare(config: PrepareConfig) -> Manifest:
    """Tokenize the sources into ``config.out``; returns the manifest, which is empty with ``part`` and ``preview``.

    Raises:
        UserError: missing text or tokenizer; a folder that holds something else, the text included, or that another
            process writes into; a damaged source; no document on one side of the split.
    """
    check_ranges(config)
    check_prepare_config(config)
    tokenizer = load_tokenizer(Path(config.tokenizer))
    job = build_job(config, tokenizer)
    skipped = Skipped()
    sources = find_sources(config.data, skipped)
    if config.out:
        with convert_errors(config.out, OSError):  # of a name too long, or a folder that is closed to this user
            sources = exclude_own_output(sources, Path(config.out))
    for line in skipped.lines():
        print(line)
    parts = cut_parts(sources, job.text_format)
    weights = parse_weights(config.weights, [source.name for source in sources])
    check_temperature(config.temperature, config.weights)
    piped = any(is_piped(span.path) for part in parts for span in part.spans)
    if piped and (config.part or config.drop_copies or config.engine != "local"):
        raise UserError("standard input is read once, here: not with --part, --engine or --drop-copies; save it first")
    if config.preview:
        from electra.corpus.preview import print_preview

        print_preview(job, parts, tokenizer, config.preview)
        return {}
    began = time.monotonic()
    settings = collect_plan_settings(config, tokenizer, job) | {"piped at": time.time() if piped else 0}
    preparation = Preparation(job, parts, tokenizer, settings)
    weigh = partial(compute_source_shares, weights, config.temperature)
    if complete := preparation.find_complete(weigh):
        print(f"{config.out}: is complete, of this text and with these settings")
        return complete
    share = Share.parse(config.part) if config.part else ALL_PARTS
    workers = 1 if piped else config.workers or os.cpu_count() or 1
    with preparation.hold(share):
        if not config.merge and not write_parts(preparation, config, share, workers):
            return {}
        manifest = preparation.write_manifest(weigh)
    print_prepared_data(config.out, manifest, time.monotonic() - began)
    return manifest


def exclude_own_output(sources: Sequence[TextSource], out: Path) -> list[TextSource]:
    """The sources without the vocabulary that this command has written into ``out``, which may lie below a source.

    Raises:
        UserError: another file of theirs lies in ``out``, through whatever links.
    """
    real_out = Path(os.path.realpath(out))
    own_tokenizer = real_out / TOKENIZER_FOLDER
    is_ours = is_being_prepared(real_out) or (real_out / MANIFEST).is_file()
    wrote_tokenizer = is_ours and files.read_kind(own_tokenizer) == TOKENIZER_FOLDER
    kept = []
    for source in sources:
        spans = []
        for span in source.spans:
            path = Path(os.path.realpath(span.path.removeprefix("file://")))
            if wrote_tokenizer and path.parent == own_tokenizer:
                continue
            if path.is_file() and path.is_relative_to(real_out):
                raise UserError(f"--out {out}: {span.path} lies in it, which is to be read; choose another --out")
            spans.append(span)
        kept += [replace(source, spans=tuple(spans))] if spans else []
    return kept


def check_prepare_config(config: PrepareConfig) -> None:
    """Raise ``UserError`` for settings that are missing or impossible, as far as that is known without any file."""
    if not config.tokenizer:
        raise UserError("--tokenizer is missing: a folder that `electra tokenizer` wrote, or any other")
    if config.part and config.merge:
        raise UserError("--part and --merge: first every part, then --merge alone")
    if not config.out and not config.preview:
        raise UserError("--out is missing: the folder to write")
    if "://" in config.out:
        raise UserError(f"--out {config.out}: data is read by memory map, so it is written to a folder of this machine")


def build_job(config: PrepareConfig, tokenizer: Tokenizer) -> Job:
    """What is to be done to every part. Prints how much evaluation text is looked for."""
    runs, lines, short_lines = hash_evaluation_runs(config.exclude_overlap, config.overlap_words)
    if config.exclude_overlap:
        print(
            f"evaluation text: {lines:,} lines, {len(runs):,} runs of {config.overlap_words} words; "
            f"{short_lines:,} lines are shorter than that and cannot be found"
        )
    filters = Filters(config.fewest_words, config.most_words, config.most_symbols, config.overlap_words, runs)
    detector = CopyDetector(config.drop_copies, config.likeness)
    detector.validate()
    special = tuple(tokenizer.special.items())
    text_format = TextFormat(config.documents, config.field)
    return Job(config.out, tokenizer.backend.to_str(), special, text_format, filters, detector, config.held_out)


def collect_plan_settings(config: PrepareConfig, tokenizer: Tokenizer, job: Job) -> dict[str, object]:
    """The settings that decide what the data is, for the plan: a try with the same ones continues an earlier one.

    The tokenizer and the evaluation text are in it by their hashes, and the files are compared by their contents.
    """
    others = ("out", "data", "tokenizer", "preview", "weights", "temperature", "workers", "engine", "part", "merge")
    settings = {name: value for name, value in asdict(config).items() if name not in others}
    overlap = fingerprints.hash_bytes(job.filters.overlap.tobytes())
    return settings | {"tokenizer": tokenizer.fingerprint, "exclude_overlap": overlap, "split by": "words"}


def write_parts(preparation: Preparation, config: PrepareConfig, share: Share, workers: int) -> bool:
    """Write the parts of this process's share. Whether the data is then ready to be merged here."""
    if not find_copies(preparation, share, config.engine, workers):
        print(f"{config.out}: part {config.part} has looked for copies; when all have, run each again")
        return False
    run_parts(write_part, preparation.job, preparation.remaining(share), config.engine, workers, "preparing")
    if config.part:
        print(f"{config.out}: part {config.part} is done; when all are, --merge")
    return not config.part


def find_copies(preparation: Preparation, share: Share, engine: Engine, workers: int) -> bool:
    """Write the keys of this share's parts, and the marks of all parts when all have keys. Whether all have marks."""
    job = preparation.job
    if lacking := list_parts_lacking(preparation, "keys", share):
        run_parts(write_copy_keys, job, lacking, engine, workers, "looking for copies")
    if list_parts_lacking(preparation, "keys", ALL_PARTS):
        return False
    if list_parts_lacking(preparation, "marks", ALL_PARTS):
        for kind in job.detector.kinds:
            key_files, mark_files = (
                [job.file(part, f"{kind}.{ending}") for part in preparation.parts] for ending in ("keys", "marks")
            )
            mark_copies(key_files, mark_files)
    return True


def list_parts_lacking(preparation: Preparation, ending: Literal["keys", "marks"], share: Share) -> list[Part]:
    """The parts of a share without that file for one of the kinds of copies that are looked for."""
    job = preparation.job
    return [
        part
        for part in preparation.parts[share.index :: share.of]
        if any(not job.file(part, f"{kind}.{ending}").exists() for kind in job.detector.kinds)
    ]
