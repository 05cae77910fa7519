"""What a run computes with: its device, its number type, and the processes that share a step."""

import contextlib
import ctypes
import inspect
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup, Store  # type: ignore[attr-defined]

from electra.engine.groups import join_group, join_machine_group
from electra.errors import UserError

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # malloc.h
MEASURED_SIZE, TURNS = 768, 5  # size of the products that are timed, and how often
WORTHWHILE_SPEEDUP = 1.5  # matrix units are three times as fast and more; a machine's noise is less than this
KEPT_BYTES = 1 << 30  # of free memory stay with the process
Precision = Literal["auto", "float32", "bfloat16"]
Row = TypeVar("Row")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Parallel:
    """This process among those of a run (``torchrun`` sets RANK, WORLD_SIZE and LOCAL_RANK).

    ``store``: where processes that ``start`` has joined leave notes for each other.
    """

    rank: int
    world: int
    device: torch.device
    store: Store | None = field(default=None, repr=False, compare=False)

    @staticmethod
    def local_device(number: int = 0) -> torch.device:
        """The device that process ``number`` of this machine computes on: the GPU of that number, else the CPU.

        The only place where a device is chosen: everything that reads or trains is given this one.
        """
        return torch.device("cuda", number) if torch.cuda.is_available() else torch.device("cpu")

    @classmethod
    def start(cls) -> "Parallel":
        """Join the other processes if ``torchrun`` started several, else compute alone."""
        world, rank, local = (
            int(os.environ.get(name, default))
            for name, default in (("WORLD_SIZE", "1"), ("RANK", "0"), ("LOCAL_RANK", "0"))
        )
        device = cls.local_device(local)
        start_threads()
        if device.type == "cuda":
            torch.cuda.set_device(device)  # else every process would also open a context on the first GPU
        return cls(rank, world, device, join_group(rank, world, device) if world > 1 else None)

    @classmethod
    def alone(cls) -> "Parallel":
        """One process on its own, even under ``torchrun``."""
        start_threads()
        return cls(0, 1, cls.local_device())

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    @property
    def several(self) -> bool:
        """Whether there are other processes, with which what follows has to be agreed."""
        return self.world > 1

    @property
    def place_on_machine(self) -> tuple[int, int]:
        """The number of this process among the run's on its machine, from 0, and how many they are."""
        if not self.several:
            return 0, 1
        return int(os.environ.get("LOCAL_RANK", self.rank)), int(os.environ.get("LOCAL_WORLD_SIZE", self.world))

    def share(self, refs: Sequence[Row], micro_rows: int) -> list[Sequence[Row]]:
        """This process's rows of a step, in micro-batches of ``micro_rows`` (0: in one).

        Raises:
            UserError: the rows cannot be divided equally.
        """
        if len(refs) % self.world:
            raise UserError(f"rows: {len(refs)} rows a step cannot be shared equally by {self.world} processes")
        own = len(refs) // self.world
        size = micro_rows or own
        if own % size:
            raise UserError(f"micro_rows: {own} rows a process cannot be cut into micro-batches of {size}")
        mine = refs[self.rank * own : (self.rank + 1) * own]
        return [mine[start : start + size] for start in range(0, own, size)]

    def sum(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each tensor summed over all processes, on this one's device. The arguments are not changed."""
        if not self.several:
            return {name: tensor.to(self.device) for name, tensor in tensors.items()}
        sums = {name: tensor.to(self.device, copy=True) for name, tensor in tensors.items()}
        for tensor in sums.values():
            torch.distributed.all_reduce(tensor)
        return sums

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` is true in any process; the same answer in all. One process alone waits for no GPU."""
        if not self.several:
            return flag
        return bool(self.sum({"flag": torch.tensor(float(flag))})["flag"])

    def ask_first(self, make: Callable[[], Answer]) -> Answer:
        """Call ``make`` in the first process only and return its result, which goes through JSON, in all of them.

        Raises:
            UserError: the one that ``make`` raised, in all processes.
        """
        if not self.several:
            return make()
        message: dict[str, Any] = {}
        if self.first:
            try:
                message = {"value": make()}
            except UserError as error:
                message = {"error": str(error)}
        content = torch.tensor(list(json.dumps(message).encode()), dtype=torch.uint8, device=self.device)
        size = torch.tensor([len(content)], device=self.device)
        torch.distributed.broadcast(size, 0)
        content = content if self.first else content.new_empty(int(size))
        torch.distributed.broadcast(content, 0)
        message = json.loads(bytes(content.tolist()))
        if "error" in message:
            raise UserError(message["error"])
        return message["value"]

    def broadcast_tensors(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The first process's tensors, by name, in all processes; if there are several, each on its own device."""
        if not self.several:
            return dict(tensors)
        kinds = self.ask_first(lambda: {name: (str(t.dtype), list(t.shape)) for name, t in tensors.items()})
        received = {}
        for name, (dtype, shape) in kinds.items():
            empty = torch.empty(shape, dtype=getattr(torch, dtype.removeprefix("torch.")), device=self.device)
            received[name] = tensors[name].to(self.device).contiguous() if self.first else empty
            torch.distributed.broadcast(received[name], 0)
        return received

    def wrap_module(self, module: nn.Module) -> nn.Module:
        """The module, with its gradients averaged over processes if there are several."""
        if not self.several:
            return module
        # Gradients are views of what is sent, so that none is held twice. Buffers are constants, equal everywhere: they
        # are not sent before each pass. No ``static_graph``: nothing here needs it, and it forbids what differs from
        # one pass to the next.
        parallel: Any = nn.parallel.DistributedDataParallel
        buffers = "forward_sync_buffers"  # the name since PyTorch 2.13
        if buffers not in inspect.signature(parallel).parameters:
            buffers = "broadcast_buffers"
        return parallel(module, gradient_as_bucket_view=True, **{buffers: False})

    def find_machine_group(self) -> ProcessGroup | None:
        """The processes on this machine, to share work whose result is large; None where this is the only one, or where
        machines have different numbers of them. To be called by all processes together."""
        if not self.several:
            return None
        _, here = self.place_on_machine
        if self.any(here != self.ask_first(lambda: here)) or here == 1:
            return None
        return torch.distributed.group.WORLD if here == self.world else join_machine_group(here)

    def sync_unless(self, more: bool, module: nn.Module) -> contextlib.AbstractContextManager:
        """A context for one micro-batch: while ``more`` of the step follow, gradients stay on this process."""
        if more and isinstance(module, nn.parallel.DistributedDataParallel):
            return module.no_sync()
        return contextlib.nullcontext()

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.several:
            torch.distributed.barrier()


@contextlib.contextmanager
def flush_denormals() -> Iterator[None]:
    """A context in which this thread takes denormal numbers, below 1.2e-38, as 0.

    A CPU computes a hundred times as slowly with them, and attention's probabilities and their gradients are full of
    them once attention has become sharp (docs/log.md). Python's own floats lose them too, so use it only around
    training and reading. ``start_threads`` does the same for torch's other threads.
    """
    before = float(torch.tensor(1e-30) * 1e-10) == 0.0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def start_threads() -> None:
    """Start torch's threads, if they are not running yet, so that denormal numbers are always 0 in them: a thread
    inherits that from the thread that starts it."""
    keep_memory()
    with flush_denormals():
        torch.ones(1 << 20).add_(1)


def keep_memory() -> None:
    """Have the C library keep freed memory for the next step. By default it returns large blocks to the system and
    requests them again, which is 40,000 page faults a step of ELECTRA-Small: 3 % of its time (docs/log.md)."""
    with contextlib.suppress(AttributeError, OSError):  # another C library than glibc manages memory as it likes
        mallopt = ctypes.CDLL(None).mallopt
        for parameter in (TRIM_THRESHOLD, MMAP_THRESHOLD):
            mallopt(parameter, KEPT_BYTES)


def autocast(precision: Precision, device: torch.device) -> contextlib.AbstractContextManager:
    """The context that a forward pass runs in: torch's autocast for bfloat16, none for float32."""
    if resolve_precision(precision, device) == "bfloat16":
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


def resolve_precision(precision: Precision, device: torch.device) -> Precision:
    """The number type of matrix products, "float32" or "bfloat16"; ``auto`` becomes bfloat16 if that is faster here."""
    if precision != "auto":
        return precision
    return "bfloat16" if bfloat16_is_faster(device) else "float32"


@cache
def bfloat16_is_faster(device: torch.device) -> bool:
    """Whether bfloat16 products are worth their casts on this device. A GPU reports it (Ampere or later). A CPU may
    have instructions for them and still be slower, so both types are measured: some milliseconds, once a process."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        matrix, laps = torch.ones(MEASURED_SIZE, MEASURED_SIZE, dtype=dtype), []
        for _ in range(TURNS):
            began = time.perf_counter()
            matrix @ matrix
            laps.append(time.perf_counter() - began)
        seconds[dtype] = min(laps)
    return seconds[torch.bfloat16] * WORTHWHILE_SPEEDUP < seconds[torch.float32]
