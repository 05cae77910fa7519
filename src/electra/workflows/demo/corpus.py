"""The corpus of ``electra demo``: collected and prepared once, and taken again only if nothing of it changed."""

from pathlib import Path

from electra import fingerprints
from electra.corpus import builtin
from electra.corpus.documents import Skipped
from electra.corpus.in_memory import prepare_documents
from electra.dataset.data import Data
from electra.errors import UserError
from electra.run_folder import read_json, write_json
from electra.tasks.datasets.packages import PackageTask, build_package_task
from electra.tokenization.training import train_tokenizer
from electra.workflows.package_task import TASK_FILE, read_package_task, write_package_task

RECORD = "corpus.json"


def prepare_corpus(out: Path, vocab_size: int) -> PackageTask:
    """Collect the corpus, prepare it as ``out/data``, and return the labelled task in it.

    A corpus that is there is taken as it is, whatever packages are installed now.

    Raises:
        UserError: the corpus that is there has another vocabulary, or was changed.
    """
    if (out / "data").is_dir():
        refuse_changed_corpus(out, vocab_size)
        print(f"{out / 'data'}: taken as it is")
        return read_package_task(out / TASK_FILE)
    skipped = Skipped()
    documents = list(builtin.collect_docstrings(skipped))
    task = build_package_task(documents)
    texts = (document.text for document in documents if not builtin.is_in_held_out_file(document))
    write_package_task(out / TASK_FILE, task)
    tokenizer = train_tokenizer(texts, vocab_size)
    prepare_documents(documents, tokenizer, str(out / "data"), builtin.is_in_held_out_file, skipped)
    write_json(out / RECORD, record_corpus(out, vocab_size))
    return task


def record_corpus(out: Path, vocab_size: int) -> dict[str, object]:
    """What decides the corpus in ``out``, and hashes of what it is now: of the data's splits and of the task."""
    data = Data.open(out / "data")
    splits = [data.train.fingerprint, data.held_out.fingerprint]
    return {"vocab_size": vocab_size, "data": splits, "task": fingerprints.hash_files([out / TASK_FILE])}


def refuse_changed_corpus(out: Path, vocab_size: int) -> None:
    """Compare the corpus in ``out`` with the record that was written with it.

    Raises:
        UserError: there is no record, another vocabulary was asked for, or data or task changed.
    """
    record = out / RECORD
    if not (record.is_file() and (out / TASK_FILE).is_file()):
        raise UserError(
            f"{out}: begun by an earlier version, or stopped while its corpus was made; choose another --out"
        )
    before: dict[str, object] = read_json(record, "choose another --out")
    now = record_corpus(out, vocab_size)
    if before.get("vocab_size") != vocab_size:
        raise UserError(
            f"{out}: its vocabulary was made with --vocab-size {before.get('vocab_size')}, not {vocab_size}; "
            "choose another --out"
        )
    if changed := [name for name in now if before.get(name) != now[name]]:
        raise UserError(f"{out}: its {' and '.join(changed)} changed since they were made; choose another --out")
