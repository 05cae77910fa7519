"""Parts of a model whose arithmetic exists more than once: as kernels, for a CPU or a GPU, and as a readable twin."""

from torch import nn

from electra.kernels import Kernels


class KernelModule(nn.Module):
    """A part with ``kernels``: which to use. It uses its readable twin if they are "", or if it has none for that
    device. The values are the same within rounding."""

    kernels: Kernels = ""

    def prepare(self, kernels: Kernels, recompute: bool, compiled: bool) -> None:
        """Use these kernels from now on (``engine.compiling.Preparable``)."""
        self.kernels = kernels
