"""``electra finetune`` on small tasks with small encoders: from files to figures, predictions and models."""

import csv
import json
import random
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from electra import cli
from electra.engine.optim import AdamW
from electra.engine.telemetry import read_metrics
from electra.engine.train import Engine
from electra.errors import UserError
from electra.interchange import encoders, huggingface
from electra.model.config import ClassicConfig, EncoderConfig, ModernConfig
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower
from electra.tasks.labelled import Columns
from electra.tasks.problem import FineTuned, FineTuning, parameters_of
from electra.text import tokenizer as word_pieces
from electra.workflows.finetune import FinetuneConfig, finetune
from processes import run_two

CLASSIC = ClassicConfig(
    vocab_size=120, hidden_size=32, layers=2, heads=2, intermediate_size=64, embedding_size=16, max_positions=48
)
MODERN = ModernConfig(vocab_size=120, hidden_size=32, layers=2, heads=2, intermediate_size=48, max_positions=48)
TUNING = FineTuning(
    epochs=8, rows=8, length=32, dropout=0.0, layer_decay=1.0, optimizer=AdamW(learning_rate=5e-3, weight_decay=0.0)
)
WORDS = [f"w{n}" for n in range(20)]


def sentences(count: int, seed: int) -> list[tuple[str, bool]]:
    """Texts, and whether "alpha" is in them."""
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        words = draw.choices(WORDS, k=draw.randrange(4, 10))
        there = draw.random() < 0.5
        words[draw.randrange(len(words))] = "alpha" if there else "omega"
        found.append((" ".join(words), there))
    return found


def write_csv(path: Path, rows: list[dict]) -> str:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    word_pieces.train([text for text, _ in sentences(300, 0)], 120).save(folder)
    return folder


def exported(folder: Path, config: EncoderConfig, tokens: Path) -> Path:
    torch.manual_seed(0)
    huggingface.save(folder, Tower.detection(config, build_embeddings(config)), tokens, None)
    return folder


@pytest.fixture(scope="module")
def classic(tmp_path_factory: pytest.TempPathFactory, tokens: Path) -> Path:
    return exported(tmp_path_factory.mktemp("classic") / "discriminator", CLASSIC, tokens)


@pytest.fixture(scope="module")
def modern(tmp_path_factory: pytest.TempPathFactory, tokens: Path) -> Path:
    return exported(tmp_path_factory.mktemp("modern") / "discriminator", MODERN, tokens)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory, tokens: Path) -> Path:
    """One of transformers' own."""
    folder = tmp_path_factory.mktemp("bert")
    config = transformers.BertConfig(
        vocab_size=120, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=48,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(folder)
    word_pieces.load(tokens).save(folder)
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A task of one's own: train, dev, and a test without labels."""
    folder = tmp_path_factory.mktemp("own")
    split = {"train": sentences(240, 1), "dev": sentences(60, 2), "test": sentences(20, 3)}
    return {
        name: write_csv(
            folder / f"{name}.csv",
            [{"body": text, "topic": "yes" if there else "no"} for text, there in rows]
            if name != "test"
            else [{"body": text} for text, _ in rows],
        )
        for name, rows in split.items()
    }


def config(model: Path, out: Path, files: dict[str, str], **changes: object) -> FinetuneConfig:
    base = FinetuneConfig(
        model=str(model), out=str(out), tuning=TUNING, columns=Columns(text="body", label="topic"), **files
    )
    return replace(base, **changes)


def result(out: Path, seed: int = 1) -> dict:
    return json.loads((out / "train" / f"seed-{seed}" / "result.json").read_text())


def test_a_task_of_ones_own_is_learned(
    classic: Path, tmp_path: Path, files: dict, capsys: pytest.CaptureFixture
) -> None:
    found = finetune(config(classic, tmp_path, files, seeds=2))
    figures = found["train"]["figures"]["dev/accuracy"]
    assert figures["median"] > 0.9 and len(figures["values"]) == 2 and figures["best"] >= figures["mean"]
    folder = tmp_path / "train" / "seed-1"
    predictions = json.loads((folder / "predictions.json").read_text())
    gold = {"dev": sentences(60, 2), "test": sentences(20, 3)}
    for split, rows in gold.items():
        right = np.mean(
            [name == ("yes" if there else "no") for name, (_, there) in zip(predictions[split], rows, strict=True)]
        )
        assert right > 0.85, split
    assert not (folder / "checkpoints").exists() and (folder / "curves.png").read_bytes()[:4] == b"\x89PNG"
    said = capsys.readouterr().out
    assert "train, 2 seeds" in said and "dev/accuracy" in said and "±" in said
    assert json.loads((tmp_path / "train" / "summary.json").read_text())["figures"] == found["train"]["figures"]


@pytest.mark.parametrize("kind", ["classic", "modern", "bert"])
def test_the_pipeline_gives_our_predictions(
    kind: str, tmp_path: Path, files: dict, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(kind)
    finetune(config(model, tmp_path, files, tuning=replace(TUNING, head="transformers")))
    folder = tmp_path / "train" / "seed-1"
    ours = json.loads((folder / "predictions.json").read_text())["dev"]
    pipe = transformers.pipeline("text-classification", str(folder / "model"), device="cpu")
    theirs = [each["label"] for each in pipe([text for text, _ in sentences(60, 2)])]
    assert ours == theirs and set(ours) == {"yes", "no"}
    assert result(tmp_path)["dev"]["accuracy"] > 0.85


@pytest.mark.parametrize("kind", ["classic", "modern", "bert"])
def test_the_papers_head_lies_beside_an_encoder_that_transformers_loads(
    kind: str, tmp_path: Path, files: dict, request: pytest.FixtureRequest
) -> None:
    from safetensors.torch import load_file

    finetune(config(request.getfixturevalue(kind), tmp_path, files, tuning=replace(TUNING, epochs=2)))
    folder = tmp_path / "train" / "seed-1"
    ours = json.loads((folder / "predictions.json").read_text())["dev"]
    # as docs/finetuning.md shows it
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "model")
    encoder = transformers.AutoModel.from_pretrained(folder / "model").eval()
    head = load_file(folder / "model" / "head.safetensors")
    names = json.loads((folder / "model" / "head.json").read_text())["id2label"]
    batch = tokenizer([text for text, _ in sentences(60, 2)], padding=True, return_tensors="pt")
    with torch.no_grad():
        first = encoder(**batch).last_hidden_state[:, 0]
    logits = first @ head["linear.weight"].T + head["linear.bias"]
    assert [names[str(n)] for n in logits.argmax(1).tolist()] == ours


def test_scores_and_several_labels(modern: Path, tmp_path: Path) -> None:
    rows = [(text, there, "w1" in text.split()) for text, there in sentences(300, 4)]
    scored = write_csv(tmp_path / "scored.csv", [{"text": t, "label": 2.5 + 2.0 * a} for t, a, _ in rows])
    both = write_csv(
        tmp_path / "both.csv",
        [{"text": t, "label": ";".join(["alpha"] * a + ["one"] * b)} for t, a, b in rows],
    )
    found = finetune(
        FinetuneConfig(model=str(modern), out=str(tmp_path / "s"), train=scored, dev=scored, tuning=TUNING)
    )
    assert found["scored"]["figures"]["dev/spearman"]["median"] > 0.8
    predictions = json.loads((tmp_path / "s" / "scored" / "seed-1" / "predictions.json").read_text())["dev"]
    assert 2 < min(predictions) < 3.2 and 3.8 < max(predictions) < 5, "in the labels' own units"
    found = finetune(
        FinetuneConfig(
            model=str(modern), out=str(tmp_path / "b"), train=both, dev=both, kind="labels",
            columns=Columns(separator=";"), tuning=TUNING,
        )
    )  # fmt: skip
    assert found["both"]["figures"]["dev/micro-f1"]["median"] > 0.8


@pytest.mark.parametrize("kind", ["classic", "modern", "bert"])
def test_tags_are_learned_and_the_pipeline_gives_ours(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    files = {}
    for split, count, seed in (("train", 240, 1), ("dev", 40, 2)):
        rows = ["\n".join(f"{w} {'B-X' if w in ('alpha', 'omega') else 'O'}" for w in text.split())
                for text, _ in sentences(count, seed)]  # fmt: skip
        (tmp_path / f"{split}.txt").write_text("\n\n".join(rows) + "\n")
        files[split] = str(tmp_path / f"{split}.txt")
    model = request.getfixturevalue(kind)
    asked = FinetuneConfig(
        model=str(model), out=str(tmp_path / "out"), kind="tags", name="chunks",
        tuning=replace(TUNING, head="transformers", epochs=4), **files,
    )  # fmt: skip
    found = finetune(asked)["chunks"]["figures"]
    assert found["dev/f1"]["median"] > 0.95 and found["dev/accuracy"]["median"] > 0.95
    folder = tmp_path / "out" / "chunks" / "seed-1"
    ours = json.loads((folder / "predictions.json").read_text())["dev"]
    pipe = transformers.pipeline("token-classification", str(folder / "model"), device="cpu", ignore_labels=[])
    texts = [text for text, _ in sentences(40, 2)]
    for text, tags, theirs in zip(texts, ours, pipe(texts), strict=True):
        starts = np.cumsum([0, *(len(word) + 1 for word in text.split())])[:-1].tolist()
        first = {piece["start"]: piece["entity"] for piece in theirs}
        assert [first[start] for start in starts] == tags


@pytest.mark.parametrize("head", ["paper", "transformers"])
@pytest.mark.parametrize("kind", ["classic", "modern", "bert"])
def test_answers_are_found(kind: str, head: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    files = {}
    for split, count, seed in (("train", 300, 1), ("dev", 40, 2)):
        asked = []
        for number, (text, _) in enumerate(sentences(count, seed)):
            word = "alpha" if "alpha" in text else "omega"
            answer = {"text": word, "answer_start": text.index(word)}
            asked.append({"context": text, "qas": [{"id": f"{split}{number}", "question": "w3", "answers": [answer]}]})
        path = tmp_path / f"{split}.json"
        path.write_text(json.dumps({"version": "mine", "data": [{"title": "one", "paragraphs": asked}]}))
        files[split] = str(path)
    model = request.getfixturevalue(kind)
    tuning = replace(TUNING, head=head, epochs=4)
    out = tmp_path / "out"
    found = finetune(FinetuneConfig(model=str(model), out=str(out), tuning=tuning, **files))["squad"]["figures"]
    assert found["dev/exact"]["median"] > 0.9 and found["dev/f1"]["median"] >= found["dev/exact"]["median"]
    said = json.loads((out / "squad" / "answers-dev.json").read_text())
    right = [said[f"dev{n}"] in ("alpha", "omega") for n in range(40)]
    assert len(said) == 40 and np.mean(right) > 0.9
    if head == "transformers":
        folder = out / "squad" / "seed-1" / "model"
        net = transformers.AutoModelForQuestionAnswering.from_pretrained(folder).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        for number, (text, _) in enumerate(sentences(40, 2)):
            rows = tokenizer("w3", text, return_tensors="pt", return_offsets_mapping=True)
            offsets = rows.pop("offset_mapping")[0].tolist()
            with torch.no_grad():
                logits = net(**rows)
            start, end = logits.start_logits[0, 3:-1].argmax() + 3, logits.end_logits[0, 3:-1].argmax() + 3
            if start <= end:
                assert text[offsets[start][0] : offsets[end][1]] == said[f"dev{number}"]


def test_it_goes_on_where_it_stopped_and_finished_runs_are_kept(
    classic: Path, tmp_path: Path, files: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    from electra.engine import train as engine

    settings = Engine(compile="never", evaluate_every=0, save_every=20, keep=1, log_every=5)
    whole = finetune(config(classic, tmp_path / "whole", files, engine=settings, tuning=replace(TUNING, epochs=2)))
    step, calls = engine.Loop.step, []

    def stopped(loop: engine.Loop, stop: bool = False) -> None:
        calls.append(1)
        if len(calls) == 33:
            raise KeyboardInterrupt
        step(loop, stop)

    asked = config(classic, tmp_path / "parts", files, engine=settings, tuning=replace(TUNING, epochs=2))
    monkeypatch.setattr(engine.Loop, "step", stopped)
    with pytest.raises(KeyboardInterrupt):
        finetune(asked)
    with pytest.raises(UserError, match=r"seed-1: holds a run of other settings \(settings\)"):
        finetune(replace(asked, tuning=replace(TUNING, epochs=2, rows=4)))
    shorter = write_csv(tmp_path / "train.csv", [{"body": "w1 alpha", "topic": "yes"}, {"body": "w1", "topic": "no"}])
    with pytest.raises(UserError, match="seed-1: was begun on other data"):
        finetune(replace(asked, train=shorter))
    assert not (tmp_path / "parts" / "train" / "seed-1" / "result.json").exists()
    parts = finetune(asked)
    assert result(tmp_path / "parts") == result(tmp_path / "whole") and len(calls) == 33 + 40
    for folder in ("parts", "whole"):
        assert json.loads((tmp_path / folder / "train" / "seed-1" / "predictions.json").read_text()) == json.loads(
            (tmp_path / "whole" / "train" / "seed-1" / "predictions.json").read_text()
        )
    assert finetune(asked) == parts and len(calls) == 73, "finished runs are not run again"
    assert whole["train"]["figures"]["dev/accuracy"]["median"] == parts["train"]["figures"]["dev/accuracy"]["median"]
    with pytest.raises(UserError, match=r"seed-1: holds a run of other settings \(settings\); choose another --out"):
        finetune(replace(asked, tuning=replace(TUNING, epochs=3)))


def test_two_processes_give_the_loss_of_one(tokens: Path, tmp_path: Path, files: dict) -> None:
    dropping = exported(tmp_path / "model", replace(CLASSIC, dropout=0.1, attention_dropout=0.1), tokens)
    settings = Engine(compile="never", log_every=1, evaluate_every=15, save_every=0)
    tuning = replace(TUNING, epochs=1, dropout=0.1)
    one = config(dropping, tmp_path / "one", files, engine=settings, tuning=tuning, patience=5)
    finetune(one)
    code = f"""
from electra.workflows.finetune import *
from electra.engine.optim import *
from electra.tasks.labelled import Columns
finetune({replace(one, out=str(tmp_path / "two"))!r})
"""
    run_two(code)
    first, second = (
        [line["loss"] for line in read_metrics(tmp_path / out / "train" / "seed-1" / "metrics.jsonl") if "loss" in line]
        for out in ("one", "two")
    )
    assert len(first) == 30 and first == pytest.approx(second, rel=1e-3)
    assert result(tmp_path / "one") == result(tmp_path / "two")


def test_patience_stops_and_takes_the_best(classic: Path, tmp_path: Path, files: dict) -> None:
    tuning = replace(TUNING, epochs=30)
    finetune(config(classic, tmp_path, files, tuning=tuning, patience=2))
    lines = [json.loads(line) for line in (tmp_path / "train" / "seed-1" / "metrics.jsonl").read_text().splitlines()]
    history = [line["accuracy"] for line in lines if line["split"] == "held-out"]
    assert len(history) == history.index(max(history)) + 1 + 2 < 30
    assert result(tmp_path)["dev"]["accuracy"] == pytest.approx(max(history))


def test_a_sweep_names_the_best_rate(classic: Path, tmp_path: Path, files: dict, capsys: pytest.CaptureFixture) -> None:
    found = finetune(config(classic, tmp_path, files, sweep=(1e-7, 5e-3), tuning=replace(TUNING, epochs=4)))
    assert found["train"]["rate"] == "rate-0.005" and "rate-1e-07" in capsys.readouterr().out
    assert (tmp_path / "train" / "rate-1e-07" / "seed-1" / "result.json").exists()


def test_runs_that_learned_nothing_are_named(classic: Path, tmp_path: Path, files: dict) -> None:
    slow = replace(TUNING, epochs=1, optimizer=AdamW(learning_rate=0.0))
    found = finetune(config(classic, tmp_path, files, tuning=slow))
    (name,) = found["train"]["failed"] or [""]
    predictions = json.loads((tmp_path / "train" / "seed-1" / "predictions.json").read_text())["dev"]
    assert (len(set(predictions)) == 1) == name.endswith("train/seed-1")


def test_glue_as_the_server_takes_it(classic: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    glue = tmp_path / "glue"
    for folder in ("CoLA", "RTE"):
        (glue / folder).mkdir(parents=True)
    for split, count in (("train", 40), ("dev", 16)):
        rows = sentences(count, count)
        (glue / "CoLA" / f"{split}.tsv").write_text("".join(f"x\t{int(a)}\t\t{t}\n" for t, a in rows))
        (glue / "RTE" / f"{split}.tsv").write_text(
            "index\tsentence1\tsentence2\tlabel\n"
            + "".join(f"{i}\t{t}\t{t}\t{'entailment' if a else 'not_entailment'}\n" for i, (t, a) in enumerate(rows))
        )
    rows = sentences(9, 9)
    (glue / "CoLA" / "test.tsv").write_text(
        "index\tsentence\n" + "".join(f"{i}\t{t}\n" for i, (t, _) in enumerate(rows))
    )
    (glue / "RTE" / "test.tsv").write_text(
        "index\tsentence1\tsentence2\n" + "".join(f"{i}\t{t}\t{t}\n" for i, (t, _) in enumerate(rows))
    )
    found = finetune(
        FinetuneConfig(
            model=str(classic), out=str(tmp_path / "out"), task="glue", data=str(glue), tuning=replace(TUNING, epochs=1)
        )
    )
    assert set(found) == {"cola", "rte"}
    said = capsys.readouterr().out
    assert "40 rows, and 8,551 as published" in said and "CoLA matthews" in said and "not the paper's average" in said
    with zipfile.ZipFile(tmp_path / "out" / "submission.zip") as archive:
        assert archive.namelist() == ["CoLA.tsv", "RTE.tsv"]
        lines = archive.read("RTE.tsv").decode().splitlines()
    assert lines[0] == "index\tprediction" and len(lines) == 10
    assert {line.split("\t")[1] for line in lines[1:]} <= {"entailment", "not_entailment"}


def test_layer_rates_are_the_originals(shared: Path) -> None:
    golden = json.loads((shared / "oracle" / "golden_layer_lrs.json").read_text())
    shape = replace(CLASSIC, layers=golden["n_layers"])
    tower = Tower.detection(shape, build_embeddings(shape))
    net = FineTuned(encoders.Ours(tower), torch.nn.Linear(32, 2), 0)
    tuning = FineTuning(layer_decay=golden["layer_decay"])
    rates = {each.name: each.scale * golden["learning_rate"] for each in parameters_of(net, tuning)}
    prefixes = {
        "reader.embeddings.": "/embeddings/",
        "reader.encoder.project.": "/embeddings_project/",
        "head.": "task_specific/",
    }
    prefixes |= {f"reader.encoder.layers.{n}.": f"encoder/layer_{n}/" for n in range(golden["n_layers"])}
    for name, rate in rates.items():
        (theirs,) = [theirs for ours, theirs in prefixes.items() if name.startswith(ours)]
        assert rate == pytest.approx(golden["lrs"][theirs], rel=1e-6), name
    published = {each.name: each.scale for each in parameters_of(net, replace(tuning, decay="paper"))}
    assert published["reader.encoder.layers.11.qkv.weight"] == pytest.approx(0.8)


@pytest.mark.parametrize("kind", ["bert", "modernbert"])
def test_a_whole_models_head_has_the_full_rate(kind: str) -> None:
    config, name = {
        "bert": (transformers.BertConfig, "BertForSequenceClassification"),
        "modernbert": (transformers.ModernBertConfig, "ModernBertForSequenceClassification"),
    }[kind]
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
    small = config(vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
                   **special if kind == "modernbert" else {})  # fmt: skip
    net = FineTuned(encoders.Whole(getattr(transformers, name)(small)), torch.nn.Identity(), 0)
    scales = {each.name.removeprefix("reader.model."): each.scale for each in parameters_of(net, FineTuning())}
    assert scales["classifier.weight"] == 1 and all(scale == 1 for n, scale in scales.items() if n.startswith("head."))
    layers = [scale for n, scale in scales.items() if "layer" in n and ".1." in n]
    embeddings = [scale for n, scale in scales.items() if "embeddings" in n]
    assert layers == [pytest.approx(0.8**2)] * len(layers) and embeddings == [pytest.approx(0.8**4)] * len(embeddings)
    assert layers and embeddings


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": ""}, "which model, and where to"),
        ({"train": "", "dev": ""}, "which task"),
        ({"train": "no.csv"}, "no.csv: no such file"),
        ({"columns": Columns(text="text", label="topic")}, r"train.csv, line 2: no 'text': 'body', 'topic'"),
        ({"tuning": replace(TUNING, length=64)}, r"--tuning.length 64: .* reads 48 tokens at most"),
        ({"task": "colla", "train": "", "dev": "", "data": "x"}, r"--task colla; did you mean cola\?"),
        ({"task": "cola", "train": "", "dev": ""}, "--data is missing"),
    ],
)
def test_mistakes_are_named(classic: Path, tmp_path: Path, files: dict, changes: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        finetune(replace(config(classic, tmp_path / "out", files), **changes))
    assert not (tmp_path / "out").exists()


def test_a_model_without_a_tokenizer_is_named(classic: Path, tmp_path: Path, files: dict) -> None:
    shutil.copytree(classic, tmp_path / "bare")
    for name in ("tokenizer.json", "vocab.txt", "tokenizer_config.json"):
        (tmp_path / "bare" / name).unlink(missing_ok=True)
    with pytest.raises(UserError, match=r"bare: no tokenizer here"):
        finetune(config(tmp_path / "bare", tmp_path / "out", files))
    with pytest.raises(UserError, match=r"nowhere: no model here"):
        finetune(config(tmp_path / "nowhere", tmp_path / "out", files))


def test_the_command_line(classic: Path, tmp_path: Path, files: dict, capsys: pytest.CaptureFixture) -> None:
    arguments = [
        "finetune",
        str(classic),
        "--train",
        files["train"],
        "--dev",
        files["dev"],
        "--out",
        str(tmp_path / "o"),
    ]
    arguments += ["--columns.text", "body", "--columns.label", "topic", "--tuning.epochs", "1", "--tuning.length", "32"]
    assert cli.main(arguments) == 0 and "dev/accuracy" in capsys.readouterr().out
    assert cli.main([*arguments, "--tuning.lenght", "3"]) == 2
    assert "--tuning.length" in capsys.readouterr().err
