"""Every other verb on a device of its own: what reads an encoder moves it there, and what is written comes back."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors import safe_open

import electra
from electra import cli
from electra.tasks.finetuning.problem import FineTuning
from electra.tokenization.loading import load_tokenizer
from electra.workflows.compare.compare import compare
from electra.workflows.compare.plan import CompareConfig
from electra.workflows.pretrain import pretrain
from finetuning import MODERN, exported, sentences, write_csv
from pretended import Seen, pretending
from runs import config

pytestmark = pytest.mark.pretended
TAGS = {"alpha": "B-A", "omega": "B-O"}
TUNED = ["--tuning.epochs", "0.5", "--tuning.rows", "8", "--tuning.length", "24", "--engine.log-every", "1"]


@pytest.fixture(scope="module")
def run(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, made there."""
    with pretending():
        return pretrain(config(prepared, tmp_path_factory.mktemp("run") / "run"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Labelled texts, tagged words, questions and minimal pairs."""
    folder = tmp_path_factory.mktemp("files")
    draws = {"train": sentences(24, 1), "dev": sentences(12, 2)}
    found = {}
    for name, texts in draws.items():
        rows = [{"text": text, "label": "yes" if there else "no"} for text, there in texts]
        found[name] = write_csv(folder / f"{name}.csv", rows)
        tagged = ["\n".join(f"{word} {TAGS.get(word, 'O')}" for word in text.split()) for text, _ in texts]
        found[f"{name}-tags"] = str(folder / f"{name}.conll")
        Path(found[f"{name}-tags"]).write_text("\n\n".join(tagged) + "\n")
        asked = [
            {"context": text, "qas": [{"id": f"{name}{at}", "question": "which", "answers": [
                {"text": text.split()[1], "answer_start": text.index(text.split()[1])}]}]}
            for at, (text, _) in enumerate(texts)
        ]  # fmt: skip
        found[f"{name}-answers"] = str(folder / f"{name}.json")
        Path(found[f"{name}-answers"]).write_text(json.dumps({"data": [{"paragraphs": asked}]}))
    (folder / "pairs").mkdir()
    pairs = [{"sentence_good": f"{text} good", "sentence_bad": f"{text} bad"} for text, _ in draws["dev"]]
    (folder / "pairs" / "one.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    scored = [{"text": text, "pair": text[::-1], "label": f"{len(text) / 99:.2f}"} for text, _ in draws["dev"]]
    found["scored"] = write_csv(folder / "scored.csv", scored)
    return found | {"pairs": str(folder / "pairs")}


@pytest.fixture(scope="module")
def models(run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small encoders with a tokenizer: ours, and two of transformers' own."""
    folder = tmp_path_factory.mktemp("models")
    tokens = run / "final" / "discriminator"
    sizes = {
        "vocab_size": 1000, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 64, "max_position_embeddings": 50,
    }  # fmt: skip
    found = {"classic": tokens, "modern": exported(folder / "modern", replace(MODERN, vocab_size=1000), tokens)}
    shapes = {"bert": transformers.BertConfig(**sizes), "roberta": transformers.RobertaConfig(**sizes)}
    for name, shape in shapes.items():
        torch.manual_seed(0)
        transformers.AutoModel.from_config(shape).save_pretrained(folder / name)
        load_tokenizer(tokens).save(folder / name)
        found[name] = folder / name
    return found


def call(*words: str | Path) -> None:
    """The command line, which must end well."""
    assert cli.main([*map(str, words)]) == 0


def test_what_is_written_can_be_read_anywhere(run: Path, gpu: Seen) -> None:
    for path in run.rglob("*.safetensors"):
        with safe_open(path, "pt") as file:
            assert all(torch.isfinite(file.get_tensor(name)).all() for name in file.keys())  # noqa: SIM118


@pytest.mark.parametrize("task", ["held-out", "replaced", "minimal-pairs", "probe", "similarity"])
def test_evaluate(run: Path, files: dict[str, str], tmp_path: Path, gpu: Seen, task: str) -> None:
    more = {
        "held-out": ["--rows", "8"],
        "replaced": ["--rows", "8", "--picture", str(tmp_path / "curve.png")],
        "minimal-pairs": ["--data", files["pairs"]],
        "probe": ["--on.train", files["train"], "--on.dev", files["dev"]],
        "similarity": [
            "--on.train", files["scored"], "--on.dev", files["scored"], "--on.kind", "score",
            "--on.columns.pair", "pair",
        ],
    }  # fmt: skip
    call("evaluate", run, "--task", task, *more[task])
    assert sum(gpu.uploads.values()), "it was read there"


def test_load(run: Path, gpu: Seen) -> None:
    vectors = electra.load(run).encode(["The import statement binds a name.", "A name."], batch=1)
    assert np.isfinite(vectors).all() and sum(gpu.uploads.values())


def test_minimal_pairs_by_the_generator(run: Path, files: dict[str, str], gpu: Seen) -> None:
    call("evaluate", run / "final" / "generator", "--task", "minimal-pairs", "--data", files["pairs"])
    assert sum(gpu.uploads.values())


def test_inspect_and_export(run: Path, tmp_path: Path, gpu: Seen, capsys: pytest.CaptureFixture) -> None:
    call("inspect", run, "The import statement binds a name.", "--json")
    assert '"replaced"' in capsys.readouterr().out and sum(gpu.uploads.values())
    call("export", run, "--out", tmp_path / "hub")
    assert (tmp_path / "hub" / "discriminator" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("words", "key"), [(["score"], "score"), (["score", "--by", "within-word"], "score"), (["detect"], "words")]
)
def test_score_and_detect(
    run: Path, tmp_path: Path, gpu: Seen, capsys: pytest.CaptureFixture, words: list[str], key: str
) -> None:
    (tmp_path / "lines.txt").write_text("The import statement binds a name.\n\n" + "class module name " * 20 + "\n")
    call(words[0], run, tmp_path / "lines.txt", *words[1:])
    first, empty, long = map(json.loads, capsys.readouterr().out.splitlines())
    assert first[key] and long[key] and not empty[key] and sum(gpu.uploads.values())


KINDS = {"class": "", "tags": "-tags", "answers": "-answers"}
EACH = [(model, kind, "paper") for model in ("classic", "modern", "bert", "roberta") for kind in KINDS]
EACH += [(model, "class", "transformers") for model in ("classic", "bert", "roberta")]


@pytest.mark.parametrize(("model", "kind", "head"), EACH, ids=["-".join(each) for each in EACH])
def test_finetune(
    models: dict[str, Path], files: dict[str, str], tmp_path: Path, gpu: Seen, model: str, kind: str, head: str
) -> None:
    train, dev = (files[f"{split}{KINDS[kind]}"] for split in ("train", "dev"))
    call(
        "finetune", models[model], "--train", train, "--dev", dev, "--kind", kind, "--out", tmp_path,
        "--tuning.head", head, *TUNED,
    )  # fmt: skip
    assert len(gpu.steps) == 2
    waits = gpu.steps[1][0]
    of_theirs = model in ("bert", "roberta")
    assert sum(waits.values()) == 1 or of_theirs, waits


def test_measures(gpu: Seen, capsys: pytest.CaptureFixture) -> None:
    """Their steps and parts are made there; transformers' step runs in a process of its own, on its own device."""
    small = ["--compile", "never", "--precision", "float32", "--json"]
    call("bench", "--preset", "tiny", "--rows", "2", "--length", "16", "--steps", "2", *small)
    call("plan", "--preset", "tiny", "--tokens", "1e4", "--micro-rows", "2", "--steps", "1", *small)
    assert len(gpu.steps) > 4


SETTINGS = """
encoder: {hidden_size: 32, layers: 2, heads: 2, intermediate_size: 64, embedding_size: 16, max_positions: 64}
phases: [{length: 32, rows: 8}]
engine: {compile: never, precision: float32, save_every: 0}
held_out_rows: 8
"""


def test_compare(prepared: Path, files: dict[str, str], tmp_path: Path, gpu: Seen) -> None:
    """Pre-training, probes, fine-tuning and minimal pairs, of random weights too."""
    (tmp_path / "settings.yaml").write_text(SETTINGS)
    tuning = FineTuning(epochs=0.5, rows=8, length=16)
    compare(
        CompareConfig(
            preset="tiny", settings=str(tmp_path / "settings.yaml"), data=str(prepared), out=str(tmp_path / "out"),
            objectives=("electra",), budgets=(1e8,), seeds=1, tasks=(f"{files['train']}:{files['dev']}",),
            tuning=tuning, pairs=files["pairs"], pair_limit=4,
        )
    )  # fmt: skip
    scores = [json.loads(line)["scores"] for line in (tmp_path / "out" / "scores.jsonl").read_text().splitlines()]
    assert len(scores) == 2 and all(len(each) == 5 for each in scores)
