"""The one loop. Pre-training and fine-tuning differ in the module, the source of rows and the parameters they bring."""

import contextlib
import math
import os
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
import torch.utils.deterministic
from torch import Tensor, nn

from electra.engine import checkpoint
from electra.engine.compiling import Compile, announce_compiling, check_can_recompute, choose_kernels, prepare_module
from electra.engine.optim import Optimizer, OptimizerConfig, Parameter, Schedule
from electra.engine.parallel import Parallel, Precision, flush_denormals, resolve_precision
from electra.engine.passes import Passes, RecordedPasses, check_can_record
from electra.engine.prefetch import Prefetcher
from electra.engine.telemetry import Recorder, SilentRecorder
from electra.errors import UserError
from electra.ranges import CountOrZero, NotNegative


@runtime_checkable
class RowSource(Protocol):
    """Rows at an address: ``take`` is a pure function, so a run goes on from a place as if it had never stopped."""

    start: Any  # the first place, a frozen dataclass of numbers

    def take(self, place: Any, rows: int) -> tuple[list, Any]:
        """References to the next ``rows`` rows, and the place after them."""

    def batch(self, refs: Sequence) -> Any:
        """The rows as tensors: has ``.to(device)``, ``.tensors()`` by name, and ``.replaced(tensors)``: the same of
        others."""


@dataclass(frozen=True)
class Stage:
    """A stretch of steps of one module on one source. The schedule is at ``offset`` of ``span`` steps when it begins.

    ``begin`` is called before a module's first step where another one's came before, whose weights it may take over.
    """

    module: nn.Module
    parameters: Sequence[Parameter]
    source: RowSource
    steps: int
    rows: int
    tokens: int  # positions a step reads, padding included
    flops: int  # a step's floating-point operations
    offset: int = 0
    span: int = 0  # 0: the stage's own steps
    fresh: bool = True  # the optimizer forgets what it gathered before
    begin: Callable[[], None] = lambda: None

    def progress(self, step: int) -> float:
        """How far the schedule is, from 0 to 1, at a step of the stage."""
        return (self.offset + step) / (self.span or self.steps)


@dataclass(frozen=True)
class Engine:
    """How the loop runs, whatever it trains."""

    clip: NotNegative = 1.0
    """Largest norm of all gradients together; 0 never clips."""
    micro_rows: CountOrZero = 0
    """Rows a forward pass and process; 0: a step's rows in one."""
    precision: Precision = "auto"
    """Number type of the products. auto: bfloat16 where it is faster here."""
    compile: Compile = "auto"
    """auto: torch.compile where a compiler is found, and on a GPU the kernels that are written for one."""
    activation_checkpointing: bool = False
    """Layers keep nothing but their inputs for the backward pass and compute the rest again: more time, less memory."""
    cuda_graphs: bool = False
    """On one GPU: record a step's kernels once and replay them with one launch. For steps so small that the GPU waits
    for Python; each shape of batch takes its own memory."""
    deterministic: bool = False
    """Only kernels that repeat bit for bit (a CPU needs no asking)."""
    log_every: CountOrZero = 20
    """Steps between lines in metrics.jsonl."""
    evaluate_every: CountOrZero = 1000
    """Steps between evaluations on the held-out split; 0: only at the end."""
    save_every: CountOrZero = 1000
    """Steps between checkpoints; 0: only at the end."""
    keep: CountOrZero = 2
    """How many checkpoints stay; 0: all."""


@dataclass
class State:
    """Where a run is. With the weights and the optimizer it is all that a run is made of."""

    step: int = 0
    steps: int = 0  # of the whole run
    phase: int = 0
    phase_step: int = 0
    place: dict = field(default_factory=dict)
    tokens: int = 0
    flops: int = 0
    seconds: float = 0.0
    scale: float = 1.0  # of steps and warm-up, where the run was fitted to a time

    @property
    def finished(self) -> bool:
        """Whether every step is done."""
        return self.step >= self.steps


Evaluate = Callable[[nn.Module], dict[str, float]]


def train_stages(
    stages: Sequence[Stage],
    optimizer: OptimizerConfig,
    schedule: Schedule,
    engine: Engine,
    parallel: Parallel,
    folder: Path | None = None,
    recorder: Recorder | None = None,
    evaluate: Evaluate | None = None,
    seconds: float = 0.0,
    enough: Callable[[], bool] | None = None,
) -> State:
    """Train the modules of ``stages`` in place, one after another, and give the state that the run ends in.

    With a ``folder`` the run goes on from its last checkpoint there, and saves as ``engine`` says, at the end, and when
    SIGTERM or Ctrl-C asks it to stop; it then returns early, ``state.step`` saying where it is. With ``seconds`` the
    stages and the warm-up are stretched or shrunk, before a new run's first step, to end after about that time. After
    an evaluation that is ``enough`` the run ends, as if it had no more steps.

    Raises:
        UserError: a parameter is in no group or in two, a checkpoint is damaged or of another model, the loss is not
            finite, the disk is full.
    """
    for stage in stages:
        check_coverage(stage.module, stage.parameters)
    make_deterministic(engine.deterministic, parallel.device)
    loop = Loop(stages, optimizer, schedule, engine, parallel, folder, recorder or SilentRecorder())
    if seconds and not loop.state.step:
        loop.fit(seconds)
    with flush_denormals(), catch_stop_signals() as stop:
        while not loop.state.finished and not loop.stopping:
            loop.step(stop.is_set())
            if loop.due(engine.log_every):
                loop.log()
            if evaluate and loop.due(engine.evaluate_every):
                loop.held_out(evaluate)
                if enough and parallel.any(parallel.first and enough()):
                    loop.state.steps = loop.state.step
            if loop.due(engine.save_every) or loop.stopping:
                loop.save()
    loop.recorder.end()
    return loop.state


def make_deterministic(everywhere: bool, device: torch.device) -> None:
    """Have kernels repeat bit for bit: always on a CPU, where compiled gradients of embeddings were else added by
    several threads in the order in which they come; ``everywhere`` if that is asked for."""
    if everywhere and device.type == "cuda":  # read once, by the process's first product
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(everywhere or device.type == "cpu", warn_only=not everywhere)
    # Nothing here reads what it has not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


class Loop:
    """The state of a run, and what moves it by one step."""

    def __init__(
        self,
        stages: Sequence[Stage],
        optimizer: OptimizerConfig,
        schedule: Schedule,
        engine: Engine,
        parallel: Parallel,
        folder: Path | None,
        recorder: Recorder,
    ):
        self.stages, self.config, self.schedule = stages, optimizer, schedule
        self.engine, self.parallel, self.folder, self.recorder = engine, parallel, folder, recorder
        self.state, self.stopping = State(), False
        for stage in stages:
            check_engine(engine, stage.module, parallel)
        # The first process says where the run goes on: the others may see another folder.
        found = parallel.of_first(lambda: str((folder and checkpoint.latest_checkpoint(folder)) or ""))
        if found:
            self.restore(Path(found))
        else:
            self.enter(stages[0])
        self.stages, self.schedule = scale_stages(stages, schedule, self.state.scale)
        self.state.steps = sum(stage.steps for stage in self.stages)
        self.ahead = Prefetcher(self.batches)
        self.sums: dict[str, Tensor] = {}
        self.lap = (time.monotonic(), self.state.tokens)

    def enter(self, stage: Stage) -> None:
        """Make a stage's module the one that is trained, on our device, by an optimizer that remembers nothing."""
        self.module: Any = stage.module.to(self.parallel.device)  # with counts() and figures()
        self.optimizer = self.fresh_optimizer(stage)
        how, device = self.engine, self.parallel.device
        called = prepare_module(stage.module, how.compile, how.activation_checkpointing, how.precision, device)
        self.passes: Passes | RecordedPasses = Passes(self.parallel.wrap(called), how.precision, self.parallel)
        if how.cuda_graphs:
            self.passes = RecordedPasses(self.passes, [p.value for p in stage.parameters])
        if self.parallel.first:
            announce_compiling(how.compile, device)

    def fresh_optimizer(self, stage: Stage) -> Optimizer:
        """One for a stage's parameters that remembers nothing."""
        products = resolve_precision(self.engine.precision, self.parallel.device)
        return Optimizer(self.config, stage.parameters, getattr(torch, products))

    def follow(self) -> None:
        """Go over to the next stage, if there is one."""
        self.state.phase, self.state.phase_step = self.state.phase + 1, 0
        if self.state.phase < len(self.stages):
            stage = self.stages[self.state.phase]
            if stage.module is not self.module:
                stage.begin()
                self.enter(stage)
            elif stage.fresh:
                self.optimizer = self.fresh_optimizer(stage)

    def due(self, every: int) -> bool:
        """Whether something done every so many steps (0: only at the end) is to be done now."""
        return self.state.finished or (bool(every) and self.state.step % every == 0)

    def step(self, stop: bool = False) -> None:
        """Rows → losses → gradients → parameters, once. ``stop`` asks all processes to end after this step."""
        state, stage = self.state, self.stages[self.state.phase]
        if state.phase_step == 0:
            state.place = asdict(stage.source.start)
        batches, place = self.ahead.take(stage, type(stage.source.start)(**state.place))
        progress = torch.full((), stage.progress(state.phase_step), device=self.parallel.device)
        counts = self.counts(batches, progress)
        # DDP averages gradients over processes; a sum is wanted, so each loss is made that much larger.
        divisors = {name: count.clamp(min=1) / self.parallel.world for name, count in counts.items()}
        for batch in batches:
            sums = self.passes(batch, divisors, progress, batch is not batches[-1])
            for name, value in sums.items():
                self.sums[name] = self.sums[name] + value.double() if name in self.sums else value.double()
        self.gradients = self.optimizer.gradients()
        if not math.isfinite(self.gradients.norms["total"]):
            raise self.not_finite(batches)
        self.optimizer.clip(self.engine.clip, self.gradients.norms)
        self.optimizer.step(self.schedule.factor(stage.offset + state.phase_step, stage.span or stage.steps))

        state.step, state.phase_step, state.place = state.step + 1, state.phase_step + 1, asdict(place)
        state.tokens, state.flops = state.tokens + stage.tokens, state.flops + stage.flops
        if state.phase_step == stage.steps:
            self.follow()
        self.stopping = self.parallel.any(stop)

    def batches(self, stage: Stage, place: Any) -> tuple[list, Any]:
        """This process's micro-batches of the step at a place, on its device, and the place after it."""
        refs, after = stage.source.take(place, stage.rows)
        parts = self.parallel.share(refs, self.engine.micro_rows)
        return [stage.source.batch(part).to(self.parallel.device) for part in parts], after

    def fit(self, seconds: float, tries: int = 12) -> None:
        """Scale the run to ``seconds`` from now by the median of a few steps, which are then undone."""
        began, first = time.monotonic(), self.stages[0]
        before = [p.value.detach().clone() for p in first.parameters]
        laps = []
        for _ in range(min(tries, first.steps)):
            then = time.monotonic()
            self.step()
            laps.append(time.monotonic() - then)
        with torch.no_grad():
            for p, value in zip(first.parameters, before, strict=True):
                p.value.copy_(value)
        steps_left = (seconds - (time.monotonic() - began)) / statistics.median(laps)
        left = self.parallel.sum({"left": torch.tensor(steps_left)})["left"]
        # A step of another stage takes longer in proportion to its operations, where they are counted.
        lengths = [stage.steps * (stage.flops / first.flops if first.flops else 1.0) for stage in self.stages]
        scale = max(float(left) / self.parallel.world, 1.0) / sum(lengths)
        self.stages, self.schedule = scale_stages(self.stages, self.schedule, scale)
        self.state = State(steps=sum(stage.steps for stage in self.stages), scale=scale)
        if self.module is first.module:
            self.optimizer = self.fresh_optimizer(first)
        else:
            self.enter(first)
        self.sums = {}
        self.lap = (time.monotonic(), 0)

    def counts(self, batches: Sequence, progress: Tensor) -> dict[str, Tensor]:
        """Float32 []: by term, the positions that count on all processes."""
        sums: dict[str, Tensor] = {}
        for batch in batches:
            for name, count in self.module.counts(batch, progress).items():
                sums[name] = sums[name] + count.float() if name in sums else count.float()
        return self.parallel.sum(sums)

    def header(self, split: str) -> dict[str, object]:
        """What every line of metrics.jsonl begins with."""
        state = self.state
        epoch = state.place.get("epoch", 0)
        return {
            "step": state.step, "phase": state.phase, "epoch": epoch, "tokens": state.tokens, "flops": state.flops,
            "seconds": state.seconds, "split": split,
        }  # fmt: skip

    def log(self) -> None:
        """Record the figures of the steps since the last record."""
        now, (then, tokens) = time.monotonic(), self.lap
        self.state.seconds += now - then
        figures = self.module.figures(self.parallel.sum(self.sums))
        figures |= {f"gradient_norm/{name}": float(norm) for name, norm in self.gradients.norms.items()}
        figures |= {f"unreached/{name}": int(count) for name, count in self.gradients.unreached.items() if count}
        figures |= {f"learning_rate/{name}": rate for name, rate in self.optimizer.rates().items()}
        figures |= {"tokens_per_second": (self.state.tokens - tokens) / (now - then)}
        self.recorder.record(self.header("train") | figures)
        self.recorder.progress(self.state.step, self.state.steps, figures)
        self.sums, self.lap = {}, (now, self.state.tokens)

    def held_out(self, evaluate: Evaluate) -> None:
        """Record the figures of the held-out split; the time it takes counts for no step."""
        began = time.monotonic()
        self.recorder.record(self.header("held-out") | evaluate(self.module))
        self.lap = (self.lap[0] + time.monotonic() - began, self.lap[1])

    def save(self) -> None:
        """Write a checkpoint, if the run has a folder."""
        if self.folder and self.parallel.first:
            tensors = dict(self.module.named_parameters())
            checkpoint.save_checkpoint(
                self.folder, self.state.step, tensors, self.optimizer.state(), asdict(self.state), self.engine.keep
            )
        self.parallel.wait()

    def restore(self, found: Path) -> None:
        """Take weights, optimizer and state from a checkpoint, which the first process reads."""
        tensors: dict[str, Tensor] = {}
        optimizer: dict[str, Tensor] = {}

        def read() -> dict[str, Any]:
            weights, moments, state = checkpoint.load_checkpoint(found)
            tensors.update(weights)
            optimizer.update(moments)
            return state

        state = self.parallel.of_first(read)
        self.enter(self.stages[min(state["phase"], len(self.stages) - 1)])
        parameters = dict(self.module.named_parameters())
        tensors = self.parallel.tensors_of_first(tensors)
        check_names(set(tensors), set(parameters), str(found))
        with torch.no_grad():
            for name, value in parameters.items():
                value.copy_(tensors[name])
        self.state = State(**state)
        self.optimizer.load_state(self.parallel.tensors_of_first(optimizer))

    def not_finite(self, batches: Sequence) -> UserError:
        """The error for a gradient that is not finite, with the rows that gave it kept for a look."""
        state = self.state
        where = f"step {state.step} (phase {state.phase}, place {state.place})"
        if not self.folder:
            return UserError(f"the gradient is not finite at {where}")
        dump = self.folder.with_name(f"not-finite-step-{state.step:08d}-process-{self.parallel.rank}")
        tensors = {
            f"{name}.{index}": value for index, batch in enumerate(batches) for name, value in batch.tensors().items()
        }
        norms = {name: str(float(norm)) for name, norm in self.gradients.norms.items()}
        checkpoint.write_tensor_folder(dump, {"batch": tensors}, {"state": asdict(state), "norms": norms})
        return UserError(f"the gradient is not finite at {where}; the rows are in {dump}, checkpoints in {self.folder}")


def scale_stages(stages: Sequence[Stage], schedule: Schedule, scale: float) -> tuple[list[Stage], Schedule]:
    """Stages and schedule with all their steps multiplied by ``scale``: the same run, longer or shorter."""
    if scale == 1:
        return list(stages), schedule
    longer = lambda steps: max(1, round(steps * scale)) if steps else 0  # noqa: E731
    stretched = [replace(s, steps=longer(s.steps), offset=longer(s.offset), span=longer(s.span)) for s in stages]
    return stretched, replace(schedule, warmup=longer(schedule.warmup))


def check_engine(engine: Engine, module: nn.Module, parallel: Parallel) -> None:
    """Raise ``UserError`` for what the engine is asked and cannot do with a module: before anything is written."""
    if engine.activation_checkpointing:
        check_can_recompute(module)
    if engine.cuda_graphs:
        check_can_record(parallel, module)
        if engine.activation_checkpointing and not choose_kernels(engine.compile, engine.precision, parallel.device):
            raise UserError(
                "engine.cuda_graphs with engine.activation_checkpointing: only compiled; PyTorch's own attention draws "
                "its dropout from a generator, which cannot be set back inside a recording"
            )


def check_coverage(module: nn.Module, parameters: Sequence[Parameter]) -> None:
    """Raise ``UserError`` unless every parameter of ``module`` is among ``parameters`` exactly once."""
    if len({id(p.value) for p in parameters}) != len(parameters):
        raise UserError("a parameter is in two optimizer groups")
    check_names({p.name for p in parameters}, {name for name, _ in module.named_parameters()}, "optimizer groups")


def check_names(found: set[str], wanted: set[str], where: str) -> None:
    """Raise ``UserError`` naming what is missing or unknown."""
    if found != wanted:
        raise UserError(f"{where}: missing {sorted(wanted - found)[:5]}, unknown {sorted(found - wanted)[:5]}")


@contextlib.contextmanager
def catch_stop_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and the first Ctrl-C set; a second Ctrl-C interrupts as usual."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield asked
        return

    def ask(number: int, frame: object) -> None:
        asked.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
