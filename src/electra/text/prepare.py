"""``electra tokenizer`` and ``electra prepare``: raw text → a vocabulary → tokens on disk."""

import hashlib
import itertools
import json
import os
import shutil
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from electra.errors import UserError
from electra.text import tokenizer as word_pieces
from electra.text.corpus import Document, Skipped, files, read
from electra.text.shards import FORMAT, MANIFEST, Split, Writer
from electra.text.tokenizer import Tokenizer

BATCH = 1 << 20  # characters that are tokenized at once
MUCH_UNKNOWN = 0.02


@dataclass(frozen=True)
class TokenizerConfig:
    """Train a WordPiece vocabulary on text, or take one that is there, and save it as a folder AutoTokenizer loads."""

    data: tuple[str, ...] = ()
    """Files, folders or globs of .txt and .jsonl, plain or gzipped."""
    out: str = ""
    """Folder to write."""
    vocab_size: int = 30522  # BERT
    """Word pieces, special tokens included."""
    lower_case: bool = True
    strip_accents: bool = True
    """Take é for e."""
    existing: str = ""
    """Take this vocab.txt or tokenizer folder instead of training; --data is not needed."""
    field: str = "text"
    """Key of the text in .jsonl."""


@dataclass(frozen=True)
class PrepareConfig:
    """Text files to memory-mapped tokens, with a held-out split."""

    data: tuple[str, ...] = ()
    """Files, folders or globs of .txt and .jsonl, plain or gzipped."""
    tokenizer: str = ""
    """Folder that `electra tokenizer` wrote, any tokenizer folder of Hugging Face's, or a vocab.txt (lower-cased)."""
    out: str = ""
    """Folder to write."""
    documents: Literal["blank-line", "file"] = "blank-line"
    """What separates documents in .txt: blank lines, or nothing but the file's end."""
    field: str = "text"
    """Key of the text in .jsonl."""
    held_out: float = 0.01
    """Share of the documents kept out of training."""


def tokenizer(config: TokenizerConfig) -> Tokenizer:
    """The tokenizer, saved. Raises ``UserError`` for missing text, special tokens that are missing, a folder in use."""
    if config.existing:
        found = word_pieces.load(Path(config.existing), config.lower_case, config.strip_accents)
    else:
        paths, skipped = files(config.data), Skipped()
        texts = (document.text for document in read(paths, skipped, "reading", field=config.field))
        found = word_pieces.train(texts, config.vocab_size, config.lower_case, config.strip_accents)
        for line in skipped.lines():
            print(line)
    with new_folder(config.out) as folder:
        found.save(folder)
    print(f"{config.out}: {found.size:,} word pieces")
    return found


def prepare(config: PrepareConfig) -> dict:
    """Tokenize the files into ``config.out``; returns the manifest.

    Raises:
        UserError: missing text or tokenizer, a folder that holds something, no document on one side of the split.
    """
    if not config.tokenizer:
        raise UserError("--tokenizer is missing: a folder that `electra tokenizer` wrote, or any other")
    if not 0 < config.held_out < 1:
        raise UserError(f"--held-out {config.held_out:g}: a share of the documents, more than 0 and less than 1")
    found, paths, skipped = word_pieces.load(Path(config.tokenizer)), files(config.data), Skipped()
    documents = read(paths, skipped, "preparing", config.documents, config.field)
    return write(documents, found, config.out, lambda document: by_text(document, config.held_out), skipped)


def by_text(document: Document, share: float) -> bool:
    """Whether a document is held out: the same text always falls on the same side."""
    digest = hashlib.blake2b(document.text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def write(
    documents: Iterable[Document],
    tokenizer: Tokenizer,
    out: str,
    held_out: Callable[[Document], bool],
    skipped: Skipped,
) -> dict:
    """Tokenize ``documents`` into the folder ``out`` and tell what became of them; returns the manifest."""
    began = time.monotonic()
    with new_folder(out) as folder:
        tokenizer.save(folder / "tokenizer")
        fingerprint = tokenizer.fingerprint
        writers = {split: Writer(folder, split, fingerprint, tokenizer.size) for split in ("train", "held-out")}
        totals = {split: dict.fromkeys(("documents", "tokens", "words", "bytes", "unknown"), 0) for split in writers}
        unknown = tokenizer.ids["unk"]
        for document, units in tokenized(documents, tokenizer):
            if not units:
                skipped.note("document without a token", f"{document.source}, document {document.index}")
                continue
            split: Split = "held-out" if held_out(document) else "train"
            writers[split].add(units)
            total = totals[split]
            total["documents"] += 1
            total["tokens"] += sum(map(len, units))
            total["words"] += len(document.text.split())
            total["bytes"] += len(document.text.encode())
            total["unknown"] += sum(unit.count(unknown) for unit in units)
        for name, total in totals.items():
            if not total["documents"]:
                count = sum(each["documents"] for each in totals.values())
                why = f"; {', '.join(skipped.lines())}" if skipped else ""
                raise UserError(f"{out}: no document for the {name} split, of {count} in all{why}")
        manifest = {
            "format": FORMAT,
            "tokenizer": fingerprint,
            "vocab_size": tokenizer.size,
            "special": tokenizer.ids,
            "splits": {split: totals[split] | {"shards": writer.finish()} for split, writer in writers.items()},
            "skipped": dict(skipped),
        }
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1))
    report(out, manifest, skipped, time.monotonic() - began)
    return manifest


def tokenized(documents: Iterable[Document], tokenizer: Tokenizer) -> Iterator[tuple[Document, list["array[int]"]]]:
    """Each document with the ids of its units, a batch of them tokenized at a time."""
    for batch in batched(documents):
        yield from zip(batch, tokenizer.encode_units([document.text for document in batch]), strict=True)


def batched(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """The documents in lists of about ``BATCH`` characters."""
    source = iter(documents)
    while first := next(source, None):
        size, batch = len(first.text), [first]
        while size < BATCH and (document := next(source, None)):
            batch.append(document)
            size += len(document.text)
        yield batch


@contextmanager
def new_folder(out: str) -> Iterator[Path]:
    """A folder to write into that becomes ``out`` when all is written, and is gone if anything fails.

    Raises:
        UserError: no name, or a folder of that name that holds something, or the disk does not take it.
    """
    if not out:
        raise UserError("--out is missing: the folder to write")
    final = Path(out)
    if final.exists() and (not final.is_dir() or any(final.iterdir())):
        raise UserError(f"{final}: is there already; choose another --out, or remove it")
    partial = final.with_name(f".{final.name}.partial-{os.getpid()}")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        if final.exists():
            final.rmdir()
        partial.rename(final)
    except OSError as error:
        raise UserError(f"{final}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def report(out: str, manifest: dict, skipped: Skipped, seconds: float) -> None:
    """Print how much there is, and what was left out."""
    for split, total in manifest["splits"].items():
        unknown = total["unknown"] / total["tokens"]
        print(
            f"{out} {split}: {total['documents']:,} documents, {total['tokens']:,} tokens, {total['words']:,} words, "
            f"{total['bytes'] / total['tokens']:.2f} bytes a token, {unknown:.3%} unknown"
        )
        if unknown > MUCH_UNKNOWN:
            print(f"warning: {unknown:.1%} of the {split} tokens are unknown to this vocabulary; is it the right one?")
    size = sum(total["bytes"] for total in manifest["splits"].values()) / 1e6
    for line in itertools.chain(skipped.lines(), [f"{size:,.1f} MB in {seconds:.1f} s"]):
        print(line)
