"""Parts of a model whose arithmetic is there more than once: as kernels, for a CPU or a GPU, and as a readable twin."""

from torch import nn

from electra.kernels import Kernels


class KernelModule(nn.Module):
    """``kernels``: whose run in place of the readable twin, if any. The values are the same within rounding."""

    kernels: Kernels = ""


def set_kernels(module: nn.Module, kernels: Kernels) -> None:
    """Say to the parts of a module whose kernels run. One that has none for that device keeps its twin."""
    for part in module.modules():
        if isinstance(part, KernelModule):
            part.kernels = kernels
