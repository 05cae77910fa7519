"""What the loop is given to train on, and where it is: sources of rows, stages, the state of a run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from electra.engine.optim import Parameter, Schedule
from electra.strict_json import require_shape

AnyPlace = TypeVar("AnyPlace")  # a frozen dataclass of numbers
RowRef = TypeVar("RowRef")
AnyBatch = TypeVar("AnyBatch", covariant=True)  # a ``MicroBatch``


@runtime_checkable
class MicroBatch(Protocol):
    """Rows as tensors."""

    def to(self, device: torch.device) -> "MicroBatch":
        """The same rows on a device."""

    def tensors(self) -> dict[str, Tensor]:
        """All tensors, by name."""

    def replaced(self, tensors: Mapping[str, Tensor]) -> "MicroBatch":
        """A batch of other tensors of the same names."""


@runtime_checkable
class RowSource(Protocol[AnyPlace, RowRef, AnyBatch]):
    """Rows at an address: ``take`` is a pure function, so a run goes on from a place as if it had never stopped."""

    start: AnyPlace  # the first place

    def take(self, place: AnyPlace, rows: int) -> tuple[list[RowRef], AnyPlace]:
        """References to the next ``rows`` rows, and the place after them."""

    def batch(self, refs: Sequence[RowRef]) -> AnyBatch:
        """The rows of these references, on the CPU."""


@dataclass(frozen=True)
class Stage:
    """A stretch of steps that train one module on one source. It begins at step ``offset`` of the ``span`` steps of the
    schedule.

    ``begin`` is called before the first step of a module that follows another one, whose weights it may take over.
    ``cools_from``: the step of the stage from which on the learning rate falls linearly to 0 at the stage's end, as if
    there were no more of the schedule.
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
    reads_on: bool = False  # its rows go on where those of the stage before ended, which had the same source
    cools_from: int | None = None
    begin: Callable[[], None] = lambda: None

    def progress(self, step: int) -> float:
        """How far the schedule is, from 0 to 1, at a step of the stage."""
        return min(1.0, (self.offset + step) / (self.span or self.steps))

    def rate(self, schedule: Schedule, step: int) -> float:
        """What the learning rate is multiplied with at a step of the stage."""
        held = step if self.cools_from is None else min(step, self.cools_from)
        rate = schedule.factor(self.offset + held, self.span or self.steps)
        return rate if held == step else rate * ((self.steps - step) / (self.steps - held))


@dataclass
class State:
    """Where a run is. With the weights and the optimizer's state this is all that a checkpoint needs."""

    step: int = 0
    steps: int = 0  # of the whole run
    phase: int = 0
    phase_step: int = 0
    place: dict = field(default_factory=dict)
    tokens: int = 0
    flops: int = 0
    seconds: float = 0.0
    scale: float = 1.0  # of steps and warm-up, where the run was fitted to a time
    asked: dict = field(default_factory=dict)  # what the run was asked: name → a value that JSON has
    best: dict = field(default_factory=dict)  # the best figure so far: its name, value and step, if one is watched
    # Where a run cools down: the arguments of ``scaling.cool_stages``, that of the stages apart.
    cool_down: dict = field(default_factory=dict)

    @classmethod
    def read(cls, content: Any, where: str) -> "State":
        """The state that a checkpoint's JSON holds. Raises ``UserError``, whose message ``where`` begins, otherwise."""
        older: dict[str, Any] = {"cool_down": {}, "best": {}}  # of a run that was begun before there were any
        return require_shape(older | content if isinstance(content, dict) else content, cls, where)

    @property
    def finished(self) -> bool:
        """Whether every step is done."""
        return self.step >= self.steps
