"""Laws 1, 5, 6 and 8 on the real thing: a tiny run on real text, stopped, resumed, shared out and broken."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from electra.config import plain_tree
from electra.corpus.prepare import PrepareConfig, prepare
from electra.dataset.data import Data
from electra.dataset.layout import Packed
from electra.engine.optim import AdamW, GoogleAdam, LinearDecay, Muon, WarmupStableDecay
from electra.engine.train import Engine, Evaluate, Loop
from electra.errors import UserError
from electra.files import LOCK
from electra.model.config import ClassicConfig, ModernConfig
from electra.objectives.build import CocoLm, Electra, Mlm, WarmedElectra
from electra.run_folder import hold_folder
from electra.tasks.datasets.labelled import Columns
from electra.workflows.export import ExportConfig, export
from electra.workflows.pretrain import pretrain
from electra.workflows.pretraining.config import Phase, PretrainConfig
from electra.workflows.pretraining.extension import choose_length, read_lengths
from electra.workflows.pretraining.resuming import compares_rows
from electra.workflows.status import StatusConfig, status
from processes import Running, run_python, run_two

CLASSIC = ClassicConfig(hidden_size=64, layers=2, heads=2, intermediate_size=128, embedding_size=32, max_positions=64)
LIMIT = 3.7e9  # operations: thirty steps of masked language modelling of CLASSIC
MODERN = ModernConfig(
    hidden_size=64, layers=3, heads=2, intermediate_size=96, max_positions=64, local_window=16, dropout=0.1
)


def config(data: Path, out: Path, steps: int = 20, **changes: object) -> PretrainConfig:
    base = PretrainConfig(
        data=str(data),
        out=str(out),
        encoder=CLASSIC,
        optimizer=AdamW(learning_rate=2e-3),
        schedule=LinearDecay(warmup=5),
        phases=(Phase(steps=steps, length=32, rows=8),),
        engine=Engine(compile="never", precision="float32", log_every=1, evaluate_every=10, save_every=10),
        held_out_rows=16,
    )
    return replace(base, **changes)


def weights(out: Path, step: int = 20) -> dict[str, torch.Tensor]:
    return load_file(out / "checkpoints" / f"step-{step:08d}" / "model.safetensors")


def lines(out: Path, split: str = "train") -> list[dict]:
    timed = ("seconds", "tokens_per_second")
    every = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in timed} for line in every if line["split"] == split]


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


RECIPES = {
    "classic": {},
    "modern-muon-packed": {
        "encoder": MODERN,
        "objective": Electra(generator_width=1.0, generator_depth=0.34),
        "optimizer": Muon(),
        "layout": Packed(),
    },
    "mlm-google": {"objective": Mlm(), "optimizer": GoogleAdam(), "schedule": WarmupStableDecay(warmup=3)},
    "two-phases": {"phases": (Phase(steps=8, length=32, rows=8), Phase(steps=12, length=64, rows=4))},
}


@pytest.mark.parametrize("name", RECIPES)
def test_resume_is_exact(prepared: Path, tmp_path: Path, name: str) -> None:
    """20 steps ≡ 10 steps, a kill, 10 more: bit for bit, figures included."""
    whole = config(prepared, tmp_path / "whole", **RECIPES[name])
    pretrain(whole)
    broken = replace(whole, out=str(tmp_path / "broken"))
    code = f"""
import os
from electra.dataset.layout import *
from electra.engine import checkpoint
from electra.workflows.pretrain import *
from electra.workflows.pretraining.config import *
from electra.engine.optim import *
from electra.engine.train import Engine
from electra.model.config import ModernConfig
from electra.objectives.build import *
save = checkpoint.save_checkpoint
def save_and_die(*arguments):
    save(*arguments)
    os.kill(os.getpid(), 9)
checkpoint.save_checkpoint = save_and_die
pretrain({broken!r})
"""
    killed = run_python(code)
    assert killed.code == -signal.SIGKILL, killed.err
    assert [p.name for p in (tmp_path / "broken" / "checkpoints").iterdir()] == ["step-00000010"]
    pretrain(broken)
    pretrain(broken)  # it is finished: no start
    (start,) = json.loads((tmp_path / "broken" / "environment.json").read_text())["starts"]
    assert start["step"] == 10 and start["packages"]["torch"] == torch.__version__
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "broken"))
    assert lines(tmp_path / "whole") == lines(tmp_path / "broken")
    assert lines(tmp_path / "whole", "held-out") == lines(tmp_path / "broken", "held-out")


@pytest.mark.slow
@pytest.mark.compiled
def test_compiled_steps_on_two_threads_repeat(prepared: Path, tmp_path: Path) -> None:
    """Gradients of embeddings, to which every thread adds, included."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    runs = [config(prepared, tmp_path / name, engine=Engine(save_every=0, evaluate_every=0)) for name in ("one", "two")]
    for run in runs:
        pretrain(run)
    torch.set_num_threads(threads)
    assert same(*(weights(Path(run.out)) for run in runs))


def test_accumulation_gives_the_same_curve(prepared: Path, tmp_path: Path) -> None:
    """Micro-batches change the order of sums and nothing else: dropout is on, and addressed by row."""
    pretrain(config(prepared, tmp_path / "one"))
    split = Engine(compile="never", precision="float32", log_every=1, evaluate_every=10, save_every=10, micro_rows=2)
    pretrain(config(prepared, tmp_path / "four", engine=split))
    close(lines(tmp_path / "one"), lines(tmp_path / "four"))


def close(first: list[dict], second: list[dict]) -> None:
    assert len(first) == len(second) > 0
    for one, two in zip(first, second, strict=True):
        assert one.keys() == two.keys()
        for name in ("generator/loss", "discriminator/loss", "gradient_norm/total"):
            assert one[name] == pytest.approx(two[name], rel=2e-4), (one["step"], name)


@pytest.mark.parametrize("sharing", ["shared", pytest.param("own", marks=pytest.mark.slow)])
def test_two_processes_give_the_curve_of_one(prepared: Path, tmp_path: Path, sharing: str) -> None:
    """Law 1 under DDP with gloo, dropout on."""
    one = config(prepared, tmp_path / "one", objective=Electra(embeddings=sharing))
    pretrain(one)
    code = f"""
from electra.workflows.pretrain import *
from electra.workflows.pretraining.config import *
from electra.engine.optim import *
from electra.engine.train import Engine
from electra.model.config import ModernConfig
from electra.objectives.build import *
pretrain({replace(one, out=str(tmp_path / "two"))!r})
"""
    run_two(code)
    close(lines(tmp_path / "one"), lines(tmp_path / "two"))
    for name, value in weights(tmp_path / "one").items():
        torch.testing.assert_close(value, weights(tmp_path / "two")[name], rtol=0, atol=2e-4)


def test_sigterm_saves_and_the_run_goes_on(prepared: Path, tmp_path: Path) -> None:
    asked = config(prepared, tmp_path / "run", steps=4000)
    code = f"""
from electra.workflows.pretrain import *
from electra.workflows.pretraining.config import *
from electra.engine.optim import *
from electra.engine.train import Engine
from electra.model.config import ModernConfig
from electra.objectives.build import *
pretrain({asked!r})
"""
    process = Running(code)
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (metrics.exists() and metrics.read_text().count("\n") > 3):
        assert process.is_running() and time.monotonic() < deadline
        time.sleep(0.05)
    (alive,) = status(StatusConfig((asked.out,)))
    assert (alive.state, alive.process, alive.steps) == ("running", process.pid, 4000)
    os.kill(process.pid, signal.SIGTERM)
    told = process.end(60)
    assert told.code == 0 and "stopped at step" in told.out
    assert not (tmp_path / "run" / "final").exists()
    saved = max((tmp_path / "run" / "checkpoints").iterdir())
    assert json.loads((saved / "state.json").read_text())["step"] == lines(tmp_path / "run")[-1]["step"]
    (stopped,) = status(StatusConfig((asked.out,)))
    assert stopped.state == "stopped" and stopped.step == stopped.checkpoint and not stopped.damages


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU records")
def test_a_run_that_cannot_record_leaves_no_folder(prepared: Path, tmp_path: Path) -> None:
    asked = config(prepared, tmp_path / "run")
    with pytest.raises(UserError, match="cuda_graphs"):
        pretrain(replace(asked, engine=replace(asked.engine, cuda_graphs=True)))
    assert not (tmp_path / "run").exists()


def test_a_folder_that_another_process_trains_in_is_refused(prepared: Path, tmp_path: Path) -> None:
    with hold_folder(tmp_path / "run", "run of pretrain"):
        with pytest.raises(UserError, match=rf"run: process {os.getpid()} on \S+, since .* works there"):
            pretrain(config(prepared, tmp_path / "run"))
        assert [path.name for path in (tmp_path / "run").iterdir()] == [LOCK]
    assert not (tmp_path / "run").exists()


def test_another_config_is_refused(prepared: Path, tmp_path: Path) -> None:
    first = config(prepared, tmp_path / "run", steps=10)
    pretrain(first)
    before = weights(tmp_path / "run", 10)
    with pytest.raises(UserError, match="optimizer.learning_rate: 0.002 there, 0.1 now"):
        pretrain(replace(first, optimizer=AdamW(learning_rate=0.1)))
    assert same(before, weights(tmp_path / "run", 10))


def test_other_data_under_the_same_name_is_refused(prepared: Path, tmp_path: Path) -> None:
    shutil.copytree(prepared, tmp_path / "data")
    first = config(tmp_path / "data", tmp_path / "run", steps=3)
    pretrain(first)
    shutil.rmtree(tmp_path / "data")
    (tmp_path / "text.txt").write_text("\n\n".join(f"other text, number {n}" for n in range(300)))
    tokenizer = str(prepared / "tokenizer")
    prepare(PrepareConfig((str(tmp_path / "text.txt"),), tokenizer, str(tmp_path / "data"), held_out=0.2))
    with pytest.raises(UserError, match="begun on other data"):
        pretrain(first)


def test_a_run_comes_from_contents_however_they_are_spelled(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = "".join(f"{word} {number},{word}\n" for word in ("module", "value") for number in range(30))
    (tmp_path / "mine.csv").write_text("text,label\n" + rows)
    pretrain(config(prepared, tmp_path / "first", steps=3))
    shutil.copytree(tmp_path / "first" / "final", tmp_path / "init")
    first = config(prepared, tmp_path / "run", steps=3, init=str(tmp_path / "init"), probe=str(tmp_path / "mine.csv"))
    pretrain(first)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(prepared, tmp_path / "copied")
    pretrain(replace(first, out="./run/", data="copied", init="init", probe="../" + tmp_path.name + "/mine.csv"))
    (tmp_path / "mine.csv").write_text("text,label\n" + rows.replace("module 1,", "module 1 x,"))
    with pytest.raises(UserError, match=r"run: this run was begun on other texts to probe than \S*mine.csv holds now"):
        pretrain(first)
    (tmp_path / "mine.csv").write_text("text,label\n" + rows)
    shutil.rmtree(tmp_path / "init")
    pretrain(first)  # its weights are in the checkpoint
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    del environment["init"]
    (tmp_path / "run" / "environment.json").write_text(json.dumps(environment))
    with pytest.raises(UserError, match="does not say which initial weights this run was begun on; choose another"):
        pretrain(first)


def test_what_changes_no_result_may_change_and_is_recorded(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = config(prepared, tmp_path / "run", steps=2)
    pretrain(first)
    shutil.rmtree(tmp_path / "run" / "final")  # as after a kill behind the last step
    shutil.copytree(prepared, tmp_path / "moved")
    (tmp_path / "run").rename(tmp_path / "there")
    monkeypatch.chdir(tmp_path / "moved")
    engine = replace(
        first.engine, micro_rows=4, log_every=2, keep=1, save_every=3, evaluate_every=5, activation_checkpointing=True
    )
    pretrain(replace(first, out="../there/", data=".", engine=engine))
    (start,) = json.loads((tmp_path / "there" / "environment.json").read_text())["starts"]
    assert start["changed"]["engine.micro_rows"] == {"before": 0, "now": 4}
    assert start["changed"]["data"] == {"before": str(prepared), "now": "."}
    assert len(start["changed"]) == 8
    assert json.loads((tmp_path / "there" / "config.json").read_text())["data"] == "."


def test_a_best_by_no_figure_of_the_run_is_refused_before_anything_is_written(prepared: Path, tmp_path: Path) -> None:
    for figure, message in (
        ("discriminator/skil", "'discriminator/skil' is no figure by which a checkpoint is better"),
        (
            "encoder/loss",
            "no figure 'encoder/loss' of held-out text; there are discriminator/auc, discriminator/loss, d",
        ),
        ("probe/best", "no figure 'probe/best'"),
    ):
        asked = config(prepared, tmp_path / "run", engine=Engine(compile="never", keep_best=figure))
        with pytest.raises(UserError, match=f"engine.keep_best: .*{message}"):
            pretrain(asked)
        assert not (tmp_path / "run").exists()


def test_rows_that_are_compared_bind_micro_rows() -> None:
    for objective, bound in ((Electra(), False), (CocoLm(), True), (CocoLm(contrast_weight=0.0), False)):
        assert compares_rows(objective) == bound


def test_a_run_is_lengthened_and_says_what_it_does(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """As if it had been of that length; the same command again is the same run, and so is the folder alone."""
    first = config(prepared, tmp_path / "run", steps=4, schedule=LinearDecay(warmup=0))
    pretrain(first)
    longer = replace(first, extend=True, tokens=8.0 * 8 * 32)
    pretrain(longer)
    assert (
        "4 steps become 8, with the schedule of a run of that length: at step 4 the learning rate is 0.500 of its "
        "peak, where it was 0.000" in capsys.readouterr().out
    )
    rates = [line["learning_rate/generator/rest"] for line in lines(tmp_path / "run")]
    expected = [2e-3 * (1 - s / 4) for s in range(4)] + [2e-3 * (1 - s / 8) for s in range(4, 8)]
    assert rates == pytest.approx(expected, rel=1e-5)
    before = weights(tmp_path / "run", 8)
    pretrain(longer)
    pretrain(replace(longer, extend=False))
    (start,) = json.loads((tmp_path / "run" / "environment.json").read_text())["starts"]
    assert start["changed"] == {"tokens": {"before": 0.0, "now": 2048.0}} and start["step"] == 4
    assert same(before, weights(tmp_path / "run", 8)) and not (tmp_path / "run" / "final" / ".electra.lock").exists()
    for changed, message in (
        ({"tokens": 4.0 * 8 * 32}, "--extend: the run has 8 steps, and that would be 4: give more"),
        ({"tokens": 0.0}, "--extend: to how much"),
        ({"out": str(tmp_path / "none")}, "none holds no run to lengthen"),
        ({"extend": False, "tokens": 1e5}, r"tokens: 2048.0 there, 100000.0 now"),
    ):
        with pytest.raises(UserError, match=message):
            pretrain(replace(longer, **changed))
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"phases": (Phase(2, 32, 8), Phase(2, 32, 8))}, "only where one objective trains in one phase"),
        ({"objective": WarmedElectra()}, "only where one objective trains in one phase"),
        ({"hours": 1.0}, "a run of --hours was fitted to a time"),
        ({"from_": "step-1", "cool_down": 0.1}, "a run that cools down ends there"),
    ],
)
def test_what_cannot_be_lengthened_says_so(tmp_path: Path, changes: dict, message: str) -> None:
    begun = config(Path("data"), tmp_path, **changes)
    (tmp_path / "config.json").write_text(json.dumps(plain_tree(begun)))
    with pytest.raises(UserError, match=message):
        read_lengths(replace(begun, extend=True, tokens=1e6))


def test_the_budget_that_is_new_is_the_one_that_is_meant() -> None:
    """The folder's own comes from its config.json, which lies under the flags."""
    both = config(Path("data"), Path("run"), extend=True, tokens=1e6, flops=1e12)
    assert choose_length(both, {"tokens": 1e6, "flops": 0.0}).tokens == 0
    assert choose_length(both, {"tokens": 0.0, "flops": 1e12}).flops == 0


def test_what_is_given_to_others_has_no_path_of_the_machine(prepared: Path, tmp_path: Path) -> None:
    run = pretrain(config(prepared, tmp_path / "run", steps=3))
    again = pretrain(config(prepared, tmp_path / "again", steps=3, init=str(run / "final")))
    hub = export(ExportConfig(run=str(again), out=str(tmp_path / "hub")))
    machine = [str(folder).encode() for folder in (tmp_path, prepared, Path.home(), Path.cwd())]
    for folder in (again / "final", hub):
        there = [file for file in folder.rglob("*") if file.is_file()]
        assert len(there) > 8
        for file in there:
            assert not [path for path in machine if path in file.read_bytes()], file
    size = Data.open(prepared).vocab_size
    assert size != config(prepared, tmp_path / "run").encoder.vocab_size
    for folder in (again / "final", hub):  # what the tower has, not what the config asked for
        assert f'"vocab_size": {size}' in (folder / "discriminator" / "README.md").read_text()
    card = (hub / "discriminator" / "README.md").read_text()
    assert '"init": "final"' in card and '"out": "again"' in card and '"data": "data"' in card


def test_a_flipped_bit_in_the_data_is_found_at_the_start(prepared: Path, tmp_path: Path) -> None:
    shutil.copytree(prepared, tmp_path / "data")
    shard = tmp_path / "data" / "train-00000-000.shard"
    content = bytearray(shard.read_bytes())
    content[5000] ^= 1
    shard.write_bytes(content)
    with pytest.raises(UserError, match=f"{shard}: damaged: its checksum"):
        pretrain(config(tmp_path / "data", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["config.json", "environment.json"])
def test_a_damaged_run_folder_is_named(prepared: Path, tmp_path: Path, name: str) -> None:
    asked = config(prepared, tmp_path / "run", steps=1)
    pretrain(asked)
    (tmp_path / "run" / name).write_text('{"data": ')
    with pytest.raises(UserError, match=f"{name}: "):
        pretrain(asked)


def test_a_gradient_that_is_not_finite_stops_with_the_place(prepared: Path, tmp_path: Path) -> None:
    wild = config(prepared, tmp_path / "run", optimizer=AdamW(learning_rate=1e30), schedule=WarmupStableDecay(warmup=0))
    with pytest.raises(UserError, match=r"not finite at step \d+ .*epoch"):
        pretrain(wild)
    (dump,) = (tmp_path / "run").glob("not-finite-step-*")
    rows = load_file(dump / "batch.safetensors")
    assert rows["ids.0"].shape == (8, 32) and "address.0" in rows


def test_a_probe_tells_of_ones_own_task(prepared: Path, tmp_path: Path) -> None:
    rows = [f"{word} {verb} the {noun},{word}" for word in ("module", "value") for verb in "abcde" for noun in "vwxyz"]
    (tmp_path / "mine.csv").write_text("\n".join(["body,topic", *rows]))
    asked = config(
        prepared, tmp_path / "run", probe=str(tmp_path / "mine.csv"), probe_columns=Columns("body", label="topic")
    )
    pretrain(asked)
    pretrain(config(prepared, tmp_path / "plain"))
    found = lines(tmp_path / "run", "held-out")
    assert [line["step"] for line in found] == [10, 20] and all(line["probe/best"] > 0.9 for line in found)
    assert 0 < found[0]["probe/majority"] < 0.9 and {"probe/last", "probe/best_layer"} <= found[0].keys()
    assert same(weights(tmp_path / "run"), weights(tmp_path / "plain")), "looking changes nothing"
    with pytest.raises(UserError, match=r"mine.csv, line 2: no 'label': 'body', 'topic'"):
        pretrain(replace(asked, out=str(tmp_path / "other"), probe_columns=Columns()))
    assert not (tmp_path / "other").exists()


def test_tokens_rescale_steps_and_warmup(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("electra.engine.scaling.ENOUGH_STEPS", 40)
    monkeypatch.setattr("electra.engine.scaling.FEWEST_TOKENS", 64)
    pretrain(config(prepared, tmp_path / "run", steps=1000, tokens=10 * 8 * 32, schedule=LinearDecay(warmup=400)))
    rates = [line["learning_rate/generator/rest"] for line in lines(tmp_path / "run")]
    assert len(rates) == 10
    said = "warning: 10 steps of 256 tokens each are few to learn from; --phases.0.rows 2 makes 40 of them"
    assert said in capsys.readouterr().out
    assert rates == pytest.approx([2e-3 * (1 - s / 10) * min(1, s / 4) for s in range(10)], rel=1e-5)


def test_hours_end_in_about_that_time(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passed, clock, step = [0.0], time.monotonic, Loop.step

    def step_of_a_second(loop: Loop, stop: bool = False) -> None:
        step(loop, stop)
        passed[0] += 1.0

    monkeypatch.setattr(Loop, "step", step_of_a_second)
    monkeypatch.setattr(time, "monotonic", lambda: clock() + passed[0])
    engine = Engine(compile="never", evaluate_every=0, save_every=0)
    pretrain(config(prepared, tmp_path / "run", steps=10**6, hours=60 / 3600, engine=engine))
    last = lines(tmp_path / "run")[-1]
    assert 20 <= last["step"] <= 48  # of 60 seconds 12 went into the measuring; on a busy machine a step takes longer
    assert last["learning_rate/generator/rest"] == pytest.approx(2e-3 / last["step"])  # the schedule came to its end


@pytest.mark.parametrize(
    ("changes", "seconds_of_step"),
    [
        ({"objective": WarmedElectra(first=0.5)}, lambda loop: 4.0 if "discriminator" in loop.module.parts() else 1.0),
        (
            {"objective": WarmedElectra(first=0.5, first_flops=LIMIT)},
            lambda loop: 4.0 if "discriminator" in loop.module.parts() else 1.0,
        ),
        (
            {"phases": (Phase(steps=50, length=32, rows=2), Phase(steps=50, length=32, rows=8, goes_on=True))},
            lambda loop: loop.stages[min(loop.state.phase, len(loop.stages) - 1)].rows / 2,
        ),
    ],
    ids=["another module", "another module, the first limited", "other rows"],
)
def test_hours_know_that_a_later_stage_has_other_steps(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict, seconds_of_step: Callable
) -> None:
    """A step of the second stage takes four times as long as one of the first, and an evaluation five seconds."""
    passed, step, log_held_out = [0.0], Loop.step, Loop.log_held_out

    def step_of_seconds(loop: Loop, stop: bool = False) -> None:
        passed[0] += seconds_of_step(loop)
        step(loop, stop)

    def fit(loop: Loop, seconds: float, evaluate: Evaluate) -> None:
        def evaluate_of_seconds(module: nn.Module) -> dict[str, float]:
            passed[0] += 5.0
            return evaluate(module)

        real_fit(loop, seconds, evaluate_of_seconds)

    def log_of_seconds(loop: Loop, evaluate: Evaluate) -> None:
        passed[0] += 5.0
        log_held_out(loop, evaluate)

    real_fit = Loop.fit
    monkeypatch.setattr(Loop, "step", step_of_seconds)
    monkeypatch.setattr(Loop, "fit", fit)
    monkeypatch.setattr(Loop, "log_held_out", log_of_seconds)
    monkeypatch.setattr(time, "monotonic", lambda: passed[0])
    engine = Engine(compile="never", evaluate_every=10, save_every=0, log_every=1)
    pretrain(replace(config(prepared, tmp_path / "run", steps=100, hours=300 / 3600, engine=engine), **changes))
    phases = [line["phase"] for line in lines(tmp_path / "run")]
    assert phases.count(0) > 10 and phases.count(1) > 10
    assert passed[0] == pytest.approx(300, rel=0.05)
    if changes.get("objective") == WarmedElectra(first=0.5, first_flops=LIMIT):
        before = [line["flops"] for line in lines(tmp_path / "run") if line["phase"] == 0]
        assert before[-1] == pytest.approx(LIMIT, rel=0.05)
