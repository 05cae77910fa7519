"""``electra export``: what it finds in a folder, and what it refuses without leaving anything."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import load_file, save_file

from cards import read_card, run_card
from electra import cli, files
from electra.errors import UserError
from electra.interchange import huggingface
from electra.interchange.encoders import load_encoder
from electra.interchange.finetuned import HeadKind, HeadSpec, save_finetuned
from electra.interchange.views import ModelView, View
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower
from electra.tasks.finetuning.heads import build_text_logits, build_token_logits
from electra.tasks.finetuning.problem import FineTuning
from electra.tokenization.training import train_tokenizer
from electra.workflows.export import ExportConfig, export
from electra.workflows.exporting.sources import find_views
from electra.workflows.finetune import FINETUNINGS
from finetuning import CLASSIC, exported, sentences


@pytest.fixture
def run(tmp_path: Path, tokens: Path) -> Path:
    """An exported folder with a generator and a discriminator."""
    for role, build in (("generator", Tower.token), ("discriminator", Tower.detection)):
        tower = build(CLASSIC, build_embeddings(CLASSIC))
        huggingface.save_tower(
            tmp_path / "run" / role, tower, tokens, f"# {role}\n\nIt.\n\n## Data\n\nMine.\n", "electra"
        )
    return tmp_path / "run"


def test_the_default_is_every_tower_and_each_view_finds_its_own(run: Path) -> None:
    assert list(find_views(run, None, 0, "pretraining")) == ["discriminator", "generator"]
    assert list(find_views(run, None, 2, "pretraining")) == ["discriminator"]
    assert find_views(run, None, 0, "encoder") == {"": ModelView(run / "discriminator", "encoder")}
    assert find_views(run, "mlm", 1, "encoder") == {"": ModelView(run / "generator", "mlm", 1)}
    one = run / "generator"
    assert find_views(one, None, 0, "pretraining") == {"": ModelView(one, "pretraining")}


def test_the_best_seed_of_a_task_is_found_wherever_its_folder_was_moved(tmp_path: Path, classic: Path) -> None:
    out = tmp_path / "ft"
    for task in ("cola", "rte"):
        best = out / task / "rate-0.001" / "seed-2"
        shutil.copytree(classic, best / "model")
        (out / task / "summary.json").write_text(json.dumps({"rate": "rate-0.001", "best": f"/before/{task}/seed-2"}))
    for folder in (out / "cola", best.parents[1].with_name("cola") / "rate-0.001" / "seed-2"):
        found = find_views(folder, None, 0, "pretraining")[""]
        assert found == ModelView(out / "cola" / "rate-0.001" / "seed-2" / "model", "finetuned")
    with pytest.raises(UserError, match=r"ft: which of 2 tasks\? electra export .*cola --out"):
        find_views(out, None, 0, "pretraining")
    with pytest.raises(UserError, match="model: as mlm: holds no tower of a run; say --as encoder or finetuned"):
        find_views(out / "rte", "mlm", 0, "pretraining")
    shutil.rmtree(out / "rte" / "rate-0.001")
    with pytest.raises(UserError, match="summary.json: names seed-2 as the best, and .* holds no model"):
        find_views(out / "rte", None, 0, "pretraining")
    files.mark_folder(tmp_path / "new", FINETUNINGS)
    with pytest.raises(UserError, match="no task here is finished; `electra finetune --out .*new` with its flags"):
        find_views(tmp_path / "new", None, 0, "pretraining")


def test_a_card_of_before_is_kept_but_for_what_this_export_says(run: Path, tmp_path: Path) -> None:
    out = export(ExportConfig(run=str(run), out=str(tmp_path / "hub"), licence="mit", language=("en", "de")))
    front, text = read_card(out / "discriminator")
    assert front == {
        "license": "mit", "language": ["en", "de"], "library_name": "transformers",
        "tags": ["electra", "replaced-token-detection"],
    }  # fmt: skip
    assert "## Data\n\nMine." in text and "## Licence\n\nmit" in text and "\nIt." not in text
    again = export(
        ExportConfig(run=str(out / "discriminator"), out=str(tmp_path / "one"), as_="encoder", keep_layers=1)
    )
    front, text = read_card(again)
    assert front["pipeline_tag"] == "feature-extraction" and "license" not in front
    assert text.count("## Data") == text.count("## Licence") == text.count("## How to load") == 1
    assert "None was given" in text and "The lowest 1 of 2 layers" in text
    assert read_card(out)[1].count("README.md") == 2


def lose_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def lose_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def widen(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["electra.embeddings.LayerNorm.weight"] = torch.zeros(17)
    save_file(tensors, folder / "model.safetensors")


def drop(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["electra.encoder.layer.1.output.dense.bias"]
    save_file(tensors, folder / "model.safetensors")


def fill_tokenizer(folder: Path) -> None:
    texts = [f"{text} {chr(97 + n % 26)}{n}" for n, (text, _) in enumerate(sentences(300, 0))] * 2
    train_tokenizer(texts, 400).save(folder)


@pytest.mark.parametrize("view", ["encoder", "pretraining"])
@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lose_config, "config.json"),
        (lose_weights, "model.safetensors"),
        (widen, r"LayerNorm.weight: found torch.float32 \[17\], expected float32 \[16\]"),
        (drop, "missing tensors: electra.encoder.layer.1.output.dense.bias"),
        (fill_tokenizer, "its tokenizer has 400 ids .*, but its model has 120 embeddings"),
    ],
)
def test_a_damaged_tower_is_refused_and_nothing_is_left(
    run: Path, tmp_path: Path, damage: Callable[[Path], None], complaint: str, view: str
) -> None:
    damage(run / "discriminator")
    with pytest.raises(UserError, match=complaint):
        export(ExportConfig(run=str(run), out=str(tmp_path / "hub"), as_=view))  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--as", "finetuned"], "as finetuned: holds towers; give what `electra finetune --out` wrote"),
        (["--as", "encoder", "--keep-layers", "3"], "keep_layers 3: the encoder has 2 layers"),
        (["--as", "mml"], "expected one of auto, pretraining, encoder, mlm, finetuned, found 'mml'"),
        (["--push", "name"], "push 'name': expected ORG/NAME"),
        (["--licence", "My own!"], "licence 'My own!': expected an identifier of the Hub's"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture, flags: list[str], complaint: str
) -> None:
    assert cli.main(["export", str(run), "--out", str(tmp_path / "hub"), *flags]) == 2
    said = capsys.readouterr().err
    assert complaint in said and len(said.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_run_that_predicts_no_tokens_has_no_mlm(tmp_path: Path, tokens: Path) -> None:
    exported(tmp_path / "run" / "discriminator", replace(CLASSIC, layers=1), tokens)
    with pytest.raises(UserError, match="as mlm: no tower here predicts tokens, only discriminator"):
        export(ExportConfig(run=str(tmp_path / "run"), out=str(tmp_path / "hub"), as_="mlm"))


HEADS: dict[HeadKind, tuple[str, ...]] = {
    "sequence-classification": ("no", "yes"),
    "token-classification": ("O", "B-X"),
    "question-answering": (),
}


@pytest.mark.parametrize("head", ["paper", "transformers"])
@pytest.mark.parametrize("kind", HEADS)
def test_the_code_on_the_card_of_a_fine_tuned_model_runs(
    classic: Path, tmp_path: Path, kind: HeadKind, head: Literal["paper", "transformers"]
) -> None:
    reader, _ = load_encoder(classic)
    build = build_text_logits if kind == "sequence-classification" else build_token_logits
    names = {"question-answering": {"name": "qa_outputs"}}.get(kind, {})
    logits = build(reader, FineTuning(head=head), 2, **names)  # type: ignore[operator]
    within = save_finetuned(tmp_path / "model", classic, reader, logits, HeadSpec(kind, HEADS[kind]), 24)
    out = export(ExportConfig(run=str(tmp_path / "model"), out=str(tmp_path / "hub")))
    printed, task = run_card(out, out), read_card(out)[0]["pipeline_tag"]
    assert task == (TASKS[kind] if within else "feature-extraction")
    assert ("score" if within and kind != "question-answering" else "tensor") in printed or printed == "[]\n"
    assert (out / "head.safetensors").is_file() is not within


TASKS = {
    "sequence-classification": "text-classification",
    "token-classification": "token-classification",
    "question-answering": "question-answering",
}


@pytest.mark.parametrize("view", ["encoder", "mlm", "pretraining"])
def test_the_code_on_the_card_of_a_tower_runs(run: Path, tmp_path: Path, view: View) -> None:
    out = export(ExportConfig(run=str(run), out=str(tmp_path / "hub"), as_=view))
    folder = out / "discriminator" if view == "pretraining" else out
    assert ("sequence" if view == "mlm" else "tensor") in run_card(folder, out)
