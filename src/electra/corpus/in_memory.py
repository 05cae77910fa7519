"""Documents in memory → prepared data, by one process in one go."""

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from electra.corpus.documents import Document, Skipped
from electra.corpus.figures import print_prepared_data
from electra.corpus.folder import TOKENIZER_FOLDER
from electra.corpus.manifest import build_manifest, refuse_empty_split
from electra.corpus.output import create_output_folder
from electra.corpus.parts import write_shards
from electra.corpus.sources import UNNAMED, Part
from electra.corpus.words import CachingTokenizer
from electra.dataset.shards import MANIFEST, Manifest
from electra.tokenization.tokenizer import Tokenizer


def prepare_documents(
    documents: Iterable[Document],
    tokenizer: Tokenizer,
    out: str,
    is_held_out: Callable[[Document], bool],
    skipped: Skipped,
) -> Manifest:
    """Tokenize documents into the folder ``out`` and print what it holds; returns the manifest.

    ``skipped``: what was left out of the documents before, which the manifest says too.

    Raises:
        UserError: ``out`` is there already; no document on one side of the split.
    """
    began = time.monotonic()
    with create_output_folder(out, "prepared data") as folder:
        tokenizer.save(folder / TOKENIZER_FOLDER)
        part = Part(0, UNNAMED, ())
        entry = write_shards(folder, part, documents, CachingTokenizer(tokenizer), is_held_out, skipped)
        manifest = build_manifest(tokenizer, [entry], {}, skipped)
        refuse_empty_split(Path(out), manifest, skipped)
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1))
    print_prepared_data(out, manifest, time.monotonic() - began)
    return manifest
