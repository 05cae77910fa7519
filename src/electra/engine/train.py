"""The one loop. Pre-training and fine-tuning differ in the module, the source of rows and the parameters they bring."""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from electra.engine import checkpoint
from electra.engine.agreement import Agreement
from electra.engine.best import choose_best, refuse_missing_figure, refuse_undirected_figure
from electra.engine.compiling import Compile, announce_compiling, check_can_recompute, choose_kernels, prepare_module
from electra.engine.optim import Muon, Optimizer, OptimizerConfig, Parameter
from electra.engine.parallel import Parallel, Precision, flush_denormals, resolve_precision
from electra.engine.passes import Passes, RecordedPasses, check_can_record
from electra.engine.prefetch import Prefetcher
from electra.engine.process import catch_stop_signals, make_deterministic
from electra.engine.saving import CheckpointWriter
from electra.engine.scaling import StagePlan, cool_stages, scale_to_seconds
from electra.engine.stages import MicroBatch, Stage, State
from electra.engine.telemetry import Recorder, SilentRecorder
from electra.errors import UserError
from electra.ranges import CountOrZero, NotNegative
from electra.run_folder import join_differences, list_differences


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
    """auto: torch.compile where a compiler is found, and the kernels that are written for this device. kernels: on a
    CPU those kernels alone, where compiling for each of many lengths of rows would take longer than it saves."""
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
    """Steps between evaluations on the held-out split; 0: only when a model is trained to its end."""
    save_every: CountOrZero = 1000
    """Steps between checkpoints; 0: only at the end."""
    save_minutes: NotNegative = 0.0
    """A checkpoint too when so many minutes have passed since the last one; 0: whatever the time. The run goes on while
    a thread writes it."""
    keep: CountOrZero = 2
    """How many of the last checkpoints stay; 0: all."""
    keep_every: CountOrZero = 0
    """Every so many steps a checkpoint that stays for good; 0: none."""
    keep_best: str = ""
    """A figure of the held-out split, as metrics.jsonl calls it: generator/loss, discriminator/skill … When an
    evaluation finds it better than ever, a checkpoint is made, which stays until there is a better one. Of several
    stages the last is meant."""


Evaluate = Callable[[nn.Module], dict[str, float]]


def train_stages(
    plan: StagePlan,
    optimizer: OptimizerConfig,
    engine: Engine,
    parallel: Parallel,
    folder: Path | None = None,
    recorder: Recorder | None = None,
    evaluate: Evaluate | None = None,
    seconds: float = 0.0,
    enough: Callable[[], bool] | None = None,
    asked: Mapping[str, object] | None = None,
    evaluate_first: bool = False,
    deadline: float = math.inf,
) -> State:
    """Train the modules of the plan's stages in place, one after another, and return the state at the end of the run.

    With a ``folder`` the run goes on from the last checkpoint there, and saves one as often as ``engine`` says, at the
    end, and when it is stopped: by SIGTERM, SIGUSR1 or Ctrl-C, or since ``time.monotonic()`` of the first process is
    past the ``deadline``. It then returns early, after one step at least, and ``state.step`` is the last step done.
    A thread writes the checkpoints; what it could not write is told at the next step, and the last one is written on
    return. With ``seconds`` the steps and the warm-up of a new run are scaled before its first step so that it ends
    after about that time. If ``enough`` is true after an evaluation, the run ends as if it had no more steps.
    ``asked``: what a run was asked, as JSON has it; each checkpoint says it, and one of a run that was asked something
    else is refused.
    ``evaluate_first``: there are figures of the beginning too, at step 0.

    Raises:
        UserError: a parameter is in no group or in two, a checkpoint is damaged or of another run, the gradient or the
            weights are not finite, the disk is full, the best is asked for by a figure that no evaluation gives.
    """
    if engine.keep_best and not evaluate:
        raise UserError("engine.keep_best: nothing is evaluated, so there are no figures; give engine.evaluate_every")
    for stage in plan.cut(1.0):
        check_coverage(stage.module, stage.parameters)
    make_deterministic(engine.deterministic, parallel.device)
    loop = Loop(plan, optimizer, engine, parallel, folder, recorder or SilentRecorder(), asked)
    if enough is None:
        loop.plan_steps()
    if seconds and not loop.state.step:
        loop.fit(seconds, evaluate)
    with flush_denormals(), catch_stop_signals() as stop, loop.writer:
        if evaluate and evaluate_first and not loop.state.step:
            loop.log_held_out(evaluate)
        while not loop.state.finished and not loop.stopping:
            loop.step(stop.is_set() or (parallel.first and time.monotonic() >= deadline))
            if loop.are_figures_due(engine.log_every):
                loop.log()
            if evaluate and loop.are_figures_due(engine.evaluate_every):
                loop.log_held_out(evaluate)
                if enough and parallel.any(parallel.first and enough()):
                    loop.state.steps = loop.state.step
            loop.end_stage()  # behind its figures, which are of its own module
            if loop.is_save_due():
                loop.save()
    if folder and parallel.first:
        checkpoint.remove_old_checkpoints(folder, loop.keeping)
    loop.recorder.finish()
    return loop.state


class Loop:
    """A run in progress: its state, and the step that moves it on."""

    def __init__(
        self,
        plan: StagePlan,
        optimizer: OptimizerConfig,
        engine: Engine,
        parallel: Parallel,
        folder: Path | None,
        recorder: Recorder,
        asked: Mapping[str, object] | None = None,
    ):
        self.plan, self.config = plan, optimizer
        self.stages, self.schedule = plan.scaled(1.0)
        self.engine, self.parallel, self.folder, self.recorder = engine, parallel, folder, recorder
        self.state, self.stopping = State(asked=dict(asked or {})), False
        self.wrapped: dict[int, nn.Module] = {}  # modules as they are called, by the id of what they wrap
        for stage in self.stages:
            check_engine(engine, stage.module, parallel)
        # The first process says where the run goes on: the others may see another folder.
        latest = parallel.ask_first(lambda: str((folder and checkpoint.latest_checkpoint(folder)) or ""))
        if latest:
            self.restore(Path(latest))  # with the number of steps: a run that was enough stays at its end
        else:
            self.enter(self.stages[0])
            self.state.steps = sum(stage.steps for stage in self.stages)
        self.prefetcher, self.writer = Prefetcher(self.batches), CheckpointWriter()
        self.sums: dict[str, Tensor] = {}
        self.lap = (time.monotonic(), self.state.tokens)

    def plan_steps(self) -> None:
        """Give the run the steps that its stages have now: its last one may be longer than when it was saved."""
        state, steps = self.state, sum(stage.steps for stage in self.stages)
        if state.phase == len(self.stages) and state.step < steps:
            state.phase, state.phase_step = state.phase - 1, self.stages[-1].steps - (steps - state.step)
        state.steps = steps

    def enter(self, stage: Stage) -> None:
        """Make a stage's module the one that is trained: move it to the device, prepare it, start a fresh optimizer."""
        engine, device = self.engine, self.parallel.device
        # Any: nn.Module is typed as if every attribute were a tensor or module. It has counts() and figures().
        self.module: Any = stage.module.to(device)
        self.optimizer = self.fresh_optimizer(stage)
        if id(stage.module) not in self.wrapped:
            prepared = prepare_module(
                stage.module, engine.compile, engine.activation_checkpointing, engine.precision, device
            )
            self.wrapped[id(stage.module)] = self.parallel.wrap_module(prepared)
            if self.parallel.first:
                announce_compiling(engine.compile, device)
        wrapped = self.wrapped[id(stage.module)]
        self.passes: Passes | RecordedPasses = Passes(wrapped, engine.precision, self.parallel)
        if engine.cuda_graphs:
            self.passes = RecordedPasses(self.passes, [p.value for p in stage.parameters])

    def fresh_optimizer(self, stage: Stage) -> Optimizer:
        """An optimizer of a stage's parameters with nothing gathered yet."""
        products = resolve_precision(self.engine.precision, self.parallel.device)
        group = self.parallel.find_machine_group() if isinstance(self.config, Muon) else None
        return Optimizer(self.config, stage.parameters, getattr(torch, products), group)

    def is_at_end_of_stage(self) -> bool:
        """Whether the last step of a stage is done."""
        return self.state.phase_step == self.stages[self.state.phase].steps

    def end_stage(self) -> None:
        """At the end of a stage go on to the next one, if there is one."""
        if not self.is_at_end_of_stage():
            return
        self.state.phase, self.state.phase_step = self.state.phase + 1, 0
        if self.state.phase < len(self.stages):
            stage = self.stages[self.state.phase]
            if stage.module is not self.module:
                self.wrapped.pop(id(self.module), None)  # nobody comes back to it
                stage.begin()
                self.enter(stage)
            elif stage.fresh:
                self.optimizer = self.fresh_optimizer(stage)

    def is_due(self, every: int) -> bool:
        """Whether something that is done every so many steps (0: only at the end) is due after this step."""
        return self.state.finished or (bool(every) and self.state.step % every == 0)

    def are_figures_due(self, every: int) -> bool:
        """Whether figures that are taken every so many steps are due: those of a module also after its last step."""
        later = self.stages[self.state.phase + 1 :]
        ends_module = self.is_at_end_of_stage() and bool(later) and later[0].module is not self.module
        return ends_module or self.is_due(every)

    def is_save_due(self) -> bool:
        """Whether a checkpoint is due after this step. The first process alone knows the time and the best figure; it
        alone saves."""
        engine, best = self.engine, self.state.best
        often = self.is_due(engine.save_every) or self.is_due(engine.keep_every)
        return often or self.stopping or best.get("step") == self.state.step or self.writer.is_late(engine.save_minutes)

    @property
    def keeping(self) -> checkpoint.Keeping:
        """Which checkpoints stay."""
        engine, best = self.engine, self.state.best
        step = best["step"] if best and best["figure"] == engine.keep_best else 0
        return checkpoint.Keeping(engine.keep, engine.keep_every, step)

    def step(self, stop: bool = False) -> None:
        """Rows → losses → gradients → parameters, once. If ``stop`` is true in one process, all end after this step.

        At the end of a stage ``end_stage`` must be called before the next step.
        """
        self.writer.check()
        state, stage = self.state, self.stages[self.state.phase]
        if state.phase_step == 0 and not stage.reads_on:
            state.place = asdict(stage.source.start)
        batches, place = self.prefetcher.take(stage, type(stage.source.start)(**state.place))
        progress = torch.full((), stage.progress(state.phase_step), device=self.parallel.device)
        # Whatever one process may ask of all of them belongs here: it is known to all before the parameters move.
        agreement = Agreement(self.parallel, self.counts(batches, progress), {"stop": stop})
        # DDP averages gradients over processes, but their sum is wanted: hence the losses are that much larger.
        divisors = {name: count.clamp(min=1) / self.parallel.world for name, count in agreement.counts().items()}
        for batch in batches:
            sums = self.passes(batch, divisors, progress, batch is not batches[-1])
            for name, value in sums.items():
                self.sums[name] = self.sums[name] + value.double() if name in self.sums else value.double()
        self.gradients = self.optimizer.measure_gradients()
        if not math.isfinite(self.gradients.norms["total"]):
            raise self.dump_not_finite(batches)
        self.stopping = agreement.requested("stop")  # here, where a GPU has been waited for
        self.optimizer.clip(self.engine.clip, self.gradients.norms)
        self.optimizer.step(stage.rate(self.schedule, state.phase_step))

        state.step, state.phase_step, state.place = state.step + 1, state.phase_step + 1, asdict(place)
        state.tokens, state.flops = state.tokens + stage.tokens, state.flops + stage.flops

    def batches(self, stage: Stage, place: Any) -> tuple[list, Any]:
        """This process's micro-batches of the step at a place of the stage's source, on its device, and the place after
        it."""
        refs, after = stage.source.take(place, stage.rows)
        parts = self.parallel.share(refs, self.engine.micro_rows)
        return [stage.source.batch(part).to(self.parallel.device) for part in parts], after

    def fit(self, seconds: float, evaluate: Evaluate | None) -> None:
        """Scale the run so that it ends about ``seconds`` from now, by the median of a few steps of each kind, and by
        an evaluation if it makes any on its way. The steps are undone; what they compile is kept."""
        end, every = time.monotonic() + seconds, self.engine.evaluate_every
        laps: dict[tuple[int, int, int], float] = {}
        evaluation: list[float] = []

        def measure(stages: Sequence[Stage]) -> float:
            kinds = [(id(stage.module), stage.rows, stage.tokens) for stage in stages]
            for kind, stage in zip(kinds, stages, strict=True):
                if kind not in laps:
                    laps[kind] = self.measure_step(stage)
            if evaluate and every and not evaluation:
                then = time.monotonic()
                evaluate(self.module)
                evaluation.append((time.monotonic() - then) / every)
            lengths = [laps[kind] + sum(evaluation) for kind in kinds]
            return self.parallel.ask_first(lambda: scale_to_seconds(stages, lengths, end - time.monotonic()))

        scale = self.plan.find_scale(measure)
        self.stages, self.schedule = self.plan.scaled(scale)
        self.state = State(steps=sum(stage.steps for stage in self.stages), scale=scale, asked=self.state.asked)
        self.enter(self.stages[0])
        self.sums = {}
        self.lap = (time.monotonic(), 0)

    def measure_step(self, stage: Stage, tries: int = 12) -> float:
        """Median seconds of a few steps of a stage, from its first rows on, which are undone."""
        if self.module is not stage.module:
            self.enter(stage)
        self.stages = [replace(stage, steps=tries + 1, reads_on=False)]  # it does not end
        self.state = State(asked=self.state.asked)
        before = [p.value.detach().clone() for p in stage.parameters]
        laps = []
        for _ in range(min(tries, stage.steps)):
            then = time.monotonic()
            self.step()
            laps.append(time.monotonic() - then)
        with torch.no_grad():
            for p, value in zip(stage.parameters, before, strict=True):
                p.value.copy_(value)
        return statistics.median(laps)

    def counts(self, batches: Sequence[MicroBatch], progress: Tensor) -> dict[str, Tensor]:
        """Float32 []: by term, how many positions of this process's batches count in the step."""
        sums: dict[str, Tensor] = {}
        for batch in batches:
            for name, count in self.module.counts(batch, progress).items():
                sums[name] = sums[name] + count.float() if name in sums else count.float()
        return sums

    def header(self, split: str) -> dict[str, object]:
        """The fields that every line of metrics.jsonl begins with."""
        state = self.state
        epoch = state.place.get("epoch", 0)
        return {
            "step": state.step, "steps": state.steps, "phase": state.phase, "phases": len(self.stages), "epoch": epoch,
            "tokens": state.tokens, "flops": state.flops, "seconds": state.seconds, "split": split,
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
        self.recorder.show_progress(self.state.step, self.state.steps, figures)
        self.sums, self.lap = {}, (now, self.state.tokens)

    def log_held_out(self, evaluate: Evaluate) -> None:
        """Record the figures of the held-out split, and whether they are the best so far. The time that this takes is
        not counted as training time."""
        began = time.monotonic()
        figures = evaluate(self.module)
        self.recorder.record(self.header("held-out") | figures)
        if self.engine.keep_best and self.parallel.first and self.module is self.stages[-1].module:
            self.note_best(figures)
        self.lap = (self.lap[0] + time.monotonic() - began, self.lap[1])

    def note_best(self, figures: Mapping[str, float]) -> None:
        """Keep in mind whether the figures of an evaluation are the best so far; before the first step none are.

        Raises:
            UserError: the figure that says it is not among them, and never was.
        """
        state, figure = self.state, self.engine.keep_best
        if state.best.get("figure") != figure:
            refuse_missing_figure(figure, figures)
        if state.step:
            state.best = choose_best(state.best, figure, figures, state.step)

    def save(self) -> None:
        """Have a checkpoint written, if the run has a folder. Raises ``UserError`` as ``CheckpointWriter.save``."""
        if self.folder and self.parallel.first:
            self.writer.save(
                self.folder, self.state.step, dict(self.module.named_parameters()), self.optimizer.state(),
                asdict(self.state), self.keeping,
            )  # fmt: skip

    def restore(self, folder: Path) -> None:
        """Load weights, optimizer and state from a checkpoint, which the first process reads and verifies.

        Raises:
            UserError: it is damaged, or of another model or run.
        """
        tensors: dict[str, Tensor] = {}
        optimizer: dict[str, Tensor] = {}

        def read_checkpoint() -> dict[str, Any]:
            weights, moments, state = checkpoint.load_checkpoint(folder)
            tensors.update(weights)
            optimizer.update(moments)
            return asdict(State.read(state, f"{folder}: damaged checkpoint: state.json"))

        state = State(**self.parallel.ask_first(read_checkpoint))
        if changed := join_differences(list_differences(state.asked, self.state.asked)):
            raise checkpoint.damage_error(folder, f"of another run: {changed}")
        self.stages, self.schedule = self.plan.scaled(state.scale)
        if state.cool_down:
            self.stages = cool_stages(self.stages, **state.cool_down)
        self.enter(self.stages[min(state.phase, len(self.stages) - 1)])
        parameters = dict(self.module.named_parameters())
        tensors = self.parallel.broadcast_tensors(tensors)
        checkpoint.require_same_tensors(folder, tensors, parameters)
        if names := checkpoint.find_not_finite(tensors):
            raise checkpoint.damage_error(folder, f"{names[0]} is not finite")
        with torch.no_grad():
            for name, value in parameters.items():
                value.copy_(tensors[name])
        self.state = state
        moments = self.parallel.broadcast_tensors(optimizer)
        if not moments and (state.phase_step or state.phase == len(self.stages)):  # at a stage's first step it is fresh
            raise checkpoint.damage_error(folder, "optimizer.safetensors is empty")
        try:
            self.optimizer.load_state(moments)
        except UserError as error:
            raise checkpoint.damage_error(folder, str(error)) from error

    def dump_not_finite(self, batches: Sequence[MicroBatch]) -> UserError:
        """The error for a gradient that is not finite. The rows that led to it are written beside the checkpoints."""
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


def check_engine(engine: Engine, module: nn.Module, parallel: Parallel) -> None:
    """Raise ``UserError`` if the engine's settings do not suit a module. Called before anything is written."""
    if engine.keep_best:
        refuse_undirected_figure(engine.keep_best)
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


def check_names(names: set[str], expected: set[str], where: str) -> None:
    """Raise ``UserError`` if the names differ from the expected ones; it says which are missing or unknown."""
    if names != expected:
        raise UserError(f"{where}: missing {sorted(expected - names)[:5]}, unknown {sorted(names - expected)[:5]}")
