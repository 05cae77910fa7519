"""Files that the program reads, each with what is read from it: those of others, and those that we wrote."""

import gzip
import json
import lzma
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from checkpoints import draw_values, embedding_shapes, write_checkpoint
from electra.config import load_config, plain_tree
from electra.corpus.documents import Skipped, TextFormat
from electra.corpus.readers import read_documents
from electra.corpus.sources import find_sources
from electra.dataset.data import Data
from electra.dataset.layout import Packed
from electra.dataset.rows import Rows
from electra.engine import checkpoint
from electra.engine.telemetry import read_metrics
from electra.interchange import encoders
from electra.interchange.tensorflow.bundle import find_checkpoint, open_checkpoint
from electra.tasks.catalogue import TaskChoice, load_problems
from electra.tasks.datasets import glue
from electra.tasks.frozen import minimal_pairs
from electra.tokenization.loading import load_tokenizer
from electra.workflows.pretrain import pretrain
from electra.workflows.pretraining.config import PretrainConfig
from electra.workflows.pretraining.resuming import request_run
from runs import config

TEXTS = [
    f"the {word} of {n} is here, and so on" for n, word in enumerate(["cat", "dog", "äther", "漢字", "x" * 40] * 4)
]


@dataclass(frozen=True)
class Subject:
    """A file, damaged in a copy of its folder, and ``read``: folder → what the program makes of it, comparable.

    ``verified``: we wrote it with a checksum, so damage is refused or changes nothing.
    """

    name: str
    folder: Path
    file: str
    read: Callable[[Path], Any]
    verified: bool = False


def build_subjects(place: Path, data: Path) -> list[Subject]:
    """All subjects, made in an empty folder. ``data``: prepared data."""
    run = pretrain(run_config(data, place / "run"))
    return [
        *own_subjects(run, data),
        *model_subjects(run / "final" / "discriminator"),
        *foreign_subjects(place / "own"),
        *tensorflow_subjects(place / "tensorflow"),
    ]


def own_subjects(run: Path, data: Path) -> Iterator[Subject]:
    """Prepared data, checkpoints, and the files of a run."""
    shard = next(path.name for path in sorted(data.glob("train-*")))
    held_out = next(path.name for path in sorted(data.glob("held-out-*")))
    for file in (shard, held_out, "manifest.json", "tokenizer/tokenizer.json"):
        yield Subject(f"data: {file}", data, file, read_data, verified=True)
    (folder,) = checkpoint.list_checkpoints(run / "checkpoints")
    for name in ("model.safetensors", "optimizer.safetensors", "state.json"):
        yield Subject(f"checkpoint: {name}", folder, name, read_checkpoint, verified=True)
    yield Subject("run: metrics.jsonl", run, "metrics.jsonl", lambda at: read_metrics(at / "metrics.jsonl"))
    for name in ("config.json", "environment.json"):
        yield Subject(f"run: {name}", run, name, lambda at: resume_request(at, data))


def read_data(folder: Path) -> object:
    """All rows of both splits, and the tokenizer."""
    data = Data.open(folder)
    data.verify_at_start()
    ids = sha256()
    for split in ("train", "held-out"):
        rows = Rows(data.split(split), Packed(), 64, 1)
        for row in list(rows.iterate_epoch(0))[:40]:
            ids.update(rows.batch([row]).ids.numpy().tobytes())
    return ids.hexdigest(), data.vocab_size, data.train.mask_id, data.tokenizer.fingerprint


def read_checkpoint(folder: Path) -> object:
    """Everything in a checkpoint."""
    model, optimizer, state = checkpoint.load_checkpoint(folder)
    tensors = {
        f"{group} {name}": value for group, part in (("m", model), ("o", optimizer)) for name, value in part.items()
    }
    return {name: value.numpy().tobytes() for name, value in tensors.items()}, state


def resume_request(run: Path, data: Path) -> object:
    """Whether a run may be gone on from."""
    request_run(run_config(data, run), Data.open(data)).refuse_another(run)
    return "accepted"


def run_config(data: Path, run: Path) -> PretrainConfig:
    """A run of a few steps with one checkpoint."""
    asked = config(data, run)
    return replace(asked, engine=replace(asked.engine, save_every=2, keep=1))


def model_subjects(folder: Path) -> Iterator[Subject]:
    """A model's folder as others may have written it: what it says of a text."""
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt", "model.safetensors"):
        yield Subject(f"model: {file}", folder, file, read_model)


def read_model(folder: Path) -> object:
    """The last states of a text."""
    reader, tokenizer = encoders.load_encoder(folder)
    (ids,) = tokenizer.encode(["in the beginning"])
    rows = torch.tensor([ids])
    with torch.inference_mode():
        states = reader.hidden_states(
            encoders.Inputs(rows, torch.arange(rows.shape[1])[None], 0 * rows, 0 * rows + 1), None
        )
    return states[-1].numpy().tobytes()


def tensorflow_subjects(folder: Path) -> Iterator[Subject]:
    """A checkpoint of TensorFlow's, all of which has checksums."""
    write_checkpoint(folder / "model.ckpt-8", draw_values(embedding_shapes("electra", 20, 6)), parts=2)
    for path in sorted(folder.iterdir()):
        yield Subject(f"tensorflow: {path.name}", folder, path.name, read_variables, verified=True)


def read_variables(folder: Path) -> object:
    """The values of all variables."""
    checkpoint = open_checkpoint(find_checkpoint(folder))
    return {name: checkpoint.read(name).tobytes() for name in checkpoint.variables}


def foreign_subjects(folder: Path) -> Iterator[Subject]:
    """Text, labelled text and settings, in every form that is read."""
    folder.mkdir()
    texts = "\n\n".join(TEXTS).encode()
    lines = [{"text": text, "label": "ab"[n % 2], "pair": "p"} for n, text in enumerate(TEXTS)]
    jsonl = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
    table = "text,label\n" + "".join(f'"{text}",{"ab"[n % 2]}\n' for n, text in enumerate(TEXTS))
    tags = "\n".join(
        f"{word} X {'B-A' if word == 'the' else 'O'}" if word else "" for text in TEXTS for word in [*text.split(), ""]
    )
    answers = {"version": "v", "data": [{"title": "t", "paragraphs": [
        {"context": text, "qas": [{"id": str(n), "question": "who?", "answers": [{"text": "the", "answer_start": 0}]}]}
        for n, text in enumerate(TEXTS)]}]}  # fmt: skip
    pairs = [json.dumps({"sentence_good": text, "sentence_bad": text[::-1], "UID": "u"}) for text in TEXTS]
    contents = {
        "a.txt": texts,
        "a.txt.gz": gzip.compress(texts),
        "a.txt.xz": lzma.compress(texts),
        "a.jsonl": jsonl,
        "a.jsonl.gz": gzip.compress(jsonl),
        "a.csv": table.encode(),
        "a.tsv": table.replace("text,label", "text\tlabel").replace('",', '"\t').encode(),
        "tags.txt": tags.encode(),
        "answers.json": json.dumps(answers).encode(),
        "pairs.jsonl": "\n".join(pairs).encode(),
        "cola.tsv": "".join(f"s\t{n % 2}\t\t{text}\n" for n, text in enumerate(TEXTS)).encode(),
        "settings.yaml": b"encoder:\n  kind: modern\n  layers: 2\nobjective: {kind: mlm, mask_rate: 0.2}\nseed: 3\n",
        "settings.toml": b'seed = 3\n[encoder]\nkind = "modern"\nlayers = 2\n',
        "settings.json": json.dumps(plain_tree(PretrainConfig())).encode(),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    pq.write_table(pa.Table.from_pylist(lines), folder / "a.parquet", write_page_checksum=True)
    for name in ("a.txt", "a.txt.gz", "a.txt.xz", "a.jsonl", "a.jsonl.gz", "a.csv", "a.tsv", "a.parquet"):
        yield Subject(f"prepare: {name}", folder, name, lambda at, name=name: read_text(at / name))
    for name in ("a.jsonl", "a.csv", "a.tsv", "a.parquet"):
        yield Subject(f"finetune: {name}", folder, name, lambda at, name=name: read_task(at / name, "auto"))
    for kind, name in (("labels", "a.jsonl"), ("tags", "tags.txt"), ("answers", "answers.json")):
        yield Subject(f"finetune: {kind}", folder, name, lambda at, kind=kind, name=name: read_task(at / name, kind))
    yield Subject("glue", folder, "cola.tsv", read_cola)
    yield Subject("pairs", folder, "pairs.jsonl", read_pairs)
    for name in ("settings.yaml", "settings.toml", "settings.json"):
        yield Subject(f"config: {name}", folder, name, lambda at, name=name: load_config(PretrainConfig(), at / name))
    yield Subject(
        "vocab.txt", make_vocabulary(folder / "words"), "vocab.txt", lambda at: load_tokenizer(at).encode(TEXTS)
    )


def read_pairs(folder: Path) -> object:
    """The minimal pairs, without the place where they stand."""
    pairs, notes = minimal_pairs.read_pairs(folder / "pairs.jsonl")
    return [(pair.good, pair.bad, pair.paradigm, pair.phenomenon) for pair in pairs], notes


def read_cola(folder: Path) -> object:
    """The samples of a file of GLUE."""
    return list(glue.read_glue_samples(glue.GLUE_TASKS["cola"], folder / "cola.tsv", True, Skipped()))


def make_vocabulary(folder: Path) -> Path:
    """A folder with a bare vocab.txt."""
    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({word for text in TEXTS for word in text.split()})]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    return folder


def read_text(path: Path) -> object:
    """The documents that ``prepare`` reads, and what it skips."""
    skipped = Skipped()
    documents = [
        document.text
        for source in find_sources([str(path)], skipped)
        for span in source.spans
        for document in read_documents(span, TextFormat(), skipped)
    ]
    return documents, dict(skipped)


def read_task(path: Path, kind: Any) -> object:
    """The problem that ``finetune`` makes of a file."""
    (problem, *_), notes = load_problems(TaskChoice(train=str(path), dev=str(path), kind=kind))
    return problem.contents(), notes
