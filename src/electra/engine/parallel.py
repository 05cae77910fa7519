"""What a run computes with: its device, its number type, and the processes that share a step."""

import atexit
import contextlib
import ctypes
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from electra.errors import UserError

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # malloc.h
MEASURED_SIZE, TURNS = 768, 5  # size of the products that are timed, and how often
WORTHWHILE_SPEEDUP = (
    1.5  # times as fast, at least: matrix units are three times and more, and a machine's noise is less
)
KEPT_BYTES = 1 << 30  # bytes of free memory that stay with the process
GROUP_TIMEOUT = timedelta(
    minutes=30
)  # for a process that has died or does something else; the first alone saves and probes
Precision = Literal["auto", "float32", "bfloat16"]
RowRef = TypeVar("RowRef")


@dataclass(frozen=True)
class Parallel:
    """This process among those of a run (``torchrun`` sets RANK, WORLD_SIZE and LOCAL_RANK)."""

    rank: int
    world: int
    device: torch.device

    @staticmethod
    def local_device(number: int = 0) -> torch.device:
        """Where a process of this machine computes: on the GPU of its ``number``, or on the CPU where there is none.

        The only place where a device is chosen: whatever reads or trains is given this one.
        """
        return torch.device("cuda", number) if torch.cuda.is_available() else torch.device("cpu")

    @classmethod
    def start(cls) -> "Parallel":
        """Join the other processes where ``torchrun`` started several, else compute alone."""
        world, rank, local = (
            int(os.environ.get(name, default))
            for name, default in (("WORLD_SIZE", "1"), ("RANK", "0"), ("LOCAL_RANK", "0"))
        )
        device = cls.local_device(local)
        start_threads()
        if device.type == "cuda":
            torch.cuda.set_device(device)  # or every process would begin a context on the first GPU too
        if world > 1 and not torch.distributed.is_initialized():
            backend, bound = ("nccl", device) if device.type == "cuda" else ("gloo", None)
            torch.distributed.init_process_group(backend, timeout=GROUP_TIMEOUT, device_id=bound)
            if backend == "gloo":
                atexit.register(leave_group)
        return cls(rank, world, device)

    @classmethod
    def alone(cls) -> "Parallel":
        """One process, whatever the environment says."""
        start_threads()
        return cls(0, 1, cls.local_device())

    @property
    def first(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def share(self, refs: Sequence[RowRef], micro_rows: int) -> list[Sequence[RowRef]]:
        """This process's part of a step's rows, in micro-batches of at most ``micro_rows`` (0: in one)."""
        if len(refs) % self.world:
            raise UserError(f"rows: {len(refs)} rows a step cannot be shared equally by {self.world} processes")
        own = len(refs) // self.world
        size = micro_rows or own
        if own % size:
            raise UserError(f"micro_rows: {own} rows a process cannot be cut into micro-batches of {size}")
        mine = refs[self.rank * own : (self.rank + 1) * own]
        return [mine[start : start + size] for start in range(0, own, size)]

    def sum(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each tensor summed over all processes, on this one's device; what is given stays as it is."""
        if self.world == 1:
            return {name: tensor.to(self.device) for name, tensor in tensors.items()}
        sums = {name: tensor.to(self.device, copy=True) for name, tensor in tensors.items()}
        for tensor in sums.values():
            torch.distributed.all_reduce(tensor)
        return sums

    def any(self, said: bool) -> bool:
        """Whether one of the processes says so; the same answer in all. One process alone waits for no GPU."""
        if self.world == 1:
            return said
        return bool(self.sum({"said": torch.tensor(float(said))})["said"])

    def of_first(self, make: Callable[[], Any]) -> Any:
        """What ``make`` gives in the first process, as JSON takes it, in all of them; the others call nothing.

        Raises:
            UserError: that of the first process, in all of them.
        """
        if self.world == 1:
            return make()
        told: dict[str, Any] = {}
        if self.first:
            try:
                told = {"value": make()}
            except UserError as error:
                told = {"error": str(error)}
        content = torch.tensor(list(json.dumps(told).encode()), dtype=torch.uint8, device=self.device)
        size = torch.tensor([len(content)], device=self.device)
        torch.distributed.broadcast(size, 0)
        content = content if self.first else content.new_empty(int(size))
        torch.distributed.broadcast(content, 0)
        told = json.loads(bytes(content.tolist()))
        if "error" in told:
            raise UserError(told["error"])
        return told["value"]

    def tensors_of_first(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The first process's tensors, by name, in all of them; where there are several, on their devices."""
        if self.world == 1:
            return dict(tensors)
        kinds = self.of_first(lambda: {name: (str(t.dtype), list(t.shape)) for name, t in tensors.items()})
        found = {}
        for name, (number, shape) in kinds.items():
            empty = torch.empty(shape, dtype=getattr(torch, number.removeprefix("torch.")), device=self.device)
            found[name] = tensors[name].to(self.device).contiguous() if self.first else empty
            torch.distributed.broadcast(found[name], 0)
        return found

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module with its gradients averaged over processes."""
        return nn.parallel.DistributedDataParallel(module) if self.world > 1 else module

    def quiet(self, module: Any, more: bool) -> contextlib.AbstractContextManager:
        """The context in which gradients stay on this process, while ``more`` micro-batches of the step follow."""
        return module.no_sync() if more and self.world > 1 else contextlib.nullcontext()

    def wait(self) -> None:
        """Until every process is here."""
        if self.world > 1:
            torch.distributed.barrier()


def leave_group() -> None:
    """Leave the processes of this run while Python still runs. Gloo's threads may hold tensors of the last reductions;
    if they let go of them after Python has ended, the process aborts, though its work is done (pytorch#179291).

    For gloo alone: NCCL waits here for processes that have failed (torchtitan#1342).
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@contextlib.contextmanager
def flush_denormals() -> Iterator[None]:
    """Inside, numbers below 1.2e-38 are 0 in this thread.

    A CPU computes a hundred times as slowly with them, and attention's probabilities and their gradients are full of
    them once it has become sharp (docs/log.md). Python's own floats lose them too, so this is for training and reading
    alone. torch's other threads: see ``start_threads``.
    """
    before = float(torch.tensor(1e-30) * 1e-10) == 0.0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def start_threads() -> None:
    """Start torch's threads, if none are there yet, so that for them such numbers are always 0: a thread takes that
    over from the one that starts it."""
    keep_memory()
    with flush_denormals():
        torch.ones(1 << 20).add_(1)


def keep_memory() -> None:
    """Let the C library keep freed memory for the next step. By itself it gives large blocks back to the system and
    takes them anew, 40,000 page faults a step of ELECTRA-Small: 3 % of its time (docs/log.md)."""
    with contextlib.suppress(AttributeError, OSError):  # not glibc: its own way of keeping memory stays
        settings = ctypes.CDLL(None).mallopt
        for what in (TRIM_THRESHOLD, MMAP_THRESHOLD):
            settings(what, KEPT_BYTES)


def autocast(precision: Precision, device: torch.device) -> contextlib.AbstractContextManager:
    """The context a forward pass runs in."""
    if resolve_precision(precision, device) == "bfloat16":
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


def resolve_precision(precision: Precision, device: torch.device) -> Precision:
    """The number type of the products. ``auto``: bfloat16 where that is faster."""
    if precision != "auto":
        return precision
    return "bfloat16" if bfloat16_is_faster(device) else "float32"


@cache
def bfloat16_is_faster(device: torch.device) -> bool:
    """Whether bfloat16 products are worth their casts here. A GPU says so (Ampere or later); on a CPU, which may have
    instructions for them and still be slower, both are measured: some milliseconds, once a process."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    seconds = {}
    for number in (torch.float32, torch.bfloat16):
        one, laps = torch.ones(MEASURED_SIZE, MEASURED_SIZE, dtype=number), []
        for _ in range(TURNS):
            began = time.perf_counter()
            one @ one
            laps.append(time.perf_counter() - began)
        seconds[number] = min(laps)
    return seconds[torch.bfloat16] * WORTHWHILE_SPEEDUP < seconds[torch.float32]
