"""Two processes that share a step: nothing is on the wrong device, and the first says what all of them do."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from electra.engine.parallel import Parallel
from electra.engine.telemetry import read_metrics
from electra.errors import UserError
from electra.workflows.pretrain import pretrain
from processes import run_together, run_two, start_together
from runs import ENGINE, STEPS, config

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
