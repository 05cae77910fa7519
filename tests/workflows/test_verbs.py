"""What follows a run: evaluate, inspect and export, on the weights that it exported."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, AutoModelForPreTraining, AutoTokenizer

from cards import read_card, run_card
from electra import cli
from electra.corpus.prepare import PrepareConfig, prepare
from electra.corpus.train_tokenizer import TokenizerConfig, tokenizer
from electra.engine.optim import AdamW, LinearDecay
from electra.engine.telemetry import read_metrics
from electra.engine.train import Engine
from electra.errors import UserError
from electra.model.config import ClassicConfig
from electra.objectives.build import Electra, Mlm
from electra.tasks.catalogue import TaskChoice
from electra.tasks.datasets.labelled import Columns
from electra.tokenization.loading import load_tokenizer
from electra.workflows.evaluate import EvaluateConfig, evaluate
from electra.workflows.export import ExportConfig, export
from electra.workflows.inspect import MARK_FROM, InspectConfig, inspect
from electra.workflows.pretrain import pretrain
from electra.workflows.pretraining.config import Phase, PretrainConfig
from pictures import rendering

WORDS = ["value", "name", "module", "class", "object", "string", "number", "list"]
TEXT = "The import statement binds a name in the local namespace."


def config(data: Path, out: Path) -> PretrainConfig:
    return PretrainConfig(
        data=str(data),
        out=str(out),
        encoder=ClassicConfig(
            hidden_size=64, layers=2, heads=2, intermediate_size=128, embedding_size=32, max_positions=64
        ),
        objective=Electra(generator_width=0.5),
        optimizer=AdamW(learning_rate=5e-3),
        schedule=LinearDecay(warmup=5),
        phases=(Phase(steps=40, length=32, rows=16),),
        engine=Engine(compile="never", precision="float32", log_every=10, evaluate_every=20, save_every=0),
        held_out_rows=64,
    )


@pytest.fixture(scope="module")
def run(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 40 steps, its curves rendered."""
    with rendering():
        return pretrain(config(prepared, tmp_path_factory.mktemp("run") / "run"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of another tokenizer."""
    folder = tmp_path_factory.mktemp("other")
    (folder / "text.txt").write_text("\n\n".join(f"one two three four {n % 7} and {n % 5} more" for n in range(500)))
    tokenizer(TokenizerConfig(data=(str(folder / "text.txt"),), out=str(folder / "tok"), vocab_size=60))
    given = {"data": (str(folder / "text.txt"),), "tokenizer": str(folder / "tok"), "out": str(folder / "data")}
    prepare(PrepareConfig(**given, held_out=0.2))
    return folder / "data"


def test_a_run_folder_holds_what_a_person_looks_for(run: Path) -> None:
    found = {path.name for path in run.iterdir()}
    assert {"config.json", "environment.json", "metrics.jsonl", "curves.png", "checkpoints", "final"} <= found
    assert (run / "curves.png").read_bytes()[:4] == b"\x89PNG" and (run / "curves.png").stat().st_size > 10_000
    assert {"vocab.txt", "tokenizer.json", "README.md"} <= {
        path.name for path in (run / "final/discriminator").iterdir()
    }
    assert "discriminator/auc" in (run / "final" / "discriminator" / "README.md").read_text()
    lines = read_metrics(run / "metrics.jsonl")
    wanted = ["generator/loss", "generator/accuracy", "generator/sampled_accuracy", "tokens_per_second", "flops"]
    wanted += [f"discriminator/{name}" for name in ("loss", "replaced_rate", "skill", "auc", "recall")]
    wanted += ["gradient_norm/generator", "gradient_norm/discriminator", "gradient_norm/shared"]
    assert set(wanted) <= set(lines[-1]) | set(lines[-2])
    assert any(name.startswith("learning_rate/") for name in lines[-2])


def test_the_generator_and_the_discriminator_learn(run: Path) -> None:
    first, *_, last = (line for line in read_metrics(run / "metrics.jsonl") if line["split"] == "train")
    assert last["generator/loss"] < first["generator/loss"] - 0.3
    assert last["discriminator/loss"] < first["discriminator/loss"]


def test_evaluate_gives_the_exported_weights_the_figures_of_the_run(run: Path, capsys: pytest.CaptureFixture) -> None:
    figures = evaluate(EvaluateConfig(models=(str(run),), rows=64))[str(run)]
    shown = capsys.readouterr().out
    last = [line for line in read_metrics(run / "metrics.jsonl") if line["split"] == "held-out"][-1]
    for name, value in figures.items():
        assert name in shown
        if name != "discriminator/identity_auc":
            assert value == pytest.approx(last[name], rel=1e-4, abs=1e-6), name
    assert 0.3 < figures["discriminator/identity_auc"] < 1
    assert evaluate(EvaluateConfig(models=(str(run),), rows=64, json=True)) == json.loads(capsys.readouterr().out)


def test_evaluate_draws_by_the_frequencies_of_training(prepared: Path, tmp_path: Path) -> None:
    phases = (Phase(steps=1, length=32, rows=8),)
    asked = replace(config(prepared, tmp_path / "run"), objective=Electra(generator="unigram"), phases=phases)
    run = pretrain(asked)
    figures = evaluate(EvaluateConfig(models=(str(run),), rows=asked.held_out_rows))[str(run)]
    last = read_metrics(run / "metrics.jsonl")[-1]
    assert figures["generator/loss"] == pytest.approx(last["generator/loss"], rel=1e-6)


def test_evaluate_shows_models_side_by_side(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Minimal pairs, probes, similarity and the retrieval of replaced tokens, of both towers and of their folders."""
    towers = [str(run / "final" / name) for name in ("discriminator", "generator")]
    pairs = [{"sentence_good": f"the {n} is here", "sentence_bad": f"the {n} are here", "UID": "number"} for n in WORDS]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    found = evaluate(EvaluateConfig(models=tuple(towers), task="minimal-pairs", data=str(tmp_path)))
    said = capsys.readouterr().out
    assert list(found) == towers and all(0 <= each["number"] == each["accuracy"] <= 1 for each in found.values())
    assert "replaced-token score" in said and "pseudo-log-likelihood" in said and all(name in said for name in towers)
    rows = [f"{a} module is {b},{b},{(a == b) + 0.5 * (a < b)}" for a in WORDS for b in WORDS[:2]]
    (tmp_path / "mine.csv").write_text("\n".join(["text,label,score", *rows]))
    mine = str(tmp_path / "mine.csv")
    on = TaskChoice(train=mine, dev=mine)
    found = evaluate(EvaluateConfig(models=(str(run), towers[1]), task="probe", on=on, json=True))
    assert json.loads(capsys.readouterr().out) == found
    assert found[str(run)]["best"] > 0.7 and {"layer 0", "layer 1", "layer 2", "majority"} <= found[str(run)].keys()
    scored = replace(on, columns=Columns(text="text", pair="label", label="score"), kind="score")
    found = evaluate(EvaluateConfig(models=(str(run),), task="similarity", on=scored))
    assert set(found[str(run)]) == {"layer 0", "layer 1", "layer 2", "best", "best_layer"}
    picture = str(tmp_path / "curves.png")
    (found,) = evaluate(EvaluateConfig(models=(str(run),), task="replaced", rows=32, picture=picture)).values()
    assert 0 < found["chance"] < found["average_precision"] < 1
    assert Path(picture).read_bytes()[:4] == b"\x89PNG"


def test_evaluate_refuses_what_it_cannot_measure(run: Path, other: Path, tmp_path: Path) -> None:
    for asked, said in [
        (EvaluateConfig(), "which model"),
        (EvaluateConfig(models=(str(tmp_path),)), "does not say which data"),
        (EvaluateConfig(models=(str(tmp_path / "none"),)), "none: no such folder"),
        (EvaluateConfig(models=(str(tmp_path),), data=str(other)), "no generator here"),
        (EvaluateConfig(models=(str(run),), data=str(other)), "prepared with another tokenizer"),
        (EvaluateConfig(models=(str(run),), task="minimal-pairs"), "--data is missing"),
        (EvaluateConfig(models=(str(run),), task="minimal-pairs", data=str(tmp_path)), "no .jsonl"),
        (
            EvaluateConfig(models=(str(tmp_path),), task="probe", on=TaskChoice(task="cola", data="x")),
            "x/train.tsv: no such",
        ),
        (EvaluateConfig(models=(str(run),), task="probe"), "which task"),
    ]:
        with pytest.raises(UserError, match=said):
            evaluate(asked)


def test_inspect_says_what_transformers_says(run: Path, capsys: pytest.CaptureFixture) -> None:
    (seen,) = inspect(InspectConfig(run=str(run), texts=(TEXT,), json=True))
    said = json.loads(capsys.readouterr().out)
    assert said["text"] == TEXT
    assert [token["token"] for token in said["tokens"]] == [token for token, _ in seen]
    folder = run / "final" / "discriminator"
    rows = AutoTokenizer.from_pretrained(folder)(TEXT, return_tensors="pt")
    with torch.no_grad():
        theirs = AutoModelForPreTraining.from_pretrained(folder)(**rows).logits[0, 1:-1].sigmoid()
    assert torch.tensor([replaced for _, replaced in seen]) == pytest.approx(theirs, abs=1e-5)
    inspect(InspectConfig(run=str(run), texts=(TEXT, "a b")))
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2
    highest = max(replaced for _, replaced in seen)
    assert (f"(nothing looks replaced: {highest:.2f} at most)" in printed[0]) is (highest < MARK_FROM)


def test_inspect_reads_a_long_text_in_parts_and_whole(run: Path) -> None:
    (seen,) = inspect(InspectConfig(run=str(run), texts=(TEXT * 20,), json=True))
    assert len(seen) == 20 * len(inspect(InspectConfig(run=str(run), texts=(TEXT,), json=True))[0])


def test_inspect_refuses_a_text_that_no_tokenizer_takes() -> None:
    with pytest.raises(UserError, match=r"text 2: text has half a surrogate pair, which is no character"):
        inspect(InspectConfig(run="anywhere", texts=("a", "b \udcff")))


def test_inspect_refuses_a_generator_and_an_unfinished_run(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="which run and text"):
        inspect(InspectConfig(run=str(run)))
    with pytest.raises(UserError, match="no discriminator here"):
        inspect(InspectConfig(run=str(tmp_path), texts=(TEXT,)))
    with pytest.raises(UserError, match="a generator"):
        inspect(InspectConfig(run=str(run / "final" / "generator"), texts=(TEXT,)))


def test_inspect_refuses_energies(run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(run / "final" / "discriminator", tmp_path / "electric")
    said = json.loads((folder / "config.json").read_text())
    assert said["pretraining_objective"] == "electra"
    (folder / "config.json").write_text(json.dumps(said | {"pretraining_objective": "electric"}))
    with pytest.raises(UserError, match="its head gives energies"):
        inspect(InspectConfig(run=str(folder), texts=("a",)))


def test_export_writes_folders_that_transformers_loads(run: Path, tmp_path: Path) -> None:
    out = export(ExportConfig(run=str(run), out=str(tmp_path / "hub")))
    for name, kind in (("discriminator", AutoModelForPreTraining), ("generator", AutoModelForMaskedLM)):
        _, report = kind.from_pretrained(out / name, output_loading_info=True)
        assert not any(report.values())
        assert run_card(out / name, out)
        assert load_tokenizer(out / name).fingerprint == load_tokenizer(run / "final" / name).fingerprint
    front, card = read_card(out / "discriminator")
    environment = json.loads((run / "environment.json").read_text())
    last = [line for line in read_metrics(run / "metrics.jsonl") if line["split"] == "held-out"][-1]
    for said in (
        f"{last['discriminator/auc']:.6g}", f"{last['tokens']:,}", f"{last['flops']:.4g}", "| source", "seed 1",
        environment["processor"] or environment["machine"], "Its licence is not recorded.", '"data": "data"',
    ):  # fmt: skip
        assert said in card, said
    assert front["library_name"] == "transformers" and "replaced-token-detection" in front["tags"]
    assert run_card(encoder := export(ExportConfig(run=str(run), out=str(tmp_path / "e"), as_="encoder")), encoder)
    with pytest.raises(UserError, match="discriminator: is there already"):
        export(ExportConfig(run=str(run), out=str(tmp_path / "hub")))
    with pytest.raises(UserError, match="is the run finished"):
        export(ExportConfig(run=str(tmp_path), out=str(tmp_path / "hub2")))


def test_a_run_starts_from_exported_weights(run: Path, prepared: Path, tmp_path: Path, capsys) -> None:
    asked = replace(config(prepared, tmp_path / "run"), init=str(run), phases=(Phase(steps=1, length=32, rows=16),))
    pretrain(replace(asked, optimizer=AdamW(learning_rate=0.0)))
    said = capsys.readouterr().out
    assert "generator: weights from" in said and "discriminator: weights from" in said
    for name in ("generator", "discriminator"):
        one, two = (folder / "final" / name / "model.safetensors" for folder in (run, tmp_path / "run"))
        assert one.read_bytes() == two.read_bytes()


def test_weights_of_another_vocabulary_are_carried_over(run: Path, prepared: Path, tmp_path: Path, capsys) -> None:
    """One of the same size, with two word pieces in each other's place."""
    words = (prepared / "tokenizer" / "vocab.txt").read_text().split("\n")
    words[500], words[501] = words[501], words[500]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    text, swapped = (str(prepared.parent / "text.txt"),), tmp_path / "swapped"
    prepare(PrepareConfig(text, str(tmp_path / "vocab.txt"), str(swapped), held_out=0.1))
    asked = replace(config(swapped, tmp_path / "run"), init=str(run), phases=(Phase(steps=1, length=32, rows=16),))
    pretrain(replace(asked, optimizer=AdamW(learning_rate=0.0)))
    assert "1,000 of 1,000 tokens (100%) are in the old vocabulary too" in capsys.readouterr().out
    order = [*range(500), 501, 500, *range(502, 1000)]
    tables = {"generator": "generator_lm_head.bias", "discriminator": "electra.embeddings.word_embeddings.weight"}
    for name, part in tables.items():
        one, two = (
            load_file(folder / "final" / name / "model.safetensors")[part] for folder in (run, tmp_path / "run")
        )
        assert torch.equal(one[order], two) and not torch.equal(one, two)


def test_weights_without_a_tokenizer_are_taken_and_that_is_said(run: Path, prepared: Path, tmp_path: Path, capsys):
    folder = tmp_path / "discriminator"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(run / "final" / "discriminator" / name, folder / name)
    pretrain(replace(config(prepared, tmp_path / "run"), init=str(folder), phases=(Phase(1, 32, 8),)))
    said = capsys.readouterr().out
    assert f"{folder}: no tokenizer there" in said and f"discriminator: weights from {folder}" in said


def test_mlm_runs_evaluate_and_export_too(prepared: Path, tmp_path: Path) -> None:
    asked = replace(config(prepared, tmp_path / "run"), objective=Mlm(), phases=(Phase(steps=3, length=32, rows=8),))
    run = pretrain(asked)
    assert [path.name for path in (run / "final").iterdir()] == ["generator"]
    figures = evaluate(EvaluateConfig(models=(str(run),), rows=16))[str(run)]
    assert set(figures) == {"generator/loss", "generator/accuracy"}
    export(ExportConfig(run=str(run), out=str(tmp_path / "hub")))
    AutoModelForMaskedLM.from_pretrained(tmp_path / "hub" / "generator")


def test_the_same_command_goes_on_from_the_folder_alone(run: Path, tmp_path: Path, capsys) -> None:
    """``electra pretrain --out FOLDER``: the config is the folder's."""
    shutil.copytree(run, tmp_path / "run")
    said = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps(said | {"out": str(tmp_path / "run")}))
    shutil.rmtree(tmp_path / "run" / "final")
    assert cli.main(["pretrain", "--out", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "final" / "discriminator" / "model.safetensors").exists()
    assert cli.main(["pretrain", "--out", str(tmp_path / "run"), "--seed", "9"]) == 2
    assert "seed: 1 there, 9 now" in capsys.readouterr().err
