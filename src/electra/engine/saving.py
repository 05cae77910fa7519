"""Saving without stopping: a checkpoint is copied into memory, and a thread writes the copy while the run goes on."""

import itertools
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

from electra.engine import checkpoint
from electra.engine.checkpoint import Keeping
from electra.errors import UserError, summarize_error
from electra.progress import print_warnings

ALIGNMENT = 16  # bytes, a multiple of every number's size


class Snapshot:
    """A copy of tensors in main memory. The next copy of tensors of the same names and shapes takes its place."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}

    def take(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The copy of ``tensors``. From a GPU it is complete once the GPU has done all that it was given so far."""
        if describe_tensors(tensors) != describe_tensors(self.tensors):
            self.tensors = {}  # before there is another: two are never held
            self.tensors = allocate_like(tensors)
        for name, value in tensors.items():
            self.tensors[name].copy_(value.detach(), non_blocking=True)
        return self.tensors


def describe_tensors(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Number type and shape of each."""
    return {name: checkpoint.describe_tensor(value) for name, value in tensors.items()}


def allocate_like(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the same types and shapes in one block of main memory, pinned if some of ``tensors`` are on a GPU:
    only to pinned memory does a GPU copy while Python goes on, and to pin a block for each would take seconds."""
    ends = itertools.accumulate(-(-value.nbytes // ALIGNMENT) * ALIGNMENT for value in tensors.values())
    starts = [0, *ends]
    on_gpu = any(value.is_cuda for value in tensors.values())
    block = torch.empty(starts[-1], dtype=torch.uint8, pin_memory=on_gpu)
    return {
        name: block[start : start + value.nbytes].view(value.dtype).view(value.shape)
        for start, (name, value) in zip(starts, tensors.items(), strict=False)
    }


class CheckpointWriter:
    """Writes the checkpoints of a run in a thread, one at a time, from one copy in memory.

    A context: at its end, however it comes about, the last checkpoint is on the disk or its failure is told. ``clock``:
    seconds, by which ``is_late`` goes.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self.clock, self.saved_at = clock, clock()
        self.thread = ThreadPoolExecutor(1, "checkpoint")
        self.model, self.optimizer = Snapshot(), Snapshot()
        self.writing: Future[None] | None = None

    def is_late(self, minutes: float) -> bool:
        """Whether so many minutes (0: any time) have passed since the last checkpoint, or since the run began."""
        return bool(minutes) and self.clock() - self.saved_at >= 60 * minutes

    def save(
        self,
        folder: Path,
        step: int,
        model: Mapping[str, Tensor],
        optimizer: Mapping[str, Tensor],
        state: object,
        keep: Keeping,
    ) -> None:
        """Copy a checkpoint and have it written as ``checkpoint.save_checkpoint`` does, once the one before is written.

        ``state``: JSON, which nobody changes any more.

        Raises:
            UserError: the model's weights are not finite; or the one before could not be written.
        """
        self.wait()
        copies = self.model.take(model), self.optimizer.take(optimizer)
        # This waits for the GPU, and so for the copies, which it was given before.
        if names := checkpoint.find_not_finite(model):
            raise UserError(
                f"the weights are not finite after step {step} ({', '.join(names[:3])}); "
                f"earlier checkpoints are in {folder}"
            )
        self.writing = self.thread.submit(checkpoint.save_checkpoint, folder, step, *copies, state, keep)
        self.saved_at = self.clock()

    def check(self) -> None:
        """Raise the exception with which a checkpoint could not be written, if it is known by now."""
        if self.writing and self.writing.done():
            self.wait()

    def wait(self) -> None:
        """Wait until the checkpoint is written. Raises the exception with which it could not be."""
        writing, self.writing = self.writing, None
        if writing:
            writing.result()

    def __enter__(self) -> "CheckpointWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self.thread:
            try:
                self.wait()
            except Exception as failure:
                if not error:
                    raise
                # The run has ended by another error, which is told.
                print_warnings([summarize_error(failure)], aside=True)
