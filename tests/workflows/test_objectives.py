"""Every objective with both encoders as a run: stopped and resumed, shared out, exported, evaluated."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel

from compositions import EVERY, NAMES, objective
from electra.engine.optim import AdamW, LinearDecay
from electra.engine.parallel import Parallel
from electra.engine.scaling import StagePlan
from electra.engine.telemetry import read_metrics
from electra.engine.train import Engine
from electra.errors import UserError
from electra.interchange import huggingface
from electra.interchange.folders import find_encoder
from electra.interchange.published import read_published
from electra.model.config import ClassicConfig, ModernConfig
from electra.objectives.build import Electra
from electra.workflows.evaluate import EvaluateConfig, evaluate
from electra.workflows.pretrain import create_pretrainers, open_data, pretrain, print_nothing
from electra.workflows.pretraining.config import Phase, PretrainConfig
from electra.workflows.pretraining.stages import plan_stages
from electra.workflows.status import StatusConfig, status
from processes import run_two
from published import publish_bert

SIZES = {"hidden_size": 32, "layers": 2, "heads": 2, "intermediate_size": 32, "max_positions": 32}
ENCODERS = {"classic": ClassicConfig(**SIZES, embedding_size=16), "modern": ModernConfig(**SIZES, local_window=16)}
STEPS, HELD_OUT = 8, 16
STAGED = ["two-stage", "warmed-electra", "fast-electra"]  # half, a quarter and a fifth of the steps before the change


def config(data: Path, out: Path, kind: str, encoder: str = "classic", **settings: Any) -> PretrainConfig:
    return PretrainConfig(
        data=str(data),
        out=str(out),
        encoder=ENCODERS[encoder],
        objective=objective(kind, encoder, **settings),
        optimizer=AdamW(learning_rate=2e-3),
        schedule=LinearDecay(warmup=2),
        phases=(Phase(steps=STEPS, length=32, rows=8),),
        engine=Engine(compile="never", precision="float32", log_every=1, evaluate_every=0, save_every=1, keep=STEPS),
        held_out_rows=HELD_OUT,
    )


def plan_of(asked: PretrainConfig) -> StagePlan:
    """How its stages follow from its length."""
    data = open_data(asked)
    return plan_stages(asked, create_pretrainers(asked, data, print_nothing), data, Parallel.start())


def lines(run: Path) -> list[dict]:
    """All that was recorded but the time."""
    timed = ("seconds", "tokens_per_second")
    return [{k: v for k, v in line.items() if k not in timed} for line in read_metrics(run / "metrics.jsonl")]


def tensors(run: Path) -> dict[str, torch.Tensor]:
    """All that the run ended with, its optimizer included."""
    found = sorted((run / "checkpoints").iterdir())[-1].glob("*.safetensors")
    return {f"{path.name} {name}": value for path in found for name, value in load_file(path).items()}


def goes_on(asked: PretrainConfig, steps: Sequence[int], copy: Path) -> None:
    """A run that is cut back to its checkpoint at a step, as after a kill, ends as it did."""
    run = Path(asked.out)
    shutil.copytree(run, copy)
    for step in steps:
        shutil.rmtree(run / "final")
        for later in (run / "checkpoints").iterdir():
            if later.name > f"step-{step:08d}":
                shutil.rmtree(later)
        pretrain(asked)
        same(run, copy)


def same(one: Path, other: Path) -> None:
    ours, theirs = tensors(one), tensors(other)
    assert ours.keys() == theirs.keys() and len(ours) > 20
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert lines(one) == lines(other)


@pytest.mark.parametrize(("kind", "encoder"), EVERY, ids=NAMES)
def test_a_run_goes_on_is_exported_and_evaluated(prepared: Path, tmp_path: Path, kind: str, encoder: str) -> None:
    asked = config(prepared, tmp_path / "run", kind, encoder)
    run = pretrain(asked)
    goes_on(asked, [4], tmp_path / "whole")
    recorded = lines(run)
    assert not any(line["split"] == "verdict" for line in recorded), "every tensor learns"
    last = recorded[-1]
    assert last["split"] == "held-out" and last["step"] == STEPS
    found = evaluate(EvaluateConfig(models=(str(run),), rows=HELD_OUT))[str(run)]
    own = {name: value for name, value in found.items() if name in last}
    assert own and own == pytest.approx({name: last[name] for name in own}, rel=1e-4, abs=1e-5)
    ids = torch.randint(5, 1000, (2, 20))
    one = torch.ones_like(ids)
    for folder in (run / "final").iterdir():
        if folder.is_dir():
            theirs, report = AutoModel.from_pretrained(folder, output_loading_info=True)
            assert not report["missing_keys"]
            ours = huggingface.load_tower(folder).hidden(ids, one.cumsum(1) - 1, 0 * ids, one, None)
            torch.testing.assert_close(ours, theirs.eval()(ids).last_hidden_state, rtol=1e-4, atol=1e-4)
    towers = {path.name for path in (run / "final").iterdir() if path.is_dir()}
    assert {"generator", "discriminator", "encoder"} & towers
    assert kind != "warmed-electra" or (towers == {"generator", "discriminator"} and (run / "first-stage").is_dir())


def test_the_encoder_of_the_first_stage_is_kept_as_it_was(prepared: Path, tmp_path: Path) -> None:
    asked = config(prepared, tmp_path / "run", "warmed-electra", first=0.5)
    final = pretrain(asked) / "final"
    shares = asked.objective.stages
    alone = replace(asked, out=str(tmp_path / "alone"), objective=shares[0][1])
    steps = next(line["step"] for line in lines(tmp_path / "run") if line["phase"] == 1) - 1
    alone = pretrain(replace(alone, phases=(Phase(steps=steps, length=32, rows=8),))) / "final"
    kept, same, detects = (
        load_file(folder / "model.safetensors")
        for folder in (final / "encoder", alone / "generator", final / "discriminator")
    )
    assert kept.keys() == same.keys() and all(torch.equal(kept[name], same[name]) for name in kept)
    table = "electra.embeddings.word_embeddings.weight"
    assert not torch.equal(kept[table], detects[table])
    assert find_encoder(tmp_path / "run") == final / "encoder"
    assert "alone" not in (final / "encoder" / "README.md").read_text()
    (loss,) = {  # the card has the held-out figures of the stage's end, as those of a run that ends there
        re.search(r"generator/loss \| (.*) \|", (folder / "README.md").read_text())[1]  # type: ignore[index]
        for folder in (final / "encoder", alone / "generator")
    }
    assert float(loss) > 1
    (told,) = status(StatusConfig((asked.out,)))
    assert (told.state, told.stage, told.stages, told.steps) == ("finished", 2, 2, STEPS)


def test_a_limited_first_stage_leaves_the_run_to_the_detector(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """However the run's length is given. The encoder is the detector's then, unless the first stage is half the run."""
    asked = config(prepared, tmp_path / "run", "warmed-electra", first=0.5)
    longer = replace(asked, phases=(replace(asked.phases[0], steps=10 * STEPS),))
    stages, _ = plan_of(longer).scaled(1.0)
    step, whole = stages[0].flops, float(sum(stage.steps * stage.flops for stage in stages))
    limits = replace(asked.objective, first_flops=20.0 * step)
    for unit, length in (("flops", whole), ("flops", 3 * whole), ("tokens", 240.0 * 8 * 32)):
        stages, _ = plan_of(replace(longer, **{unit: length}, objective=limits)).scaled(1.0)
        assert stages[0].steps == pytest.approx(20, abs=1)
        assert sum(stage.steps * getattr(stage, unit) for stage in stages) == pytest.approx(length, rel=0.02)
    limited = replace(asked, objective=replace(asked.objective, first_flops=2.0 * step))
    run = pretrain(limited)
    assert [line["phase"] for line in lines(run) if line["split"] == "train"] == [0, 0, 1, 1, 1, 1, 1, 1]
    assert find_encoder(run) == run / "final" / "discriminator" and not (run / "final" / "encoder").exists()
    assert "final/discriminator: the encoder, trained further as a detector" in capsys.readouterr().out
    goes_on(limited, [3, 2, 1], tmp_path / "whole")
    above = replace(asked, objective=replace(asked.objective, first_flops=4.0 * step), out=str(tmp_path / "above"))
    assert find_encoder(pretrain(above)) == tmp_path / "above" / "final" / "encoder"


@pytest.mark.parametrize("every", [1, 3, 100])
def test_the_figures_of_a_line_are_of_one_model(prepared: Path, tmp_path: Path, every: int) -> None:
    """Those of a stage end with it: the next one's model has losses and learning rates of its own."""
    asked = config(prepared, tmp_path / "run", "warmed-electra", first=0.5)
    asked = replace(asked, engine=replace(asked.engine, log_every=every, evaluate_every=every))
    run = pretrain(asked)
    for split in ("train", "held-out"):
        of_split = [line for line in lines(run) if line["split"] == split]
        detects = ["discriminator/loss" in line for line in of_split]
        assert detects == [line["phase"] == 1 for line in of_split] and detects[-1] and not detects[0]


@pytest.mark.parametrize("kind", STAGED)
def test_a_run_goes_on_from_just_before_and_just_after_the_change(prepared: Path, tmp_path: Path, kind: str) -> None:
    asked = config(prepared, tmp_path / "run", kind)
    phases = [line["phase"] for line in lines(pretrain(asked)) if line["split"] == "train"]
    change = phases.index(1)  # steps done when the second stage begins
    assert 1 < change < STEPS - 1
    goes_on(asked, [change + 1, change, change - 1], tmp_path / "whole")


def close(one: list[dict], other: list[dict]) -> None:
    """Whether two curves are one but for the order of sums."""
    assert len(one) == len(other) > STEPS
    for ours, theirs in zip(one, other, strict=True):
        assert ours.keys() == theirs.keys()
        figures = [name for name in ours if name.endswith("/loss") or name == "gradient_norm/total"]
        for name in figures:
            assert ours[name] == pytest.approx(theirs[name], rel=5e-4), (ours["step"], name)


# The contrast of rows with one another depends on which go through the model together: docs/objectives.md.
SPLIT = [("coco-lm", {"contrast_weight": 0.0})] + [
    (kind, {}) for kind in ("electric", "adversarial", "deberta-v3", "all-tokens-mlm", "two-stage", "fast-electra")
]


@pytest.mark.parametrize(("kind", "settings"), SPLIT, ids=[kind for kind, _ in SPLIT])
def test_micro_batches_give_the_curve_of_the_whole(prepared: Path, tmp_path: Path, kind: str, settings: dict) -> None:
    whole = config(prepared, tmp_path / "whole", kind, **settings)
    parts = replace(whole, out=str(tmp_path / "parts"), engine=replace(whole.engine, micro_rows=2))
    close(lines(pretrain(whole)), lines(pretrain(parts)))


def test_two_processes_give_the_curve_of_one(prepared: Path, tmp_path: Path) -> None:
    """All in one start of two processes, which takes longer than their steps."""
    runs = {kind: config(prepared, tmp_path / kind, kind, **settings) for kind, settings in SPLIT[:6]}
    bert = publish_bert(tmp_path / "bert", prepared / "tokenizer")
    objective = Electra(generator_width=1, generator_depth=0.5)
    runs["continued"] = replace(
        runs["electric"], encoder=read_published(bert).config, objective=objective, out=str(tmp_path / "continued"),
        init=str(bert), init_generator="lowest",
    )  # fmt: skip
    shared = [replace(one, out=str(tmp_path / f"{kind}-two")) for kind, one in runs.items()]
    run_two(f"""
from electra.workflows.pretrain import *
from electra.workflows.pretraining.config import *
from electra.engine.optim import *
from electra.engine.train import Engine
from electra.model.config import *
from electra.objectives.build import *
for each in {shared!r}:
    pretrain(each)
""")
    for kind, one in runs.items():
        close(lines(pretrain(one)), lines(tmp_path / f"{kind}-two"))


def test_a_generator_that_nobody_trained_is_asked_for(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nobody trained it"):
        pretrain(config(prepared, tmp_path / "run", "fast-electra", first=0.0))
    assert not (tmp_path / "run").exists()
    before = pretrain(config(prepared, tmp_path / "before", "decoupled"))
    taken = replace(config(prepared, tmp_path / "run", "fast-electra", first=0.0), init=str(before))
    run = pretrain(taken)
    ours, theirs = (load_file(each / "final" / "generator" / "model.safetensors") for each in (run, before))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours), "frozen"


@pytest.mark.parametrize("kind", STAGED)
@pytest.mark.parametrize("budget", ["tokens", "flops"])
def test_a_budget_is_for_all_stages_together(prepared: Path, tmp_path: Path, kind: str, budget: str) -> None:
    asked, steps = config(prepared, tmp_path / "whole", kind), 4 * STEPS
    phases, engine = (Phase(steps=steps, length=32, rows=8),), replace(asked.engine, save_every=0)
    whole = replace(asked, phases=phases, engine=engine)
    spent = lines(pretrain(whole))[-1][budget]
    half = lines(pretrain(replace(whole, out=str(tmp_path / "half"), **{budget: spent / 2})))[-1]
    assert half[budget] == pytest.approx(spent / 2, rel=0.15) and half["step"] == steps // 2
