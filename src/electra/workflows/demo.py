"""``electra demo``: the whole chain on the built-in corpus, from docstrings to an encoder that others load."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from electra import config as configs
from electra import files, fingerprints, recipes
from electra import tokenization as word_pieces
from electra.corpus import builtin
from electra.corpus.documents import Skipped
from electra.corpus.prepare import prepare_documents
from electra.dataset.shards import Shards, Split
from electra.engine.optim import AdamW, Muon
from electra.engine.parallel import Parallel
from electra.engine.telemetry import read_metrics
from electra.errors import UserError, convert_errors
from electra.interchange import encoders, huggingface
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower
from electra.objectives.build import Mlm
from electra.report.tables import format_table
from electra.tasks.datasets.packages import PackageTask, build_package_task, score_bag_of_words
from electra.tasks.finetuning.problem import FineTuning
from electra.tasks.frozen.classify import classify_texts
from electra.workflows.evaluate import EvaluateConfig, evaluate
from electra.workflows.export import ExportConfig, export
from electra.workflows.inspect import InspectConfig, inspect, score_word_pieces
from electra.workflows.pretrain import PretrainConfig, pretrain

FEW_TEXTS, MANY_TEXTS, TEST_TEXTS = 30, 80, 40  # texts a class
OPTIMIZER = Muon(learning_rate=0.005, rest=AdamW(learning_rate=5e-3, beta2=0.98))
ALL_LAYERS = FineTuning(length=96, layers="all", pooling="mean", dropout=0.0, layer_decay=1.0, optimizer=OPTIMIZER)
TUNING = {
    FEW_TEXTS: replace(ALL_LAYERS, epochs=4),
    MANY_TEXTS: replace(ALL_LAYERS, epochs=2),
}  # by measurement: docs/log.md
SENTENCES = (
    "Returns the number of samples to draw from the array.",
    "Returns the number of the to draw samples the array.",
    "If the file does not exist, an error is raised.",
    "If the file does not weight, an error is an.",
)
LOAD_WITH_AUTO_CLASSES = """
import json, sys
from transformers import AutoModelForMaskedLM, AutoModelForTokenClassification, AutoTokenizer, logging
logging.set_verbosity_error()
folder, text = sys.argv[1:]
ours = {"trust_remote_code": False}
tokenizer = AutoTokenizer.from_pretrained(folder + "/discriminator", **ours)
rows = tokenizer(text, return_tensors="pt")
found = AutoModelForTokenClassification.from_pretrained(folder + "/discriminator", **ours)(**rows).logits[0, 1:-1]
AutoModelForMaskedLM.from_pretrained(folder + "/generator", **ours)(**rows)
print(json.dumps((found[:, 1] - found[:, 0]).sigmoid().tolist()))
"""

AUC = "discriminator/auc"
CLOSING_WORDS = (
    "The encoder learned by masked language modelling for four fifths of the steps, then to detect. The AUC was\n"
    "{first:.3f} when it was first measured and {end:.3f} at the end. The published Small reads 16 billion tokens,\n"
    "this run {tokens:,}; `electra demo --minutes 60 --out runs/hour` shows what an hour changes, in AUC and\n"
    "macro-F1, and `--compare mlm` how masked language modelling alone does with equal operations."
)


@dataclass(frozen=True)
class DemoConfig:
    """Docstrings of the installed packages → vocabulary → data → pre-training → evaluation → checkpoint, in minutes.

    The same command again goes on where it stopped.
    """

    out: str = "runs/demo"
    """Folder for all of it."""
    minutes: float = 8.5
    """Minutes of pre-training; the rest takes about five more."""
    compare: Literal["nothing", "mlm"] = "nothing"
    """mlm: also pre-train the same encoder by masked language modelling with equal floating-point operations."""
    vocab_size: int = 8192
    """Word pieces."""
    seeds: int = 3
    """Fine-tunings of each kind, with other training texts and another order."""


def demo(config: DemoConfig) -> Path:
    """The folder with everything. Raises ``UserError`` as the verbs do that it calls."""
    began, out = time.monotonic(), Path(config.out)
    claim_demo_folder(out)
    print_heading("the corpus: docstrings of the installed packages")
    task = prepare_corpus(config, out)
    print_heading(f"pre-training for {config.minutes:g} minutes")
    run = pretrain(demo_pretraining(out, out / "electra", hours=config.minutes / 60))
    if not (run / "final").is_dir():
        return out  # stopped by a signal; the same command goes on
    runs = {"ELECTRA": run / "final" / "discriminator"}
    if config.compare == "mlm":
        print_heading("the same encoder by masked language modelling, with equal operations")
        runs["MLM"] = pretrain_mlm(out, run) / "final" / "generator"
        if not runs["MLM"].is_dir():
            return out
    print_heading("held-out text")
    figures = evaluate(EvaluateConfig(models=(str(run),)))[str(run)]
    print_heading(f"fine-tuning: which of {len(task.names)} packages is a docstring from?")
    scores = score_encoders(task, runs, config.seeds)
    print(format_demo_scores(scores))
    print_heading("folders for Hugging Face, loaded in another process")
    export_towers(run, out / "hub")
    print_heading("which tokens look replaced")
    inspect(InspectConfig(run=str(run), texts=SENTENCES))
    print_heading(f"done in {(time.monotonic() - began) / 60:.1f} minutes")
    with files.write_whole(out / "summary.json") as file:
        file.write_text(json.dumps({"held_out": figures, "macro_f1": scores}, indent=1))
    print(format_summary(out, run, figures, scores))
    return out


def claim_demo_folder(out: Path) -> None:
    """Make the folder the demo's. Raises ``UserError`` if it holds anything else."""
    with convert_errors(str(out), OSError):
        files.claim_folder(out, "demo")


def print_heading(text: str) -> None:
    """What comes next."""
    print(f"\n== {text}", flush=True)


def prepare_corpus(config: DemoConfig, out: Path) -> PackageTask:
    """Collect the corpus, prepare it as ``out/data`` and give the labelled task in it; what is there is taken, whatever
    packages are installed now.

    Raises:
        UserError: what is there was made with another vocabulary, or is not as it was written.
    """
    labelled, note = out / "packages.json", out / "corpus.json"
    if (out / "data").is_dir():
        refuse_changed_corpus(note, config, out, labelled)
        print(f"{out / 'data'}: taken as it is")
        return PackageTask(**json.loads(labelled.read_text()))
    skipped = Skipped()
    documents = list(builtin.collect_docstrings(skipped))
    task = build_package_task(documents, most_test=TEST_TEXTS)
    train = (document.text for document in documents if not builtin.is_in_held_out_file(document))
    with files.write_whole(labelled) as file:
        file.write_text(json.dumps(asdict(task)))
    found = word_pieces.train_tokenizer(train, config.vocab_size)
    prepare_documents(documents, found, str(out / "data"), builtin.is_in_held_out_file, skipped)
    with files.write_whole(note) as file:
        file.write_text(json.dumps(fingerprint_corpus(config, out, labelled)))
    return task


def fingerprint_corpus(config: DemoConfig, out: Path, labelled: Path) -> dict[str, Any]:
    """What decides the corpus, and hashes of what it is."""
    data = [Shards.open(out / "data", split).fingerprint for split in get_args(Split)]
    return {"vocab_size": config.vocab_size, "data": data, "task": fingerprints.hash_files([labelled])}


def refuse_changed_corpus(note: Path, config: DemoConfig, out: Path, labelled: Path) -> None:
    """Raise ``UserError`` unless the corpus in ``out`` is the one that ``note`` tells of, with this vocabulary."""
    if not (note.is_file() and labelled.is_file()):
        raise UserError(
            f"{out}: begun by an earlier version, or stopped while its corpus was made; choose another --out"
        )
    with convert_errors(f"{note}: damaged; choose another --out", ValueError):
        begun = json.loads(note.read_text(encoding="utf-8"))
    now = fingerprint_corpus(config, out, labelled)
    if begun["vocab_size"] != config.vocab_size:
        was = f"its vocabulary was made with --vocab-size {begun['vocab_size']}, not {config.vocab_size}"
        raise UserError(f"{out}: {was}; choose another --out")
    if differing := [name for name in now if begun[name] != now[name]]:
        raise UserError(f"{out}: its {' and '.join(differing)} changed since they were made; choose another --out")


def demo_pretraining(out: Path, run: Path, **changes: Any) -> PretrainConfig:
    """Preset modern-tiny on the demo's data."""
    preset = configs.load_config(PretrainConfig(), recipes.find_preset("modern-tiny"))
    engine = replace(preset.engine, evaluate_every=100, save_every=200)
    return replace(preset, data=str(out / "data"), out=str(run), engine=engine, **changes)


def pretrain_mlm(out: Path, run: Path) -> Path:
    """The same encoder pre-trained by MLM, with the operations that the ELECTRA run took."""
    spent = read_metrics(run / "metrics.jsonl")[-1]["flops"]
    asked = demo_pretraining(out, out / "mlm", objective=Mlm(mask_rate=0.3, replace_rate=1.0))
    return pretrain(replace(asked, flops=spent))


def score_encoders(task: PackageTask, runs: Mapping[str, Path], seeds: int) -> dict[str, dict[str, list[float]]]:
    """Macro-F1 by encoder, by labelled texts a class, and by seed; random weights and a bag of words beside."""
    from sklearn.metrics import f1_score

    towers = {name: huggingface.load_tower(folder) for name, folder in runs.items()}
    tokenizer = word_pieces.load_tokenizer(next(iter(runs.values())))
    shape = next(iter(towers.values())).config
    scores: dict[str, dict[str, list[float]]] = {}
    for per_class, tuning in TUNING.items():
        for seed in range(seeds):
            texts, labels = task.subset(per_class, seed)
            torch.manual_seed(seed)
            fresh = Tower.detection(shape, build_embeddings(shape))
            for name, tower in {**towers, "random weights": fresh}.items():
                found = classify_texts(tower, tokenizer, texts, labels, task.test_texts, tuning, seed)
                score = float(f1_score(task.test_labels, found, average="macro"))
                scores.setdefault(name, {}).setdefault(str(per_class), []).append(score)
                print(f"{name}, {per_class} a class, seed {seed}: macro-F1 {score:.3f}", flush=True)
            score = score_bag_of_words(texts, labels, task.test_texts, task.test_labels)
            scores.setdefault("bag of words", {}).setdefault(str(per_class), []).append(score)
    return scores


def format_demo_scores(scores: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Mean ± standard deviation over the seeds."""
    header = ["macro-F1", *(f"{per_class} a class" for per_class in TUNING)]
    return format_table(
        header, [[name, *(format_mean_deviation(each) for each in row.values())] for name, row in scores.items()]
    )


def format_mean_deviation(values: Sequence[float]) -> str:
    """Mean ± standard deviation."""
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values) if len(values) > 1 else 0:.3f}"


def export_towers(run: Path, hub: Path) -> None:
    """Write the folders, and let transformers load them in a fresh process: it must say what we say."""
    names = ("discriminator", "generator")
    if not all((hub / name).is_dir() and is_same_model(run / "final" / name, hub / name) for name in names):
        files.remove_folder(hub, "export")
        export(ExportConfig(run=str(run), out=str(hub)))
    command = [sys.executable, "-c", LOAD_WITH_AUTO_CLASSES, str(hub), SENTENCES[1]]
    theirs = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    folder = hub / "discriminator"
    ours = score_word_pieces(
        huggingface.load_tower(folder), word_pieces.load_tokenizer(folder), SENTENCES[1], Parallel.local_device()
    )
    distance = max(abs(seen.replaced - other) for seen, other in zip(ours, theirs, strict=True))
    assert distance < 1e-4, f"transformers reads {hub} otherwise: probabilities differ by {distance:.1e}"
    print(f"AutoTokenizer and AutoModel load {hub}; probabilities differ from ours by at most {distance:.1e}")


def is_same_model(one: Path, other: Path) -> bool:
    """Whether two folders hold the same model."""
    return encoders.fingerprint_encoder(one) == encoders.fingerprint_encoder(other)


def format_summary(
    out: Path, run: Path, figures: Mapping[str, float], scores: Mapping[str, Mapping[str, list[float]]]
) -> str:
    """What was measured, where everything lies, and what a longer run changes."""
    detecting = [line for line in read_metrics(run / "metrics.jsonl") if line["split"] == "held-out" and AUC in line]
    first, last = detecting[0], detecting[-1]
    measured = [
        ("tokens read in pre-training", last["tokens"]),
        ("AUC on replaced tokens, held-out text", figures[AUC]),
        ("  by token identity alone", figures["discriminator/identity_auc"]),
        ("skill, 1 - BCE / H(replaced rate)", figures["discriminator/skill"]),
        ("generator: masked tokens right", figures["generator/accuracy"]),
    ]
    lies = [
        (out / "data", "the data, with its tokenizer"),
        (run / "curves.png", "curves; metrics.jsonl, config.json and environment.json beside it"),
        (out / "hub" / "discriminator", "the encoder, for AutoModelForTokenClassification and AutoModel"),
        (out / "hub" / "generator", "the generator, for AutoModelForMaskedLM"),
        (out / "summary.json", "these figures"),
    ]
    return "\n\n".join(
        [
            format_table(["pre-training", "value"], measured),
            format_demo_scores(scores),
            "\n".join(f"{path!s:<32} {what}" for path, what in lies),
            CLOSING_WORDS.format(first=first[AUC], end=last[AUC], tokens=last["tokens"]),
        ]
    )
