"""Runs that branch off a checkpoint of another one and let their learning rate fall to 0."""

import shutil
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from compositions import EVERY, NAMES
from electra.cli import main
from electra.config import plain_tree
from electra.corpus.prepare import PrepareConfig, prepare
from electra.engine.optim import LinearDecay, WarmupStableDecay
from electra.engine.parallel import Parallel
from electra.engine.telemetry import read_metrics
from electra.errors import UserError
from electra.run_folder import read_json
from electra.workflows.pretrain import create_pretrainers, open_data, pretrain, print_nothing, run_pretraining
from electra.workflows.pretraining import cooling
from electra.workflows.pretraining.branching import take_run_settings
from electra.workflows.pretraining.config import Phase, PretrainConfig
from electra.workflows.pretraining.stages import plan_stages
from processes import run_two
from runs import ENGINE, config, same_runs

LEVEL = WarmupStableDecay(warmup=2, decay=0.0)  # from which a cool-down is usually taken


def long_run(data: Path, out: Path, kind: str = "electra", encoder: str = "classic", **changes: Any) -> PretrainConfig:
    """12 steps at a level rate, with all checkpoints of every fourth."""
    engine = replace(ENGINE, save_every=4, keep=0)
    asked = config(data, out, kind, encoder, schedule=LEVEL, engine=engine, phases=(Phase(12, 32, 8),))
    return replace(asked, **changes)


@pytest.fixture(scope="module")
def run(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrain(long_run(prepared, tmp_path_factory.mktemp("level") / "run"))


def at(run: Path, step: int) -> str:
    return str(run / "checkpoints" / f"step-{step:08d}")


def cooled(run: Path, step: int, out: Path, share: float = 0.25) -> PretrainConfig:
    return replace(take_run_settings(at(run, step)), from_=at(run, step), cool_down=share, out=str(out))


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file()}  # fmt: skip


def rates(run: Path) -> list[float]:
    found = [line for line in read_metrics(run / "metrics.jsonl") if line["split"] == "train"]
    return [line["learning_rate/generator/rest"] / 2e-3 for line in found]


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_branch_is_the_run_that_was_planned_so(
    prepared: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit: weights, moments and figures; stopped twice, and the other run away by the end."""
    schedule = WarmupStableDecay(warmup=2, decay=0.2)  # of 10 steps: the last two
    planned = long_run(prepared, tmp_path / "planned", schedule=schedule, phases=(Phase(10, 32, 8),))
    pretrain(planned)
    copied = tmp_path / "copied"
    shutil.copytree(run, copied)
    before = contents(copied)
    command = ["pretrain", "--from", at(copied, 8), "--cool-down", "0.25", "--out", str(tmp_path / "cooled")]
    with monkeypatch.context() as patched:  # as Ctrl-C when all is there but the checkpoint
        patched.setattr(cooling.checkpoint, "save_checkpoint", interrupt)
        assert main(command) == 130
    assert main([*command, "--stop-after", "0.001s"]) == 75
    assert contents(copied) == before
    copied.rename(tmp_path / "moved")
    assert main(["pretrain", "--out", str(tmp_path / "cooled")]) == 0
    assert main(command) == 0, "it is finished"
    assert same_runs(tmp_path / "cooled", tmp_path / "planned")
    assert rates(tmp_path / "cooled") == pytest.approx([0.5, *[1.0] * 8, 0.5])
    environment = read_json(tmp_path / "cooled" / "environment.json", "")
    assert environment["step"] == 8 and len(environment["from"]) == 32
    assert [start["step"] for start in environment["starts"]] == [8, 9]
    assert (tmp_path / "cooled" / "final" / "discriminator").is_dir()


@pytest.mark.slow
def test_a_branch_off_the_end_of_a_level_run(run: Path, tmp_path: Path) -> None:
    branch = pretrain(cooled(run, 12, tmp_path / "cooled", 1 / 6))
    assert rates(branch)[-3:] == pytest.approx([1.0, 1.0, 0.5])
    assert read_metrics(branch / "metrics.jsonl")[-1]["step"] == 14


def test_what_cannot_be_branched_off_says_so(prepared: Path, run: Path, tmp_path: Path) -> None:
    linear = pretrain(
        long_run(prepared, tmp_path / "linear", schedule=LinearDecay(warmup=2), phases=(Phase(4, 32, 8),))
    )
    asked = cooled(run, 8, tmp_path / "cooled")
    for changed, message in (
        (
            {"from_": str(run)},
            r"no checkpoint, as .*; in its checkpoints/ are step-00000004, step-00000008, step-000000",
        ),
        ({"from_": ""}, "--cool-down: from which checkpoint"),
        ({"cool_down": 0.0}, "--from: over how many steps"),
        ({"seed": 2}, "keeps its run's settings, which need not be given: seed: 1 there, 2 now"),
        ({"tokens": 1e6}, "which need not be given: tokens: 0.0 there, 1000000.0 now"),
        ({"init": str(run)}, "which need not be given: init: "),
        ({"out": str(run)}, "this folder holds a run of another config: cool_down: 0.0 there, 0.25 now"),
    ):
        with pytest.raises(UserError, match=message):
            pretrain(replace(asked, **changed))
    with pytest.raises(UserError, match="the learning rate is 0 there; take a checkpoint before the run's end"):
        pretrain(cooled(linear, 4, tmp_path / "cooled"))
    assert main(["pretrain", "--from", at(run, 8), "--cool-down", "0.1"]) == 2, "no --out"
    assert not (tmp_path / "cooled").exists()
    moved = tmp_path / "alone" / "step-00000008"
    shutil.copytree(at(run, 8), moved)
    with pytest.raises(UserError, match="alone/step-00000008: not in the folder of its run, whose config.json says"):
        take_run_settings(str(moved))


def test_a_damaged_checkpoint_begins_nothing(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    file = Path(at(tmp_path / "run", 8)) / "optimizer.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match="optimizer.safetensors is not as it was written"):
        pretrain(cooled(tmp_path / "run", 8, tmp_path / "cooled"))
    assert not (tmp_path / "cooled").exists()


@pytest.mark.slow
def test_a_first_stage_is_refused_and_its_encoder_goes_along(prepared: Path, tmp_path: Path) -> None:
    asked = long_run(prepared, tmp_path / "run", "warmed-electra", phases=(Phase(8, 32, 8),))
    engine, objective = replace(asked.engine, save_every=1), replace(asked.objective, first=0.5)
    run = pretrain(replace(asked, engine=engine, objective=objective))
    lines = read_metrics(run / "metrics.jsonl")
    assert [line["step"] > 4 for line in lines] == [bool(line["phase"]) for line in lines]  # the change is after step 4
    branch = pretrain(cooled(run, 6, tmp_path / "cooled"))
    name = "final/encoder/model.safetensors"
    assert (branch / name).read_bytes() == (run / name).read_bytes()
    assert (branch / "final" / "discriminator").is_dir() and read_metrics(branch / "metrics.jsonl")[-1]["step"] == 8
    for step, message in (
        (3, "saved in a first stage of warmed-electra, .*; take a checkpoint after step 4"),
        (4, "at a change of phase, where all begins anew"),
    ):
        with pytest.raises(UserError, match=message):
            pretrain(cooled(run, step, tmp_path / "none"))
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_a_phase_that_goes_on_reads_on(prepared: Path, tmp_path: Path) -> None:
    """More rows a step: 4 steps of 8 and 2 of 16 read what 8 steps of 8 do, in that order; longer rows begin anew."""
    phases = (Phase(4, 16, 8), Phase(2, 16, 16, True), Phase(1, 32, 8, True))
    asked = long_run(prepared, tmp_path / "run", phases=phases)
    parallel, data = Parallel.start(), open_data(asked)
    plan = plan_stages(asked, create_pretrainers(asked, data, print_nothing), data, parallel)
    stages, _ = plan.scaled(1.0)
    assert [stage.reads_on for stage in stages] == [False, True, False]
    pretrain(replace(asked, phases=phases[:2]))
    place = stages[0].source.start
    for step in (4, 6):
        _, place = stages[0].source.take(place, 32)
        assert read_json(Path(at(tmp_path / "run", step)) / "state.json", "")["place"] == asdict(place)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "encoder"), EVERY, ids=NAMES)
def test_every_objective_branches_off_and_resumes(prepared: Path, tmp_path: Path, kind: str, encoder: str) -> None:
    """Two phases of other rows, the schedule going on; the budget in tokens."""
    phases = (Phase(6, 16, 8), Phase(6, 32, 8, goes_on=True))
    asked = long_run(prepared, tmp_path / "run", kind, encoder, phases=phases, tokens=10 * 8 * 24)
    run = pretrain(replace(asked, schedule=LinearDecay(warmup=2)))
    branch = cooled(run, 8, tmp_path / "cooled", 0.5)
    whole = pretrain(branch)
    stopped = replace(branch, out=str(tmp_path / "stopped"))
    for _ in range(2):
        assert not run_pretraining(replace(stopped, stop_after="0.001s")).finished
    shutil.rmtree(run)
    assert run_pretraining(stopped).finished
    assert same_runs(whole, tmp_path / "stopped")
    after = [line for line in read_metrics(whole / "metrics.jsonl") if line["split"] == "train" and line["step"] > 8]
    name = next(name for name in after[0] if name.startswith("learning_rate/"))
    falling = [line[name] for line in after]
    assert falling == pytest.approx([falling[0] * share for share in (1, 0.75, 0.5, 0.25)])
    assert plain_tree(branch)["phases"][0]["steps"] == 6


@pytest.mark.slow
def test_the_data_may_lie_elsewhere_and_be_no_other(prepared: Path, run: Path, tmp_path: Path) -> None:
    shutil.copytree(prepared, tmp_path / "copied")
    (tmp_path / "text.txt").write_text("\n\n".join(f"other text, number {n}" for n in range(300)))
    tokenizer, other = str(prepared / "tokenizer"), str(tmp_path / "other")
    prepare(PrepareConfig((str(tmp_path / "text.txt"),), tokenizer, other, held_out=0.2))
    asked = cooled(run, 8, tmp_path / "cooled")
    with pytest.raises(
        UserError, match="step-00000008: this checkpoint was trained with other data than are given now"
    ):
        pretrain(replace(asked, data=other))
    assert not (tmp_path / "cooled").exists()
    pretrain(replace(asked, data=str(tmp_path / "copied"), engine=replace(asked.engine, micro_rows=4, keep=1)))


@pytest.mark.slow
def test_a_run_that_was_fitted_to_a_time_branches_off(prepared: Path, tmp_path: Path) -> None:
    """Its steps were scaled when it began; the branch measures nothing."""
    asked = long_run(prepared, tmp_path / "run", hours=4 / 3600, schedule=WarmupStableDecay(warmup=2, decay=0.0))
    run = pretrain(replace(asked, engine=replace(ENGINE, save_every=1, keep=2)))
    first, last = sorted(path.name for path in (run / "checkpoints").iterdir())
    steps = [int(name.removeprefix("step-")) for name in (first, last)]
    for step in steps:
        branch = pretrain(cooled(run, step, tmp_path / f"cooled-{step}", 0.5))
        end = read_metrics(branch / "metrics.jsonl")[-1]["step"]
        assert end == step + max(1, round(step / 2)) and rates(branch)[step:][0] == pytest.approx(1.0)


@pytest.mark.slow
def test_two_processes_branch_off_as_one_does(prepared: Path, run: Path, tmp_path: Path) -> None:
    one = cooled(run, 8, tmp_path / "one")
    run_two(f"""
from electra.dataset.layout import *
from electra.workflows.pretrain import *
from electra.workflows.pretraining.config import *
from electra.engine.optim import *
from electra.engine.train import Engine
from electra.model.config import *
from electra.objectives.build import *
asked = {replace(one, out=str(tmp_path / "two"))!r}
assert not run_pretraining(replace(asked, stop_after="0.001s")).finished
assert run_pretraining(asked).finished
""")
    ours, theirs = (read_metrics(each / "metrics.jsonl") for each in (pretrain(one), tmp_path / "two"))
    assert len(ours) == len(theirs) == 11
    for each, other in zip(ours, theirs, strict=True):
        assert each["generator/loss"] == pytest.approx(other["generator/loss"], rel=2e-4)
