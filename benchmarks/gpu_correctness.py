"""Whether a GPU computes what it should: kernels against float64, ways of computing a step against the readable one,
resumes, and several processes.
"""

import os
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.multiprocessing
from gpu_items import READABLE, WAYS, Item, Options, Way, get_device
from torch import Tensor

from electra.dataset.batches import Batch
from electra.engine.compiling import prepare_parts
from electra.engine.optim import AdamW, LinearDecay, Muon, collect_parameters
from electra.engine.parallel import Parallel, flush_denormals
from electra.engine.process import make_deterministic
from electra.engine.stages import RowSource, Stage, State
from electra.engine.telemetry import SilentRecorder, describe_environment
from electra.engine.train import Engine, Loop, train_stages
from electra.interchange.encoders import TowerReader
from electra.kernels.attention.operation import attention
from electra.kernels.attention.twin import visibility_mask
from electra.kernels.random import derive_streams, drop, fold, uniform
from electra.kernels.vocabulary.twin import LogitsProduct, Sampling, WrittenLogits, sample_tokens
from electra.objectives.build import OBJECTIVE_KINDS, CorpusFacts, Objective
from electra.recipes import apply_preset
from electra.tasks.datasets.samples import Task
from electra.tasks.finetuning.examples import Example, ExampleSource
from electra.tasks.finetuning.problem import FineTuned, FineTuning
from electra.tasks.finetuning.problem import apply_layer_decay as finetuned_parameters
from electra.tasks.finetuning.sequences import Sequences
from electra.workflows.bench.bench import BenchConfig
from electra.workflows.bench.steps import MASK, RandomRows
from electra.workflows.pretrain import PretrainConfig

FURTHEST = {"float32": 1e-4, "bfloat16": 2e-2}  # ‖difference‖ / ‖exact‖ of what a kernel may compute
APART = 1e-3  # two ways of adding the same float32 numbers, relative to the largest of a tensor
DROP = 0.1
VOCABULARY = 2000


def items(options: Options) -> Iterator[Item]:
    """The items by name, the most telling first."""
    yield Item("environment", describe_environment, limit=60)
    yield Item("kernels: random numbers are the CPU's", check_random_numbers)
    for number in FURTHEST:
        yield Item(f"kernels: attention, {number}", partial(check_attention, number), limit=300)
        yield Item(f"kernels: vocabulary, {number}", partial(check_vocabulary, number), limit=300)
    for preset in ("small", "modern-small"):
        yield Item(f"{preset}: the GPU against the CPU", partial(check_against_the_cpu, preset))
        for name, way in WAYS.items():
            yield Item(
                f"{preset}: {name} against the readable step", partial(check_against_readable, preset, way), limit=300
            )
    for preset in ("tiny", "modern-tiny"):
        for length in (128, 700):
            yield Item(
                f"{preset}, {length}: kernels, every objective", partial(check_every_objective, preset, length), 60, 400
            )
        for optimizer in (AdamW(), Muon()):
            name = f"{preset}, {optimizer.kind}: stopped and gone on, bit for bit"
            yield Item(name, partial(check_resume, preset, optimizer), limit=300)
    yield Item("CUDA graph: rows are read and pinned while it is recorded", check_graph_beside_loader, limit=300)
    yield Item("CUDA graph: fine-tuning", check_graph_of_finetuning)
    yield Item("hours: a run is fitted to a time", check_hours)
    yield Item("processes: NCCL, one", partial(check_processes, "nccl", 1))
    yield Item("processes: two by gloo on one GPU", partial(check_processes, "gloo", 2))


def relative_distance(result: Tensor, exact: Tensor) -> float:
    """‖result − exact‖ / ‖exact‖; infinite if anything is NaN."""
    result, exact = result.double(), exact.double()
    distance = float((result - exact).norm() / exact.norm().clamp(min=1e-30))
    return distance if distance == distance else float("inf")


def largest_difference(results: dict[str, Tensor], exact: dict[str, Tensor]) -> tuple[float, str]:
    """The largest difference of two sets of tensors, relative to the largest number of each tensor, and its name."""
    assert results.keys() == exact.keys(), sorted(results.keys() ^ exact.keys())
    apart = {
        name: float((results[name].double() - value.double()).abs().max() / value.double().abs().max().clamp(min=1e-6))
        for name, value in exact.items()
    }
    worst = max(apart, key=lambda name: apart[name] if apart[name] == apart[name] else float("inf"))
    return apart[worst], worst


def require(holds: bool, figures: object) -> None:
    """Fail the item, with its figures, unless the condition holds."""
    if not holds:
        raise SystemExit(f"does not hold: {figures}")


def check_random_numbers() -> dict[str, Any]:
    """Addressed random numbers have the same bits on both devices."""
    keys = fold(torch.zeros(1000, dtype=torch.int32), torch.arange(1000, dtype=torch.int32))
    on_cpu, on_device = uniform(keys, 257), uniform(keys.to(get_device()), 257).cpu()
    require(torch.equal(on_cpu, on_device), "a number differs")
    return {"numbers": on_cpu.numel(), "mean": float(on_cpu.mean())}


def check_attention(number: str) -> dict[str, Any]:
    """Values and gradients against the explicit product in float64: packed documents, padding, windows, directions,
    dropout, sizes that are no multiple of a block."""
    furthest = {}
    for length, dim, window, direction, drops in (
        (128, 64, None, "both", 0.0), (128, 64, None, "both", DROP), (300, 64, None, "both", DROP),
        (700, 64, 128, "both", DROP), (1024, 64, None, "both", DROP), (1024, 64, 128, "both", 0.0),
        (512, 32, None, "left", DROP), (512, 32, None, "right", DROP), (130, 24, 64, "both", DROP),
        (128, 128, None, "both", DROP),
    ):  # fmt: skip
        name = f"{length} × {dim}, window {window}, {direction}, dropout {drops}"
        furthest[name] = measure_attention(number, length, dim, window, direction, drops)
    figures = {"furthest": max(max(case.values()) for case in furthest.values()), "cases": furthest}
    require(figures["furthest"] < FURTHEST[number], figures)
    return figures


def measure_attention(
    number: str, length: int, dim: int, window: Any, direction: Any, drops: float
) -> dict[str, float]:
    """How far the kernel's result and gradients are from float64's."""
    torch.manual_seed(length)
    rows, heads, device, dtype = 3, 4, get_device(), getattr(torch, number)
    inputs = [torch.randn(rows, heads, length, dim, device=device, dtype=dtype) for _ in range(3)]
    documents, slope = pack_documents(rows, length)[0].to(device), torch.randn(rows, heads, length, dim, device=device)
    stream = derive_streams(torch.arange(rows, dtype=torch.int32), torch.ones(1, dtype=torch.int32))[0].to(device)
    results = []
    for kernels, kind in (("cuda", dtype), ("", torch.float64)):
        q, k, v = (x.detach().clone().to(kind).requires_grad_() for x in inputs)
        if kernels:
            out = attention(q, k, v, documents, window, stream if drops else None, drops, direction, kernels)
        else:
            seen = visibility_mask(documents, window, direction)
            out = exact_attention(q, k, v, seen, stream if drops else None, drops)
        out.backward(slope.to(out.dtype))
        results.append((out.detach(), q.grad, k.grad, v.grad))
    real = (documents > 0)[:, None, :, None]
    names = ("result", "queries", "keys", "values")
    return {name: relative_distance(one * real, other * real) for name, one, other in zip(names, *results, strict=True)}


def exact_attention(q: Tensor, k: Tensor, v: Tensor, seen: Tensor, stream: Tensor | None, drops: float) -> Tensor:
    """``explicit_attention`` in float64, its dropout that of the twin: what the twin keeps of ones is kept here."""
    weights = ((q @ k.mT) * q.shape[3] ** -0.5).masked_fill(~seen[:, None], float("-inf")).softmax(3)
    if stream is not None:
        weights = weights * drop(torch.ones_like(weights, dtype=torch.float32), stream, drops).double()
    return weights @ v


def check_vocabulary(number: str) -> dict[str, Any]:
    """Losses, gradients and samples of the fused head against float64 and the twin."""
    from electra.kernels.vocabulary.triton import FusedLogits

    figures: dict[str, float] = {}
    for picked, dim, vocabulary in ((67, 40, 129), (1000, 128, 8192), (2432, 128, 30522), (500, 768, 30522)):
        torch.manual_seed(picked)
        dtype = getattr(torch, number)
        states = torch.randn(picked, dim, device=get_device(), dtype=dtype)
        table = (torch.randn(vocabulary, dim, device=get_device()) / dim**0.25).to(dtype)
        bias, targets = (
            torch.randn(vocabulary, device=get_device()),
            torch.randint(vocabulary, (picked,), device=get_device()),
        )
        keys = fold(torch.zeros(picked, dtype=torch.int32), torch.arange(picked, dtype=torch.int32)).to(get_device())
        weights = torch.rand(picked, device=get_device())
        ours = [x.clone().requires_grad_() for x in (states, table, bias)]
        theirs = [x.double().requires_grad_() for x in (states, table, bias)]
        score = FusedLogits(*ours).score(targets, Sampling(keys))
        logits = theirs[0] @ theirs[1].mT + theirs[2]
        losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        (score.losses * weights).sum().backward()
        (losses * weights).sum().backward()
        name = f"{picked} × {dim} × {vocabulary}"
        figures[f"{name}: losses"] = relative_distance(score.losses.detach(), losses.detach())
        for what, one, other in zip(("states", "table", "bias"), ours, theirs, strict=True):
            figures[f"{name}: {what}"] = relative_distance(one.grad, other.grad)
        plain = [x.clone().requires_grad_() for x in (states, table, bias)]
        written = WrittenLogits(LogitsProduct.apply(*plain[:2]) + plain[2]).score(targets)
        (written.losses * weights).sum().backward()
        figures[f"{name}: the twin's losses"] = relative_distance(written.losses.detach(), losses.detach())
        for what, one, other in zip(("states", "table", "bias"), plain, theirs, strict=True):
            figures[f"{name}: the twin's {what}"] = relative_distance(one.grad, other.grad)
        twin = sample_tokens(logits.detach().float(), keys)
        figures[f"{name}: samples that differ"] = float((score.samples != twin).double().mean())
        likeliest = WrittenLogits(logits.detach().float()).score(targets).likeliest
        figures[f"{name}: likeliest that differ"] = float((score.likeliest != likeliest).double().mean())
    require(max(figures.values()) < FURTHEST[number], figures)
    return figures


def pack_documents(rows: int, length: int) -> tuple[Tensor, Tensor]:
    """Document numbers (0 is padding at the end of every other row) and positions, int64 [rows, length]."""
    draw = np.random.default_rng(length)
    documents, positions = np.zeros((2, rows, length), dtype=np.int64)
    for row in range(rows):
        end, at, number = length - (length // 7 if row % 2 else 0), 0, 1
        while at < end:
            stop = min(end, at + int(draw.integers(10, max(11, length // 2))))
            documents[row, at:stop], positions[row, at:stop] = number, np.arange(stop - at)
            at, number = stop, number + 1
    return torch.from_numpy(documents), torch.from_numpy(positions)


class OwnRows(RandomRows):
    """Rows that depend only on their own number, so that processes may share them."""

    def batch(self, refs: Sequence[int]) -> Batch:
        """Each row made by itself."""
        rows = [RandomRows.batch(self, [ref]).tensors() for ref in refs]
        return Batch(**{name: torch.cat([row[name] for row in rows]) for name in rows[0]})


class PackedRows(RandomRows):
    """Rows of several documents each, and padding."""

    def batch(self, refs: Sequence[int]) -> Batch:
        """Rows of several documents."""
        batch = super().batch(refs)
        documents, positions = pack_documents(len(refs), self.length)
        ids = torch.where(documents > 0, batch.ids.clamp(min=5), 0)
        ids = torch.where((positions == 0) & (documents > 0), 1, ids)
        nothing = torch.zeros_like(ids)
        return replace(batch, ids=ids, positions=positions, segments=nothing, documents=documents, choosable=ids > 4)


def compute_gradients(loop: Loop) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Statistics and gradients of the first step's rows, on the CPU."""
    (batch, *_), _ = loop.batches(loop.stages[0], loop.stages[0].source.start)
    progress = torch.tensor(0.5)
    divisors = {name: count.clamp(min=1) for name, count in loop.counts([batch], progress).items()}
    device = loop.parallel.device
    sums = loop.passes(batch.to(device), divisors, progress.to(device))
    gradients = {name: p.grad.cpu() for name, p in loop.module.named_parameters() if p.grad is not None}
    return {name: value.detach().cpu() for name, value in sums.items()}, gradients


def compare_steps(one: tuple[dict, dict], other: tuple[dict, dict]) -> dict[str, Any]:
    """How far statistics and gradients are apart; fails the item if it is more than rounding."""
    figures: dict[str, Any] = {}
    for what, results, exact in zip(("statistics", "gradients"), one, other, strict=True):
        figures[what], figures[f"{what}, worst"] = largest_difference(results, exact)
    require(max(figures["statistics"], figures["gradients"]) < APART, figures)
    return figures


def check_against_readable(preset: str, way: Way) -> dict[str, Any]:
    """A step computed in some way against the readable one, float32, dropout on."""
    config = BenchConfig(preset, 8, 128, precision="float32")
    readable = compute_gradients(READABLE.loop(config))
    return compare_steps(compute_gradients(way.loop(config)), readable)


def check_against_the_cpu(preset: str) -> dict[str, Any]:
    """The readable step on both devices, float32, dropout on."""
    recipe = apply_preset(PretrainConfig(), preset)
    source = RandomRows(recipe.encoder.vocab_size, 128)
    devices = get_device(), torch.device("cpu")
    on_gpu, on_cpu = (compute_gradients(build_loop(recipe, source, 8, device)) for device in devices)
    return compare_steps(on_gpu, on_cpu)


def build_loop(
    recipe: PretrainConfig, source: RowSource, rows: int, device: torch.device, kernels: Any = "", **settings: Any
) -> Loop:
    """A loop over made-up rows, in float32 and uncompiled unless ``settings`` of the engine say otherwise."""
    (stage,) = build_stages(recipe, source, rows, device, 1000)
    engine = replace(recipe.engine, **({"compile": "never", "precision": "float32"} | settings))
    loop = Loop([stage], recipe.optimizer, recipe.schedule, engine, Parallel(0, 1, device), None, SilentRecorder())
    prepare_parts(loop.module, kernels, engine.activation_checkpointing)
    return loop


def build_stages(recipe: PretrainConfig, source: Any, rows: int, device: torch.device, steps: int) -> list[Stage]:
    """One stage of the recipe's objective."""
    torch.manual_seed(1)
    frequencies = lambda: torch.arange(1.0, recipe.encoder.vocab_size + 1).reciprocal()  # noqa: E731
    begins = lambda: torch.arange(recipe.encoder.vocab_size) % 3 > 0  # noqa: E731
    corpus = CorpusFacts(MASK, begins, frequencies)
    module = recipe.objective.build(recipe.encoder, corpus, recipe.seed).to(device)
    parameters = collect_parameters(module, module.towers(), module.rates, module.apart)
    return [Stage(module, parameters, source, steps, rows, rows * source.length, rows * module.flops(source.length))]


def check_every_objective(preset: str, length: int) -> dict[str, Any]:
    """Kernels against twins for every objective, packed rows with padding, float32, dropout on."""
    recipe = apply_preset(PretrainConfig(), preset)
    encoder = replace(recipe.encoder, vocab_size=VOCABULARY, max_positions=max(length, recipe.encoder.max_positions))
    figures, wrong = {}, {}
    for kind, objective in OBJECTIVE_KINDS.items():
        wide = {"generator_width": 1.0} if shares_modern_table(encoder, objective()) else {}
        fitting: Objective = replace(objective(), **wide)
        changed = replace(recipe, encoder=encoder, objective=fitting)
        source = PackedRows(VOCABULARY, length)
        steps = [compute_gradients(build_loop(changed, source, 4, get_device(), kernels)) for kernels in ("cuda", "")]
        apart = [largest_difference(*pair)[0] for pair in zip(*steps, strict=True)]  # statistics, gradients
        figures[kind] = max(apart)
        if figures[kind] >= APART:
            wrong[kind] = apart
    require(not wrong, wrong)
    return figures


def shares_modern_table(encoder: Any, objective: Any) -> bool:
    """Whether a modern generator must be as wide as the encoder, since it reads the encoder's table."""
    return encoder.kind == "modern" and getattr(objective, "embeddings", "own") != "own"


def check_resume(preset: str, optimizer: Any) -> dict[str, Any]:
    """20 steps against 10, a stop and 10 more, bit for bit: compiled, with kernels, deterministic."""
    recipe = replace(apply_preset(PretrainConfig(), preset), optimizer=optimizer)
    recipe = replace(recipe, encoder=replace(recipe.encoder, vocab_size=VOCABULARY))
    engine = Engine(deterministic=True, save_every=10, keep=9, log_every=0, evaluate_every=0)
    ends: list[dict[str, Tensor]] = []
    for stops in ((20,), (10, 20)):
        with tempfile.TemporaryDirectory() as folder:
            for stop in stops:
                stages = build_stages(recipe, RandomRows(VOCABULARY, 128), 16, get_device(), 20)
                train_until(stop, stages, recipe, engine, Path(folder, "checkpoints"))
            ends.append({name: value.detach().cpu() for name, value in stages[0].module.named_parameters()})
    differing = [name for name, value in ends[0].items() if not torch.equal(value, ends[1][name])]
    require(not differing, differing[:5])
    return {"tensors that are equal": len(ends[0])}


def train_until(stop: int, stages: list[Stage], recipe: PretrainConfig, engine: Engine, folder: Path) -> None:
    """Train in a fresh loop, from the last checkpoint if there is one, and save at step ``stop``."""
    loop = Loop(
        stages, recipe.optimizer, LinearDecay(warmup=5), engine, Parallel(0, 1, get_device()), folder, SilentRecorder()
    )
    make_deterministic(engine.deterministic, get_device())
    with flush_denormals():
        while loop.state.step < stop:
            loop.step()
    loop.save()


def check_graph_beside_loader() -> dict[str, Any]:
    """40 steps by a CUDA graph, rows of two lengths, against the same steps launched kernel by kernel: equal losses."""
    recipe = apply_preset(PretrainConfig(), "tiny")
    losses_by_way = []
    for graphs in (True, False):
        losses = []
        for length in (64, 128):
            loop = build_loop(
                recipe, RandomRows(recipe.encoder.vocab_size, length), 16, get_device(), "cuda", cuda_graphs=graphs
            )
            for _ in range(20):
                loop.step()
            losses.append({name: value.cpu() for name, value in loop.parallel.sum(loop.sums).items()})
        losses_by_way.append(losses)
    apart = max(largest_difference(one, other)[0] for one, other in zip(*losses_by_way, strict=True))
    require(apart < APART, apart)
    return {"furthest": apart}


def check_graph_of_finetuning() -> dict[str, Any]:
    """Fine-tuning with and without CUDA graphs, from fresh weights on made-up texts: equal losses."""
    recipe = apply_preset(PretrainConfig(), "tiny")
    problem, losses = Sequences(Task("length", "class", ("a", "b"), ("accuracy",))), []
    encoder, draw = replace(recipe.encoder, vocab_size=VOCABULARY), np.random.default_rng(1)
    texts = [draw.integers(5, VOCABULARY, int(draw.integers(8, 60))).tolist() for _ in range(256)]
    examples = [Example([1, *ids, 2], [0] * (len(ids) + 2), len(ids) % 2) for ids in texts]
    for graphs in (True, False):
        torch.manual_seed(1)
        reader = TowerReader(recipe.objective.build(encoder, CorpusFacts(MASK), 1).encoder)
        net = FineTuned(reader, problem.head(reader, FineTuning()), 1).to(get_device())
        source = ExampleSource(examples, problem.targets, 0, 16, 1)
        stage = Stage(net, finetuned_parameters(net, FineTuning()), source, 32, 16, 1024, 0)
        engine = Engine(compile="never", precision="float32", cuda_graphs=graphs)
        loop = Loop(
            [stage], AdamW(), LinearDecay(warmup=2), engine, Parallel(0, 1, get_device()), None, SilentRecorder()
        )
        for _ in range(32):
            loop.step()
        losses.append({name: value.cpu() for name, value in loop.sums.items()})
    apart, where = largest_difference(*losses)
    require(apart < APART, (apart, where))
    return {"furthest": apart}


def check_hours() -> dict[str, Any]:
    """A run of about 20 seconds."""
    recipe = apply_preset(PretrainConfig(), "tiny")
    stages = build_stages(recipe, RandomRows(recipe.encoder.vocab_size, 128), 64, get_device(), 1000)
    engine = Engine(compile="never", log_every=0, evaluate_every=0, save_every=0)
    began = time.monotonic()
    state: State = train_stages(
        stages, AdamW(), LinearDecay(warmup=50), engine, Parallel(0, 1, get_device()), seconds=20
    )
    seconds = time.monotonic() - began
    require(abs(seconds - 20) < 4, seconds)
    return {"asked": 20.0, "seconds": seconds, "steps": state.steps}


def check_processes(backend: str, world: int) -> dict[str, Any]:
    """Ten steps in ``world`` processes against one process alone, float32, dropout on: equal losses."""
    recipe = apply_preset(PretrainConfig(), "tiny")
    alone = sum_losses(recipe, Parallel(0, 1, get_device()))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(run_process, (world, backend, port, folder), nprocs=world)
        shared = torch.load(Path(folder, "losses"), weights_only=True)
    apart, where = largest_difference(shared, alone)
    require(apart < APART, (apart, where))
    return {"furthest": apart}


def run_process(rank: int, world: int, backend: str, port: int, folder: str) -> None:
    """The work of one of several processes."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.cuda.set_device(0)
    torch.distributed.init_process_group(backend, rank=rank, world_size=world)
    losses = sum_losses(apply_preset(PretrainConfig(), "tiny"), Parallel(rank, world, get_device()))
    if rank == 0:
        torch.save(losses, Path(folder, "losses"))
    torch.distributed.destroy_process_group()


def sum_losses(recipe: PretrainConfig, parallel: Parallel) -> dict[str, Tensor]:
    """The summed statistics of ten steps over all processes."""
    (stage,) = build_stages(recipe, OwnRows(recipe.encoder.vocab_size, 128), 16, parallel.device, 100)
    engine = replace(recipe.engine, compile="never", precision="float32")
    loop = Loop([stage], recipe.optimizer, LinearDecay(warmup=5), engine, parallel, None, SilentRecorder())
    for _ in range(10):
        loop.step()
    return {name: value.cpu() for name, value in parallel.sum(loop.sums).items()}
