"""The forward and backward pass of a micro-batch: launched kernel by kernel, or recorded once as a CUDA graph."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from electra.engine.compiling import find_preparable_parts
from electra.engine.parallel import Parallel, Precision, autocast
from electra.engine.stages import MicroBatch
from electra.errors import UserError

WARM_UP_PASSES = 3  # before a recording: everything that is compiled, tuned or allocated once must be done by then


class Passes:
    """Adds a micro-batch's gradients to those of the parameters and returns its statistics by term."""

    def __init__(self, module: nn.Module, precision: Precision, parallel: Parallel):
        self.module, self.precision, self.parallel = module, precision, parallel

    def __call__(
        self, batch: MicroBatch, divisors: Mapping[str, Tensor], progress: Tensor, more: bool = False
    ) -> Mapping[str, Tensor]:
        """``more`` micro-batches of the step follow: their gradients stay on this process until then."""
        with autocast(self.precision, self.parallel.device), self.parallel.sync_unless(more, self.module):
            loss, sums = self.module(batch, divisors, True, progress)
            loss.backward()
        return sums


class RecordedPasses:
    """The same as ``Passes``, replayed from a CUDA graph: one launch for all kernels, so that a GPU does not wait for
    Python.

    Everything random is a function of what a batch holds, so a replay draws what the passes would have drawn. A batch
    of another shape is recorded again.
    """

    def __init__(self, passes: Passes, parameters: Sequence[nn.Parameter]):
        self.passes, self.parameters = passes, parameters
        self.inputs: dict[str, Tensor] = {}  # the tensors that the recorded kernels read

    def __call__(
        self, batch: MicroBatch, divisors: Mapping[str, Tensor], progress: Tensor, more: bool = False
    ) -> Mapping[str, Tensor]:
        """Copy the batch to where the graph reads it and replay the graph; record one first for a new shape."""
        inputs = {**batch.tensors(), **{f"divisors {name}": value for name, value in divisors.items()}, "": progress}
        if shapes_and_dtypes(inputs) != shapes_and_dtypes(self.inputs):
            self.record(batch, divisors, inputs)
        for name, value in inputs.items():
            self.inputs[name].copy_(value)
        if any(p.grad is None for p, _ in self.gradients):  # a step begins
            torch._foreach_zero_([gradient for _, gradient in self.gradients])
            for p, gradient in self.gradients:
                p.grad = gradient
        self.graph.replay()
        return {name: value.clone() for name, value in self.sums.items()}

    def record(self, batch: MicroBatch, divisors: Mapping[str, Tensor], inputs: Mapping[str, Tensor]) -> None:
        """Record the graph on copies of ``inputs``: a replay reads the memory that the recording read."""
        self.inputs = {name: value.clone() for name, value in inputs.items()}
        arguments = (
            batch.replaced({name: self.inputs[name] for name in batch.tensors()}),
            {name: self.inputs[f"divisors {name}"] for name in divisors},
            self.inputs[""],
        )
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP_PASSES):
                self.passes(*arguments)
        torch.cuda.current_stream().wait_stream(aside)
        self.gradients = [(p, p.grad) for p in self.parameters if p.grad is not None]
        self.graph = torch.cuda.CUDAGraph()
        # Meanwhile a thread uploads the next step's rows, with calls that "thread_local" forbids in this thread only.
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.sums = self.passes(*arguments)
        for p, _ in self.gradients:
            p.grad = None


def check_can_record(parallel: Parallel, module: nn.Module) -> None:
    """Raise ``UserError`` if a module's passes cannot be recorded as a CUDA graph."""
    if parallel.device.type != "cuda" or parallel.several:
        raise UserError("engine.cuda_graphs: only for one process on a GPU")
    if not find_preparable_parts(module):
        raise UserError(
            "engine.cuda_graphs: only for encoders of electra; that of other model classes seeds its dropout anew"
        )


def shapes_and_dtypes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    """The shape and dtype of each tensor, by name."""
    return {name: (value.shape, value.dtype) for name, value in tensors.items()}
