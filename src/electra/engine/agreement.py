"""What the processes of a run agree on for a step: how much counts in all of them, and what any of them asks for."""

from collections.abc import Mapping

import torch
from torch import Tensor

from electra.engine.parallel import Parallel


class Agreement:
    """Counts and requests of one step, summed over all processes by one reduction, which runs beside what follows.

    It begins when this is made, which all processes must do together, and is waited for when a result is asked for. One
    process alone agrees with itself.
    """

    def __init__(self, parallel: Parallel, counts: Mapping[str, Tensor], requests: Mapping[str, bool]):
        """``counts``: this process's, float32 []. ``requests``: by name, whether this process asks for something."""
        self.own_counts, self.own_requests = counts, requests
        self.work = None
        if parallel.several:
            # ``torch.full`` and not ``torch.tensor``, which would wait for a GPU.
            asked = [torch.full((), float(request), device=parallel.device) for request in requests.values()]
            self.sums = torch.stack([*counts.values(), *asked])
            self.work = torch.distributed.all_reduce(self.sums, async_op=True)

    def counts(self) -> Mapping[str, Tensor]:
        """Float32 []: each count summed over all processes. Python waits for gloo; it does not wait for a GPU."""
        if self.work is None:
            return self.own_counts
        self.work.wait()
        return dict(zip(self.own_counts, self.sums, strict=False))

    def requested(self, name: str) -> bool:
        """Whether any process asks for this; the same answer in all. If there are several, Python waits for a GPU."""
        if self.work is None:
            return self.own_requests[name]
        self.work.wait()
        return bool(self.sums[len(self.own_counts) + list(self.own_requests).index(name)])
