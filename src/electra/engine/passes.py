"""Forward and backward pass of a micro-batch: launched kernel by kernel, or recorded once as a CUDA graph."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from electra.engine.compiling import find_preparable_parts
from electra.engine.parallel import Parallel, Precision, autocast
from electra.errors import UserError

WARM_UP_PASSES = 3  # passes before a recording: what is compiled, tuned or allocated once must be so by then


class Passes:
    """Adds a micro-batch's gradients to those of the parameters, and gives its statistics."""

    def __init__(self, forward: Any, precision: Precision, parallel: Parallel):
        self.forward, self.precision, self.parallel = forward, precision, parallel

    def __call__(
        self, batch: Any, divisors: Mapping[str, Tensor], progress: Tensor, more: bool = False
    ) -> Mapping[str, Tensor]:
        """``more`` micro-batches of the step follow: their gradients stay on this process until then."""
        with autocast(self.precision, self.parallel.device), self.parallel.quiet(self.forward, more):
            loss, sums = self.forward(batch, divisors, True, progress)
            loss.backward()
        return sums


class RecordedPasses:
    """The same, replayed from a CUDA graph: one launch for all kernels, so that a GPU does not wait for Python.

    Everything random is a function of what a batch holds, so a replay draws what the passes would have drawn. Another
    shape of batch is recorded anew.
    """

    def __init__(self, passes: Passes, parameters: Sequence[nn.Parameter]):
        self.passes, self.parameters = passes, parameters
        self.given: dict[str, Tensor] = {}

    def __call__(
        self, batch: Any, divisors: Mapping[str, Tensor], progress: Tensor, more: bool = False
    ) -> Mapping[str, Tensor]:
        """See ``Passes``."""
        given = {**batch.tensors(), **{f"divisors {name}": value for name, value in divisors.items()}, "": progress}
        if shapes_and_dtypes(given) != shapes_and_dtypes(self.given):
            self.record(batch, divisors, progress, given)
        for name, value in given.items():
            self.given[name].copy_(value)
        if any(p.grad is None for p, _ in self.gradients):  # a step begins
            torch._foreach_zero_([gradient for _, gradient in self.gradients])
            for p, gradient in self.gradients:
                p.grad = gradient
        self.graph.replay()
        return {name: value.clone() for name, value in self.sums.items()}

    def record(self, batch: Any, divisors: Mapping[str, Tensor], progress: Tensor, given: Mapping[str, Tensor]) -> None:
        """Make the graph, of copies of what is given: a replay reads where the recording did."""
        self.given = {name: value.clone() for name, value in given.items()}
        asked = (
            batch.replaced({name: self.given[name] for name in batch.tensors()}),
            {name: self.given[f"divisors {name}"] for name in divisors},
            self.given[""],
        )
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP_PASSES):
                self.passes(*asked)
        torch.cuda.current_stream().wait_stream(aside)
        self.gradients = [(p, p.grad) for p in self.parameters if p.grad is not None]
        self.graph = torch.cuda.CUDAGraph()
        # Meanwhile a thread uploads the next step's rows, by calls that a recording forbids to its own thread alone.
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.sums = self.passes(*asked)
        for p, _ in self.gradients:
            p.grad = None


def check_can_record(parallel: Parallel, module: nn.Module) -> None:
    """Raise ``UserError`` where no CUDA graph can be recorded of a module's passes."""
    if parallel.device.type != "cuda" or parallel.world > 1:
        raise UserError("engine.cuda_graphs: only for one process on a GPU")
    if not find_preparable_parts(module):
        raise UserError(
            "engine.cuda_graphs: only for encoders of electra; that of other model classes seeds its dropout anew"
        )


def shapes_and_dtypes(given: Mapping[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    """Of each tensor."""
    return {name: (value.shape, value.dtype) for name, value in given.items()}
