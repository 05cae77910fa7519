"""Two processes that share a step: nothing is on the wrong device, and the first says what all of them do."""

import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from electra.engine.parallel import Parallel
from electra.engine.telemetry import read_metrics
from electra.errors import UserError
from electra.workflows.pretrain import pretrain
from electra.workflows.pretraining.config import Phase
from processes import run_together, run_two, start_together
from runs import ENCODERS, ENGINE, STEPS, config

HEAD = """
from pathlib import Path
from dataclasses import replace
import torch
from electra.engine.optim import *
from electra.engine.parallel import Parallel
from electra.engine.train import Engine
from electra.errors import UserError
from electra.model.config import *
from electra.objectives.build import *
from electra.workflows.pretrain import *
from electra.workflows.pretraining.config import *
parallel = Parallel.start()
"""


def test_the_first_process_says_it_for_all() -> None:
    run_two(
        """
import atexit, os
import torch
from electra.engine.agreement import Agreement
from electra.engine.parallel import Parallel
from electra.errors import UserError
# Runs after what is registered later. A group that is still there may abort a process whose work is done.
atexit.register(lambda: torch.distributed.is_initialized() and os._exit(3))
parallel = Parallel.start()
tensors = {"one": torch.ones(2) * (parallel.rank + 1), "two": torch.tensor(7)}
sums = parallel.sum(tensors)
assert sums["one"].tolist() == [3, 3] and sums["two"].item() == 14
assert tensors["one"].tolist() == [parallel.rank + 1] * 2, "the arguments are not changed"
assert parallel.any(parallel.first) and not parallel.any(False)
counts = {"a": torch.tensor(1.0 + parallel.rank), "b": torch.tensor(7.0)}
agreement = Agreement(parallel, counts, {"stop": parallel.first, "save": False})
assert agreement.requested("stop") and not agreement.requested("save")
assert {name: float(count) for name, count in agreement.counts().items()} == {"a": 3, "b": 14}
for machine, group in (("2", torch.distributed.group.WORLD), ("1", None), (str(2 - parallel.rank), None)):
    os.environ["LOCAL_WORLD_SIZE"] = machine
    assert parallel.find_machine_group() is group, "processes of machines that are not alike share nothing"
called = []
assert parallel.ask_first(lambda: called.append(1) or {"step": 3, "names": ["ö"]}) == {"step": 3, "names": ["ö"]}
assert len(called) == parallel.first
def fails():
    raise UserError("the folder is damaged")
try:
    parallel.ask_first(fails)
except UserError as error:
    assert str(error) == "the folder is damaged"
else:
    raise SystemExit(1)
mine = {"a/step": torch.tensor(3.0), "b": torch.arange(6, dtype=torch.int32).view(2, 3).T} if parallel.first else {}
received = parallel.broadcast_tensors(mine)
assert received["a/step"].item() == 3 and received["b"].dtype == torch.int32
assert received["b"].tolist() == [[0, 3], [1, 4], [2, 5]]
"""
    )


def test_shared_out_muon_moves_as_one_process_that_does_all() -> None:
    """Bit for bit, whether or not the matrices of a shape can be shared equally, in both types of products."""
    run_two(
        """
import torch
from electra.engine.optim import Muon, Optimizer, Parameter
from electra.engine.parallel import Parallel
torch.set_num_threads(1)  # PyTorch's batched products round by how many matrices each thread has
parallel = Parallel.start()
shapes = [(16, 16)] * 5 + [(48, 16)] * 2 + [(16, 24)] + [(7,)]
for products in (torch.float32, torch.bfloat16):
    optimizers, moved = [], []
    for group in (None, parallel.find_machine_group()):
        draw = torch.Generator().manual_seed(1)
        values = [torch.nn.Parameter(torch.randn(shape, generator=draw)) for shape in shapes]
        named = [Parameter(str(i), value, matrix=value.dim() == 2) for i, value in enumerate(values)]
        optimizer = Optimizer(Muon(), named, products, group)
        for _ in range(3):
            for value in values[1:]:  # no loss reaches the first
                value.grad = torch.randn(value.shape, generator=draw)
            optimizer.step(1.0)
        moved.append(values + list(optimizer.state().values()))
    assert all(torch.equal(one, other) for one, other in zip(*moved, strict=True)), products
    assert all(value.isfinite().all() for value in moved[0])
"""
    )


def test_a_process_that_hangs_is_named(tmp_path: Path) -> None:
    """The other two wait as long as they were told, say which it is, and end as after any mistake."""
    running = start_together(
        f"""
import time
from datetime import timedelta
from pathlib import Path
import torch
from electra.engine import groups
from electra.engine.parallel import Parallel
from electra.engine.process import hold_folder_for_all
from electra.errors import UserError
groups.GROUP_TIMEOUT, groups.ROLL_CALL = timedelta(seconds=1), timedelta(seconds=1)
parallel = Parallel.start()
try:
    with hold_folder_for_all(parallel, Path({str(tmp_path / "run")!r}), "run"):
        assert parallel.any(False) is False
        if parallel.rank == 1:
            time.sleep(600)
        parallel.any(False)
except UserError as error:
    print(error)
    raise SystemExit(2)
""",
        3,
    )
    ended = [running[rank].end(60) for rank in (0, 2)]
    hangs = rf"process 1 \(number {running[1].pid} on \S+\) did not answer within 0:00:01: hangs or is gone\n"
    for rank, each in zip((0, 2), ended, strict=True):
        assert each.code == 2 and re.fullmatch(f"process {rank} of 3: {hangs}", each.out), each
    assert running[1].is_running()
    running[1].process.kill()
    assert not (tmp_path / "run").exists()


def test_one_process_asks_nobody() -> None:
    alone = Parallel(0, 1, torch.device("cpu"))
    assert alone.ask_first(lambda: (1, 2)) == (1, 2)
    with pytest.raises(UserError, match="damaged"):
        alone.ask_first(lambda: (_ for _ in ()).throw(UserError("damaged")))


def test_a_run_goes_on_where_the_second_process_sees_no_folder(prepared: Path, tmp_path: Path) -> None:
    """Each process has a file system of its own: the run lies on the first one's."""
    run_config = config(prepared, tmp_path / "0", engine=replace(ENGINE, save_every=2, keep=STEPS))
    last = f"checkpoints/step-{STEPS:08d}"
    run_two(
        HEAD
        + f"""
import shutil
run_config = {run_config!r}
run = Path(run_config.out).with_name(str(parallel.rank))
pretrain(replace(run_config, out=str(run)))
if parallel.first:
    shutil.copytree(run, run.with_name("whole"))
    shutil.rmtree(run / "final")
    shutil.rmtree(run / {last!r})
parallel.wait()
pretrain(replace(run_config, out=str(run)))
"""
    )
    assert not (tmp_path / "1").exists()
    for name in ("model", "optimizer"):
        one, two = (load_file(tmp_path / run / last / f"{name}.safetensors") for run in ("0", "whole"))
        assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    lines = [
        [line["generator/loss"] for line in read_metrics(tmp_path / run / "metrics.jsonl")] for run in ("0", "whole")
    ]
    assert lines[0] == lines[1] and len(lines[0]) > STEPS


def test_what_else_two_processes_would_wait_for(prepared: Path, tmp_path: Path) -> None:
    """Fewer held-out rows than processes; a time that both measure; a checkpoint that the first finds damaged."""
    few = config(prepared, tmp_path / "one", held_out_rows=1)
    pretrain(few)
    timed = config(prepared, tmp_path / "timed", hours=0.5 / 3600)
    damaged = tmp_path / "two" / "checkpoints" / f"step-{STEPS:08d}" / "model.safetensors"
    run_two(
        HEAD
        + f"""
few = {replace(few, out=str(tmp_path / "two"))!r}
pretrain(few)
pretrain({timed!r})
if parallel.first:
    Path({str(damaged)!r}).write_bytes(b"x")
parallel.wait()
try:
    pretrain(few)
except UserError as error:
    assert "damaged checkpoint" in str(error)
else:
    raise SystemExit(1)
"""
    )
    one, two = (read_metrics(tmp_path / name / "metrics.jsonl")[-1] for name in ("one", "two"))
    assert one["split"] == "held-out" and one.keys() == two.keys()
    for name in ("generator/loss", "discriminator/loss", "discriminator/replaced_rate"):
        assert one[name] == pytest.approx(two[name], rel=1e-3)
    (state,) = (json.loads(path.read_text()) for path in (tmp_path / "timed").rglob("state.json"))
    assert state["step"] == state["steps"] and state["scale"] != 1


RECORDED = """
import hashlib, json
from electra.dataset.rows import Rows
from electra.engine.process import make_deterministic
from electra.engine.telemetry import SilentRecorder
from electra.engine.train import Loop
torch.set_num_threads(1)
make_deterministic(False, parallel.device)
read, take_batch = [], Rows.batch
def batch(rows, refs):
    read.append([list(ref[:3]) for ref in refs])
    return take_batch(rows, refs)
Rows.batch = batch

def train(config, folder, *stops):
    '''The losses of each step up to the last of ``stops``, saved at each; and the rows that each step read.'''
    data = open_data(config)
    (pretrainer,) = create_pretrainers(config, data, print_nothing)
    plan = plan_stages(config, [pretrainer], data, parallel)
    loop = Loop(plan, config.optimizer, config.engine, parallel, folder, SilentRecorder())
    losses, began = [], loop.state.step
    while loop.state.step < stops[-1]:
        loop.sums = {}
        loop.step()
        figures = loop.module.figures(parallel.sum(loop.sums))
        losses.append([figures["generator/loss"], figures["discriminator/loss"]])
        if loop.state.step in stops:
            loop.save()
    return {"began": began, "losses": losses, "rows": read[: len(losses)]}  # one more step's were made ahead
"""


class Trained(NamedTuple):
    """What ``RECORDED`` gives: the first step's number, the losses of each step, the addresses of its rows."""

    began: int
    losses: list[list[float]]
    rows: list[list[list[int]]]


def read_parts(folder: Path, part: str) -> Trained:
    """What the processes of a part of a run say: the rows of a step are those of the first, then of the next …"""
    ranks = [Trained(**json.loads(path.read_text())) for path in sorted(folder.glob(f"{part}-*.json"))]
    assert all(rank.losses == ranks[0].losses for rank in ranks)
    return ranks[0]._replace(rows=[list(chain(*rows)) for rows in zip(*(rank.rows for rank in ranks), strict=True)])


@pytest.mark.slow
def test_1_2_and_4_processes_read_the_same_rows_and_lose_the_same(prepared: Path, tmp_path: Path) -> None:
    """50 steps, dropout on, AdamW, float32: losses within 1e-4 at every step. And a run that is stopped on four
    processes, goes on on one, and then on four again: it reads every row that the whole run reads, once."""
    encoder = replace(ENCODERS["classic"], dropout=0.1, attention_dropout=0.1)
    run_config = replace(config(prepared, tmp_path, phases=(Phase(steps=50, length=32, rows=8),)), encoder=encoder)
    for world, part, stops in (
        (1, "one", (50,)), (2, "two", (50,)), (4, "four", (50,)),
        (4, "0", (20,)), (1, "1", (35,)), (4, "2", (50,)),
    ):  # fmt: skip
        folder = tmp_path / ("parts" if part.isdigit() else part)
        run_together(
            HEAD + RECORDED + f"""
figures = train({run_config!r}, Path({str(folder)!r}), *{stops})
Path({str(tmp_path)!r}, f"{part}-{{parallel.rank}}.json").write_text(json.dumps(figures))
""",
            world,
        )  # fmt: skip
    one, two, four = (read_parts(tmp_path, part) for part in ("one", "two", "four"))
    parts = [read_parts(tmp_path, part) for part in ("0", "1", "2")]
    assert [part.began for part in parts] == [0, 20, 35] and len(one.losses) == 50
    moved = Trained(0, [loss for part in parts for loss in part.losses], [rows for part in parts for rows in part.rows])
    for other in (two, four, moved):
        torch.testing.assert_close(torch.tensor(other.losses), torch.tensor(one.losses), rtol=1e-4, atol=0)
        assert other.rows == one.rows
    counted = Counter(tuple(row) for rows in moved.rows for row in rows)
    assert len(counted) == 50 * 8 and set(counted.values()) == {1}


@pytest.mark.slow
def test_torchrun_goes_on_by_itself_after_a_killed_process(prepared: Path, tmp_path: Path) -> None:
    """``--max-restarts 1``: the run ends as one that nobody killed, from its last checkpoint and in the same folder."""
    whole = config(prepared, tmp_path / "whole", engine=replace(ENGINE, save_every=2), phases=(Phase(8, 32, 8),))
    killed = replace(whole, out=str(tmp_path / "killed"))
    for name, run_config in (("whole", whole), ("killed", killed)):
        script = tmp_path / f"{name}.py"
        script.write_text(
            HEAD
            + f"""
import os, signal
from electra.engine.train import Loop
step = Loop.step
def step_and_die(loop, stop=False):
    step(loop, stop)
    if loop.parallel.rank == 1 and loop.state.step == 5 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        os.kill(os.getpid(), signal.SIGKILL)
if {name!r} == "killed":
    Loop.step = step_and_die
pretrain({run_config!r})
""",
            encoding="utf-8",
        )
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        done = subprocess.run([*torchrun, "--max-restarts", "1", str(script)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    starts = json.loads((tmp_path / "killed" / "environment.json").read_text())["starts"]
    assert [start["step"] for start in starts] == [4]
    one, two = (
        load_file(tmp_path / name / "checkpoints/step-00000008/model.safetensors") for name in ("whole", "killed")
    )
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
