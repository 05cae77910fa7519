"""Whether a GPU computes what it should: kernels against float64, ways of computing a step against the readable one,
resumes, and several processes.
"""

import os
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_items import READABLE, WAYS, Item, Options, Way, get_device
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from electra.dataset.batches import Batch
from electra.engine.compiling import prepare_parts
from electra.engine.optim import AdamW, LinearDecay, Muon, collect_parameters
from electra.engine.parallel import Parallel, flush_denormals
from electra.engine.process import make_deterministic
from electra.engine.scaling import StagePlan
from electra.engine.stages import RowSource, Stage, State
from electra.engine.telemetry import SilentRecorder, describe_environment
from electra.engine.train import Engine, Loop, train_stages
from electra.interchange.encoders import TowerReader
from electra.kernels import Kernels
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
from electra.workflows.pretraining.config import PretrainConfig

FURTHEST = {"float32": 1e-4, "bfloat16": 2e-2}  # ‖difference‖ / ‖exact‖ of what a kernel may compute
APART = 1e-3  # two ways of adding the same float32 numbers, relative to the largest of a tensor
DROP = 0.1
VOCABULARY = 2000


def list_items(options: Options) -> Iterator[Item]:
    """The items by name, the most telling first."""
    yield Item("environment", describe_environment, limit=60)
    yield Item("kernels: random numbers are the CPU's", check_random_numbers)
    for number in FURTHEST:
        yield Item(f"kernels: attention, {number}", partial(check_attention_kernels, number), limit=300)
        yield Item(f"kernels: vocabulary, {number}", partial(check_vocabulary_kernels, number), limit=300)
    for preset in ("small", "modern-small"):
        yield Item(f"{preset}: the GPU against the CPU", partial(compare_with_cpu, preset))
        for name, way in WAYS.items():
            yield Item(
                f"{preset}: {name} against the readable step", partial(compare_with_readable, preset, way), limit=300
            )
    for preset in ("tiny", "modern-tiny"):
        for length in (128, 700):
            yield Item(
                f"{preset}, {length}: kernels, every objective", partial(check_objectives, preset, length), 60, 400
            )
        for optimizer in (AdamW(), Muon()):
            name = f"{preset}, {optimizer.kind}: stopped and gone on, bit for bit"
            yield Item(name, partial(check_resume, preset, optimizer), limit=300)
    yield Item("CUDA graph: rows are read and pinned while it is recorded", check_graph_beside_loader, limit=300)
    yield Item("CUDA graph: fine-tuning", check_graph_of_finetuning)
    yield Item("hours: a run is fitted to a time", check_fitted_run)
    for preset in ("tiny", "modern-tiny"):
        yield Item(f"processes: {preset}, NCCL, one", partial(check_processes, preset, "nccl", 1))
        yield Item(f"processes: {preset}, two by gloo on one GPU", partial(check_processes, preset, "gloo", 2))


def distance(found: Tensor, exact: Tensor) -> float:
    """‖found − exact‖ / ‖exact‖; infinite where something is not a number."""
    found, exact = found.double(), exact.double()
    value = float((found - exact).norm() / exact.norm().clamp(min=1e-30))
    return value if value == value else float("inf")


def gradient(tensor: Tensor) -> Tensor:
    """The gradient that a backward pass has left at a tensor."""
    assert tensor.grad is not None
    return tensor.grad


def largest_difference(found: dict[str, Tensor], exact: dict[str, Tensor]) -> tuple[float, str]:
    """The largest difference of two sets of tensors, relative to the largest number of each tensor, and where it is."""
    assert found.keys() == exact.keys(), sorted(found.keys() ^ exact.keys())
    apart = {
        name: float((found[name].double() - value.double()).abs().max() / value.double().abs().max().clamp(min=1e-6))
        for name, value in exact.items()
    }
    worst = max(apart, key=lambda name: apart[name] if apart[name] == apart[name] else float("inf"))
    return apart[worst], worst


def require(holds: bool, figures: object) -> None:
    """End the item with its figures unless something holds."""
    if not holds:
        raise SystemExit(f"does not hold: {figures}")


def check_random_numbers() -> dict[str, Any]:
    """Check that addressed random numbers have the same bits on both devices."""
    keys = fold(torch.zeros(1000, dtype=torch.int32), torch.arange(1000, dtype=torch.int32))
    here, there = uniform(keys, 257), uniform(keys.to(get_device()), 257).cpu()
    require(torch.equal(here, there), "a number differs")
    return {"numbers": here.numel(), "mean": float(here.mean())}


def check_attention_kernels(number: str) -> dict[str, Any]:
    """Values and gradients against the explicit product in float64: packed documents, padding, windows, directions,
    dropout, sizes that are no multiple of a block."""
    cases = {}
    for length, dim, window, direction, drops in (
        (128, 64, None, "both", 0.0), (128, 64, None, "both", DROP), (300, 64, None, "both", DROP),
        (700, 64, 128, "both", DROP), (1024, 64, None, "both", DROP), (1024, 64, 128, "both", 0.0),
        (512, 32, None, "left", DROP), (512, 32, None, "right", DROP), (130, 24, 64, "both", DROP),
        (128, 128, None, "both", DROP),
    ):  # fmt: skip
        name = f"{length} × {dim}, window {window}, {direction}, dropout {drops}"
        cases[name] = measure_attention(number, length, dim, window, direction, drops)
    furthest = max(max(distances.values()) for distances in cases.values())
    figures = {"furthest": furthest, "cases": cases}
    require(furthest < FURTHEST[number], figures)
    return figures


def measure_attention(
    number: str, length: int, dim: int, window: Any, direction: Any, drops: float
) -> dict[str, float]:
    """The ``distance`` of the kernel's result and gradients from float64's."""
    torch.manual_seed(length)
    rows, heads, there, dtype = 3, 4, get_device(), getattr(torch, number)
    given = [torch.randn(rows, heads, length, dim, device=there, dtype=dtype) for _ in range(3)]
    documents, slope = pack_documents(rows, length)[0].to(there), torch.randn(rows, heads, length, dim, device=there)
    stream = derive_streams(torch.arange(rows, dtype=torch.int32), torch.ones(1, dtype=torch.int32))[0].to(there)
    results = []
    ways: tuple[tuple[Kernels, torch.dtype], ...] = (("cuda", dtype), ("", torch.float64))
    for kernels, kind in ways:
        q, k, v = (each.detach().clone().to(kind).requires_grad_() for each in given)
        if kernels:
            out = attention(q, k, v, documents, window, stream if drops else None, drops, direction, kernels)
        else:
            seen = visibility_mask(documents, window, direction)
            out = exact_attention(q, k, v, seen, stream if drops else None, drops)
        out.backward(slope.to(out.dtype))
        results.append((out.detach(), *map(gradient, (q, k, v))))
    real = (documents > 0)[:, None, :, None]
    names = ("result", "queries", "keys", "values")
    return {name: distance(one * real, other * real) for name, one, other in zip(names, *results, strict=True)}


def exact_attention(q: Tensor, k: Tensor, v: Tensor, seen: Tensor, stream: Tensor | None, drops: float) -> Tensor:
    """``explicit_attention`` in float64, its dropout that of the twin: what the twin keeps of ones is kept here."""
    weights = ((q @ k.mT) * q.shape[3] ** -0.5).masked_fill(~seen[:, None], float("-inf")).softmax(3)
    if stream is not None:
        weights = weights * drop(torch.ones_like(weights, dtype=torch.float32), stream, drops).double()
    return weights @ v


def check_vocabulary_kernels(number: str) -> dict[str, Any]:
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
        ours = [each.clone().requires_grad_() for each in (states, table, bias)]
        theirs = [each.double().requires_grad_() for each in (states, table, bias)]
        score = FusedLogits(*ours).score(targets, Sampling(keys))
        logits = theirs[0] @ theirs[1].mT + theirs[2]
        losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        (score.losses * weights).sum().backward()
        (losses * weights).sum().backward()
        name = f"{picked} × {dim} × {vocabulary}"
        figures[f"{name}: losses"] = distance(score.losses.detach(), losses.detach())
        for what, one, other in zip(("states", "table", "bias"), ours, theirs, strict=True):
            figures[f"{name}: {what}"] = distance(gradient(one), gradient(other))
        plain = [each.clone().requires_grad_() for each in (states, table, bias)]
        written = WrittenLogits(LogitsProduct.apply(*plain[:2]) + plain[2]).score(targets)
        (written.losses * weights).sum().backward()
        figures[f"{name}: the twin's losses"] = distance(written.losses.detach(), losses.detach())
        for what, one, other in zip(("states", "table", "bias"), plain, theirs, strict=True):
            figures[f"{name}: the twin's {what}"] = distance(gradient(one), gradient(other))
        twin = sample_tokens(logits.detach().float(), keys)
        assert score.samples is not None
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
    """Rows that depend on their own number alone, so that processes may share them."""

    def batch(self, refs: Sequence[int]) -> Batch:
        """Each row seeded by its own number."""
        rows = [RandomRows.batch(self, [ref]).tensors() for ref in refs]
        return Batch(**{name: torch.cat([row[name] for row in rows]) for name in rows[0]})


class PackedRows(RandomRows):
    """Rows of several documents each, and padding."""

    def batch(self, refs: Sequence[int]) -> Batch:
        """The rows cut into documents as ``pack_documents`` does."""
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
    there = loop.parallel.device
    sums = loop.passes(batch.to(there), divisors, progress.to(there))
    found = {name: p.grad.cpu() for name, p in loop.module.named_parameters() if p.grad is not None}
    return {name: value.detach().cpu() for name, value in sums.items()}, found


def compare_steps(one: tuple[dict, dict], other: tuple[dict, dict]) -> dict[str, Any]:
    """How far statistics and gradients are apart; ends the item where it is more than rounding."""
    figures: dict[str, Any] = {}
    for what, found, exact in zip(("statistics", "gradients"), one, other, strict=True):
        figures[what], figures[f"{what}, worst"] = largest_difference(found, exact)
    require(max(figures["statistics"], figures["gradients"]) < APART, figures)
    return figures


def compare_with_readable(preset: str, way: Way) -> dict[str, Any]:
    """A step computed in some way against the readable one, float32, dropout on."""
    config = BenchConfig(preset, 8, 128, precision="float32")
    readable = compute_gradients(READABLE.loop(config))
    return compare_steps(compute_gradients(way.loop(config)), readable)


def compare_with_cpu(preset: str) -> dict[str, Any]:
    """The readable step on both devices, float32, dropout on."""
    recipe = apply_preset(PretrainConfig(), preset)
    source = RandomRows(recipe.encoder.vocab_size, 128)
    there, here = (
        compute_gradients(build_tiny_loop(recipe, source, 8, place)) for place in (get_device(), torch.device("cpu"))
    )
    return compare_steps(there, here)


def build_tiny_loop(
    recipe: PretrainConfig, source: RowSource, rows: int, place: torch.device, kernels: Any = "", **how: Any
) -> Loop:
    """A loop over made-up rows, uncompiled unless ``how``, settings of the engine, says so."""
    (stage,) = build_stages(recipe, source, rows, place, 1000)
    engine = replace(recipe.engine, **({"compile": "never", "precision": "float32"} | how))
    loop = Loop(
        StagePlan.of([stage], recipe.schedule), recipe.optimizer, engine, Parallel(0, 1, place), None, SilentRecorder()
    )
    prepare_parts(loop.module, kernels, engine.activation_checkpointing)
    return loop


def build_stages(recipe: PretrainConfig, source: Any, rows: int, place: torch.device, steps: int) -> list[Stage]:
    """One stage of the recipe's objective."""
    torch.manual_seed(1)
    frequencies = lambda: torch.arange(1.0, recipe.encoder.vocab_size + 1).reciprocal()  # noqa: E731
    begins = lambda: torch.arange(recipe.encoder.vocab_size) % 3 > 0  # noqa: E731
    corpus = CorpusFacts(MASK, begins, frequencies)
    module = recipe.objective.build(recipe.encoder, corpus, recipe.seed).to(place)
    parameters = collect_parameters(module, module.towers(), module.rates, module.apart)
    return [Stage(module, parameters, source, steps, rows, rows * source.length, rows * module.flops(source.length))]


def check_objectives(preset: str, length: int) -> dict[str, Any]:
    """Kernels against twins for every objective, packed rows with padding, float32, dropout on."""
    recipe = apply_preset(PretrainConfig(), preset)
    encoder = replace(recipe.encoder, vocab_size=VOCABULARY, max_positions=max(length, recipe.encoder.max_positions))
    figures, wrong = {}, {}
    for kind, objective in OBJECTIVE_KINDS.items():
        each: Objective = replace(
            objective(), **({"generator_width": 1.0} if needs_equal_width(encoder, objective()) else {})
        )
        changed = replace(recipe, encoder=encoder, objective=each)
        source = PackedRows(VOCABULARY, length)
        found = [
            compute_gradients(build_tiny_loop(changed, source, 4, get_device(), kernels)) for kernels in ("cuda", "")
        ]
        apart = [largest_difference(*pair)[0] for pair in zip(*found, strict=True)]  # statistics, gradients
        figures[kind] = max(apart)
        if figures[kind] >= APART:
            wrong[kind] = apart
    require(not wrong, wrong)
    return figures


def needs_equal_width(encoder: Any, objective: Any) -> bool:
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
    plan = StagePlan.of(stages, LinearDecay(warmup=5))
    loop = Loop(plan, recipe.optimizer, engine, Parallel(0, 1, get_device()), folder, SilentRecorder())
    make_deterministic(engine.deterministic, get_device())
    with flush_denormals():
        while loop.state.step < stop:
            loop.step()
    loop.save()


def check_graph_beside_loader() -> dict[str, Any]:
    """40 steps by a CUDA graph, rows of two lengths, against the same steps launched kernel by kernel: equal losses."""
    recipe = apply_preset(PretrainConfig(), "tiny")
    found = []
    for graphs in (True, False):
        losses = []
        for length in (64, 128):
            loop = build_tiny_loop(
                recipe, RandomRows(recipe.encoder.vocab_size, length), 16, get_device(), "cuda", cuda_graphs=graphs
            )
            for _ in range(20):
                loop.step()
            losses.append({name: value.cpu() for name, value in loop.parallel.sum(loop.sums).items()})
        found.append(losses)
    apart = max(largest_difference(one, other)[0] for one, other in zip(*found, strict=True))
    require(apart < APART, apart)
    return {"furthest": apart}


def check_graph_of_finetuning() -> dict[str, Any]:
    """Fine-tuning with and without CUDA graphs, from fresh weights on made-up texts: equal losses."""
    recipe, problem, found = (
        apply_preset(PretrainConfig(), "tiny"),
        Sequences(Task("length", "class", ("a", "b"), ("accuracy",))),
        [],
    )
    encoder, draw = replace(recipe.encoder, vocab_size=VOCABULARY), np.random.default_rng(1)
    texts = [draw.integers(5, VOCABULARY, int(draw.integers(8, 60))).tolist() for _ in range(256)]
    examples = [Example([1, *ids, 2], [0] * (len(ids) + 2), len(ids) % 2) for ids in texts]
    for graphs in (True, False):
        torch.manual_seed(1)
        reader = TowerReader(recipe.objective.build(encoder, CorpusFacts(MASK), 1).encoder)
        net = FineTuned(reader, problem.head(reader, FineTuning()), 1).to(get_device())
        stage = Stage(
            net,
            finetuned_parameters(net, FineTuning()),
            ExampleSource(examples, problem.targets, 0, 16, 1),
            32,
            16,
            1024,
            0,
        )
        engine = Engine(compile="never", precision="float32", cuda_graphs=graphs)
        plan = StagePlan.of([stage], LinearDecay(warmup=2))
        loop = Loop(plan, AdamW(), engine, Parallel(0, 1, get_device()), None, SilentRecorder())
        for _ in range(32):
            loop.step()
        found.append({name: value.cpu() for name, value in loop.sums.items()})
    apart, where = largest_difference(*found)
    require(apart < APART, (apart, where))
    return {"furthest": apart}


def check_fitted_run() -> dict[str, Any]:
    """Check that a run that is given 20 seconds takes about so long."""
    recipe = apply_preset(PretrainConfig(), "tiny")
    stages = build_stages(recipe, RandomRows(recipe.encoder.vocab_size, 128), 64, get_device(), 1000)
    engine = Engine(compile="never", log_every=0, evaluate_every=0, save_every=0)
    began = time.monotonic()
    plan = StagePlan.of(stages, LinearDecay(warmup=50))
    state: State = train_stages(plan, AdamW(), engine, Parallel(0, 1, get_device()), seconds=20)
    seconds = time.monotonic() - began
    require(abs(seconds - 20) < 4, seconds)
    return {"asked": 20.0, "seconds": seconds, "steps": state.steps}


@dataclass(frozen=True)
class InGroup(Parallel):
    """A process that does with its group what one of several does, even if it is the only one: gradients go through
    DDP, counts and requests through a reduction, Muon's parts through a gathering."""

    @property
    def several(self) -> bool:
        """Always: nothing is left out because nobody else is there."""
        return True

    def find_machine_group(self) -> torch.distributed.ProcessGroup:
        """All processes."""
        assert torch.distributed.group.WORLD
        return torch.distributed.group.WORLD


def check_processes(preset: str, backend: str, world: int) -> dict[str, Any]:
    """Ten steps in ``world`` processes against one process alone, float32, dropout on: equal losses. Runs on a CPU too,
    by gloo."""
    recipe = apply_preset(PretrainConfig(), preset)
    alone = sum_losses(recipe, Parallel(0, 1, get_device()))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        spawn(run_process, (world, preset, backend, port, folder), nprocs=world)
        shared = torch.load(Path(folder, "losses"), weights_only=True)
    apart, where = largest_difference(shared, alone)
    require(apart < APART, (apart, where))
    return {"furthest": apart}


def run_process(rank: int, world: int, preset: str, backend: str, port: int, folder: str) -> None:
    """In process ``rank``: train with the others; the first writes the losses into ``folder``."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    if torch.cuda.is_available():
        torch.cuda.set_device(0)
    torch.distributed.init_process_group(backend, rank=rank, world_size=world)
    losses = sum_losses(apply_preset(PretrainConfig(), preset), InGroup(rank, world, get_device()))
    if rank == 0:
        torch.save(losses, Path(folder, "losses"))
    torch.distributed.destroy_process_group()


def sum_losses(recipe: PretrainConfig, parallel: Parallel) -> dict[str, Tensor]:
    """The summed statistics of ten steps over all processes."""
    (stage,) = build_stages(recipe, OwnRows(recipe.encoder.vocab_size, 128), 16, parallel.device, 100)
    engine = replace(recipe.engine, compile="never", precision="float32")
    plan = StagePlan.of([stage], LinearDecay(warmup=5))
    loop = Loop(plan, recipe.optimizer, engine, parallel, None, SilentRecorder())
    for _ in range(10):
        loop.step()
    return {name: value.cpu() for name, value in parallel.sum(loop.sums).items()}
