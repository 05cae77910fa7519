"""What ``electra finetune`` saves: transformers loads it, and predicts what we predicted."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from cards import read_card, run_card
from electra.workflows.export import ExportConfig, export
from electra.workflows.finetune import FinetuneConfig, finetune
from finetuning import TUNING, config, result, sentences, write_csv


@pytest.mark.parametrize("kind", ["classic", "modern", "bert"])
def test_the_pipeline_gives_our_predictions(
    kind: str, tmp_path: Path, files: dict, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(kind)
    finetune(config(model, tmp_path, files))
    folder = tmp_path / "train" / "seed-1"
    ours = json.loads((folder / "predictions.json").read_text())["dev"]
    pipe = transformers.pipeline("text-classification", str(folder / "model"), device="cpu")
    theirs = [each["label"] for each in pipe([text for text, _ in sentences(60, 2)])]
    assert ours == theirs and set(ours) == {"yes", "no"}
    if kind == "modern":
        assert json.loads((folder / "model" / "config.json").read_text())["classifier_pooling"] == "mean"
    assert result(tmp_path)["dev"]["accuracy"] > 0.85
    machine = [str(each).encode() for each in (tmp_path, model, Path.home(), Path.cwd())]
    for file in (folder / "model").iterdir():
        assert not [path for path in machine if path in file.read_bytes()], f"{file} is for others"
    out = export(ExportConfig(run=str(tmp_path), out=str(tmp_path / "hub"), keep_layers=0))
    again = transformers.pipeline("text-classification", str(out), device="cpu")
    assert [each["label"] for each in again([text for text, _ in sentences(60, 2)])] == ours
    front, card = read_card(out)
    assert front["pipeline_tag"] == "text-classification" and "label" in run_card(out, out)
    assert f"{result(tmp_path)['dev']['accuracy']:.4f}" in card and "transformers" in card


@pytest.mark.parametrize("kind", ["modern", "bert"])
def test_the_papers_head_lies_beside_an_encoder_that_transformers_loads(
    kind: str, tmp_path: Path, files: dict, request: pytest.FixtureRequest
) -> None:
    from safetensors.torch import load_file

    paper = replace(TUNING, head="paper", epochs=2)
    finetune(config(request.getfixturevalue(kind), tmp_path, files, tuning=paper))
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


@pytest.mark.parametrize("score", [False, True], ids=["classes", "a score"])
def test_the_papers_head_on_an_electra_is_within_the_model(
    score: bool, classic: Path, tmp_path: Path, files: dict
) -> None:
    if score:
        rows = [{"body": text, "topic": 2.5 + 2.0 * there} for text, there in sentences(60, 2)]
        files = dict.fromkeys(("train", "dev"), write_csv(tmp_path / "scored.csv", rows))
    finetune(config(classic, tmp_path / "out", files, tuning=replace(TUNING, head="paper", epochs=2)))
    (folder,) = (tmp_path / "out").glob("*/seed-1")
    ours = json.loads((folder / "predictions.json").read_text())["dev"]
    pipe = transformers.pipeline("text-classification", str(folder / "model"), device="cpu")
    theirs = pipe([text for text, _ in sentences(60, 2)], function_to_apply="none" if score else None)
    if score:
        assert [each["score"] for each in theirs] == pytest.approx(ours, abs=1e-5)
    else:
        assert [each["label"] for each in theirs] == ours
    assert not (folder / "model" / "head.safetensors").exists()


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
        tuning=replace(TUNING, epochs=4), **files,
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
