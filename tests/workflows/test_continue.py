"""Runs that continue what others trained: where their settings come from, and what they say of the beginning."""

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from electra import cli, recipes
from electra.errors import UserError
from electra.interchange.huggingface import save_tower
from electra.interchange.published import published_config
from electra.model.config import ClassicConfig, generator_config
from electra.model.embeddings import SharedEmbeddings
from electra.model.encoder import Tower
from electra.objectives.build import Electra, Mlm, WarmedElectra
from electra.run_folder import write_json
from electra.workflows.compare.objectives import parse_objective
from electra.workflows.pretrain import pretrain
from electra.workflows.pretraining.config import PretrainConfig
from electra.workflows.pretraining.continued import judge_rise, watch_continued
from published import publish_bert
from runs import ENGINE, STEPS, config

WHOLE = ClassicConfig(
    vocab_size=300, hidden_size=96, layers=6, heads=3, intermediate_size=128, embedding_size=48, max_positions=32
)


@pytest.fixture(scope="module")
def bert(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_bert(tmp_path_factory.mktemp("published") / "bert", prepared / "tokenizer")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator and a discriminator as they are published, without a run's config."""
    folder = tmp_path_factory.mktemp("pair")
    small = generator_config(WHOLE, 2 / 3, 0.5)
    tables = SharedEmbeddings(WHOLE)
    save_tower(folder / "generator", Tower.token(small, tables.generator), None, None)
    save_tower(folder / "discriminator", Tower.detection(WHOLE, tables.discriminator), None, None)
    return folder


def resolve(*arguments: str | Path) -> PretrainConfig:
    _, found, _ = cli.resolve_command("pretrain", cli.VERBS["pretrain"], [str(each) for each in arguments])
    assert isinstance(found, PretrainConfig)
    return found


def test_the_encoder_is_that_of_the_folder_whatever_the_preset(bert: Path, tmp_path: Path) -> None:
    shape = published_config(json.loads((bert / "config.json").read_text()), "")
    for preset in ([], ["--preset", "modern-tiny"]):
        found = resolve("--init", bert, *preset, "--tokens", "1e6")
        assert found.encoder == shape and found.init == str(bert)
    assert found.objective.kind == "warmed-electra" and found.optimizer.kind == "muon", "the preset's"
    (tmp_path / "mine.yaml").write_text(f"init: {bert}\nencoder:\n  dropout: 0.0\n")
    assert resolve("--config", tmp_path / "mine.yaml").encoder == replace(shape, dropout=0.0)
    with pytest.raises(UserError, match="config.json: no such file"):
        resolve("--init", tmp_path)


def test_masked_language_modelling_by_a_flag_is_that_of_the_preset() -> None:
    """As ``electra compare`` trains it: with the preset's mask, not with the default one."""
    preset = recipes.apply_preset(PretrainConfig(), "modern-tiny")
    found = resolve("--preset", "modern-tiny", "--objective.kind", "mlm", "--data", "data", "--out", "out")
    assert found.objective == Mlm(mask_rate=preset.objective.mask_rate, replace_rate=preset.objective.replace_rate)
    assert found.objective == parse_objective(preset, "mlm").config.objective != Mlm()
    assert replace(found, objective=preset.objective, data="", out="") == preset


def test_the_generators_size_comes_from_the_folder_too(pair: Path) -> None:
    found = resolve("--init", pair)
    assert (found.encoder.hidden_size, found.encoder.layers) == (96, 6)
    assert isinstance(found.objective, Electra)
    small = generator_config(found.encoder, found.objective.generator_width, found.objective.generator_depth)
    assert (small.hidden_size, small.layers) == (64, 3)
    assert resolve("--init", pair / "generator").encoder == resolve().encoder, "a generator alone is no encoder"
    alone = resolve("--init", pair / "generator", "--objective.kind", "mlm")
    assert (alone.encoder.hidden_size, alone.encoder.layers) == (64, 3)


def test_a_runs_shape_is_that_of_its_config_also_when_it_is_gone(pair: Path, tmp_path: Path) -> None:
    """A run of masked language modelling that trained a generator to be."""
    shutil.copytree(pair / "generator", tmp_path / "run" / "final" / "generator")
    begun = PretrainConfig(encoder=WHOLE, objective=Mlm(width=2 / 3, depth=0.5))
    write_json(tmp_path / "run" / "config.json", begun)
    assert resolve("--init", tmp_path / "run").encoder == WHOLE
    (tmp_path / "next").mkdir()
    write_json(tmp_path / "next" / "config.json", replace(begun, init="gone"))
    assert resolve("--preset", "base", "--init", "gone", "--out", tmp_path / "next").encoder == WHOLE


def last_weights(run: Path) -> dict[str, torch.Tensor]:
    """All that a run ended with, its optimizer included."""
    files = (run / "checkpoints" / f"step-{STEPS:08d}").glob("*.safetensors")
    return {f"{file.name} {name}": value for file in files for name, value in load_file(file).items()}


def test_a_run_goes_on_when_what_it_began_with_is_removed(bert: Path, prepared: Path, tmp_path: Path, capsys) -> None:
    """The change of its two stages included, after which the generator is the lowest layer of the encoder."""
    init = Path(shutil.copytree(bert, tmp_path / "bert"))
    shape = published_config(json.loads((bert / "config.json").read_text()), "")
    objective = WarmedElectra(first=0.5, generator_width=1, generator_depth=0.5)
    asked = replace(config(prepared, tmp_path / "run"), encoder=shape, objective=objective, init_generator="lowest")
    asked = replace(asked, init=str(init), engine=replace(ENGINE, save_every=1, keep=STEPS))
    run = pretrain(asked)
    said = capsys.readouterr().out
    assert f"generator: weights from {init}" in said
    assert f"{init}: left out: the pooler, the head for the next sentence" in said
    lines = (run / "metrics.jsonl").read_text().splitlines()
    recorded = [json.loads(line) for line in lines if '"held-out"' in line]
    assert [line["step"] for line in recorded] == [0, STEPS // 2, STEPS] and "generator/loss" in recorded[0]
    table = "electra.embeddings.word_embeddings.weight"
    assert len(load_file(run / "final" / "encoder" / "model.safetensors")[table]) == 1024, "padded as it was"
    whole = last_weights(run)
    shutil.rmtree(init)
    for step in (STEPS // 2 - 1, STEPS // 2):
        for later in (run / "checkpoints").iterdir():
            if later.name > f"step-{step:08d}":
                shutil.rmtree(later)
        shutil.rmtree(run / "final")
        pretrain(asked)
        again = last_weights(run)
        assert whole.keys() == again.keys() and all(torch.equal(whole[name], again[name]) for name in whole)
    timed = re.compile(r'"(seconds|tokens_per_second)": [^,}]*')
    assert [timed.sub("", line) for line in (run / "metrics.jsonl").read_text().splitlines()] == [
        timed.sub("", line) for line in lines
    ]


def test_a_generator_that_cannot_begin_as_asked_is_refused_before_the_run(
    bert: Path, prepared: Path, tmp_path: Path
) -> None:
    shape = published_config(json.loads((bert / "config.json").read_text()), "")
    base = replace(config(prepared, tmp_path / "run"), encoder=shape, init_generator="lowest")
    for objective, init, complaint in (
        (Electra(generator_width=1), "", "nobody trained these layers"),
        (Mlm(), str(bert), "no generator beside its encoder"),
        (WarmedElectra(), "", "hidden_size: 32 there, 8 here.*generator_width 1"),
        (Electra(generator_frozen=True, embeddings="own"), str(bert), "hidden_size: 32 there"),
    ):
        with pytest.raises(UserError, match=complaint):
            pretrain(replace(base, objective=objective, init=init))
    frozen = Electra(generator_width=1, generator_depth=0.5, generator_frozen=True, embeddings="own")
    with pytest.raises(UserError, match="no generator there, and this run's learns nothing"):
        pretrain(replace(base, objective=frozen, init=str(bert)))
    with pytest.raises(UserError, match=r"rows have two segments, and this encoder knows one: layout.kind packed"):
        pretrain(replace(base, encoder=replace(shape, segments=1)))
    assert not (tmp_path / "run").exists()


def line(step: int, split: str = "held-out", **figures: float) -> dict[str, Any]:
    return {"step": step, "split": split} | {name.replace("_loss", "/loss"): value for name, value in figures.items()}


def warmed(step: int, rising: bool = False) -> list[dict[str, Any]]:
    rates = {step - 1: 1.0, step: 2.0 if rising else 0.9}
    return [line(each, "train") | {"learning_rate/x": rate} for each, rate in rates.items()]


FIRST = line(0, generator_loss=3.0, discriminator_loss=0.2)


@pytest.mark.parametrize(
    ("lines", "faults"),
    [
        ([*warmed(9), line(9, generator_loss=3.2, discriminator_loss=0.1)], ["generator/loss"]),
        ([*warmed(9), line(9, generator_loss=3.2, discriminator_loss=0.3)], ["generator/loss", "discriminator/loss"]),
        ([*warmed(9), line(9, generator_loss=2.9, discriminator_loss=0.3)], []),  # harder samples
        ([*warmed(9), line(9, generator_loss=3.01, discriminator_loss=0.2)], []),
        ([*warmed(9, rising=True), line(9, generator_loss=4.0, discriminator_loss=0.3)], []),
        ([*warmed(9), line(9, generator_loss=4.0)], []),  # another stage
        ([FIRST], []),
    ],
    ids=["above", "both", "harder", "equal", "warm-up", "stage", "beginning"],
)
def test_a_loss_above_that_of_the_beginning_is_a_fault(lines: Sequence[dict], faults: list[str]) -> None:
    found = judge_rise(lines, FIRST)
    assert [verdict.kind for verdict in found] == [f"{name} above its beginning" for name in faults]
    assert not faults or ("was 3.000 at step 0" in found[0].message and "learning_rate" in found[0].message)


def test_the_beginning_is_known_to_a_run_that_goes_on(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(json.dumps(FIRST) + "\n")
    risen = [*warmed(9), line(9, generator_loss=3.2, discriminator_loss=0.1)]
    risen = [each | {"phase": 0} for each in risen]
    ((kind, _),) = watch_continued(tmp_path / "metrics.jsonl")(risen)
    assert kind == "generator/loss above its beginning"
    assert not watch_continued(tmp_path / "none.jsonl")(risen)
